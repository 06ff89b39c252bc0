"""``manta run`` in Python: ``from jobs import run``. Imports nothing heavy until it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.progress import Progress
    from jobs.result import Result
    from pipelines import Options
    from stages.settings import Settings


def run(  # noqa: PLR0913 - the options of the command line, each by name
    family: str,
    task: str | None,
    inputs: Sequence[str],
    output: str,
    *,
    checkpoint: str | None = None,
    settings: Settings | None = None,
    options: Options | Mapping[str, object] | None = None,
    columns: Mapping[str, str] | None = None,
    retry: Sequence[str] = (),
    max_attempts: int = 0,
    limit: int | None = None,
    address: str | None = None,
    max_error_rate: float = 0.1,
    pages: str | None = None,
    prune: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Runs one task of one family over ``inputs`` and leaves typed rows in ``output``.

    What an earlier run finished is not done again. Failed pages are in the error table, and the result's
    ``exit_code`` is 3. Raises UsageError for what cannot work, before anything starts; ErrorRateError and
    StoppedError once everything finished is committed.
    """
    from jobs.batch import execute
    from jobs.prepare import Request
    from jobs.progress import Progress as Silent
    from stages.settings import Settings as Defaults

    request = Request(
        family=family,
        task=task,
        inputs=tuple(inputs),
        output=output,
        checkpoint=checkpoint,
        settings=settings or Defaults(),
        options=options,
        columns=columns or {},
        retry=tuple(retry),
        max_attempts=max_attempts,
        limit=limit,
        address=address,
        max_error_rate=max_error_rate,
        pages=pages,
        prune=prune,
    )
    return execute(request, progress or Silent.quiet())
