"""The bounds of settings: how a value that will not do is told, the same for every section."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stages.errors import UsageError


def check(fits: bool, key: str, rule: str, value: object) -> None:
    """Raises UsageError where ``value``, of the setting ``key``, does not fit ``rule``."""
    if not fits:
        raise UsageError(f"{key} must be {rule}, not {value!r}")


def check_numbers(
    section: str,
    settings: object,
    *,
    above_0: Sequence[str] = (),
    from_0: Sequence[str] = (),
    shares: Sequence[str] = (),
) -> None:
    """Checks the numbers of these names in ``settings``. Raises UsageError for the first that is out of its bounds."""
    rules: tuple[tuple[Sequence[str], Callable[[float], bool], str], ...] = (
        (above_0, lambda value: value > 0, "above 0"),
        (from_0, lambda value: value >= 0, "0 or more"),
        (shares, lambda value: 0 <= value < 1, "from 0 to below 1"),
    )
    for names, fits, rule in rules:
        for name in names:
            value = getattr(settings, name)
            check(fits(value), f"{section}.{name}", rule, value)
