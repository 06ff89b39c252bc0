"""Which columns a task takes from a table, by our names, and what the table calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stages.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns a task takes from a table, and from where."""

    needs: tuple[str, ...]
    optional: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    """``--map column=path``; a column without one is looked for under its own name."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Columns of which a later stage makes a needed one, by the needed one's name: ``words`` of an ``image``."""

    def path(self, name: str) -> list[str]:
        """Where the column ``name`` lies in the table, outermost first."""
        return self.paths.get(name, name).split(".")

    def wanted(self, there: Sequence[str], uri: str) -> tuple[str, ...]:
        """The columns to read from a table with the top columns ``there``. Raises UsageError for a needed one."""
        found = [name for name in ("uri", *self.needs, *self.optional) if self._there(name, there)]
        for name in self.needs:
            other = self.instead.get(name)
            if name not in found and other is not None and self._there(other, there):
                found.append(other)
            elif name not in found:
                of = f" and no {self.called(other)!r} to make it of" if other else ""
                raise UsageError(
                    f"{uri} has no column {self.called(name)!r}{of}, which the task needs as {name!r}; "
                    f"it has: {', '.join(there) or 'none'}. Name the right one with --map {other or name}=COLUMN",
                )
        return tuple(dict.fromkeys(found))

    def _there(self, name: str, there: Sequence[str]) -> bool:
        return self.path(name)[0] in there

    def called(self, name: str) -> str:
        """What a table calls the column ``name``."""
        return ".".join(self.path(name))

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is looked at."""
        return tuple(dict.fromkeys((*self.needs, *self.optional, *self.instead.values())))
