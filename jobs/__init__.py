"""What a person or a scheduler starts: ``manta``'s commands, and the same in Python."""

from jobs.run import run

__all__ = ["run"]
