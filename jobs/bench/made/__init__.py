"""Images, recordings and videos that benches make for themselves: one kind a file, the same from the same seed."""
