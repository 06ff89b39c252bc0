"""Labelled data in the forms that people have it, as tables that training reads.

``formats/`` holds one reader a file. Which one is taken is decided by what the data is, not by its name; what they
make is a Parquet table in the training's output, with the columns of ``stages/columns.py``. Tables that have a task's
columns already are taken as they lie.
"""

from jobs.labelled.labels import with_labels
from jobs.labelled.read import table_of

__all__ = ["table_of", "with_labels"]
