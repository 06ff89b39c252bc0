"""The forms of labelled data, one reader a file; the file name registers it."""
