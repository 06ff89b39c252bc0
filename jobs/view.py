"""``manta view OUTPUT``: writes the HTML report of an output; and the small view that notebooks show."""

from __future__ import annotations

import pipelines
from jobs.record import RunRecord
from jobs.report import document
from jobs.report.images import PictureLimits, pictures
from jobs.report.output import open_output
from jobs.report.pages import page_views
from jobs.report.survey import survey
from jobs.ways_in import medium
from stages.errors import UsageError

REPORT = "report/index.html"


def view(output: str, *, limit_pages: int = 40, pages: str | None = None, limits: PictureLimits | None = None) -> str:
    """Writes OUTPUT/report/index.html, one file that needs nothing else, and returns its path or URI.

    ``limit_pages``: pages that are shown with their words, answers and picture; chosen to show every label, error
    code and reader, low scores, and the rest evenly. ``pages``: where pages/ lies when it is not in the output and
    the run record does not say. Raises UsageError where ``output`` is not the output of a run.
    """
    if limit_pages < 0:
        raise UsageError(f"--limit-pages must be 0 or more, not {limit_pages}")
    opened = open_output(output, pages)
    found = survey(opened)
    kind = _medium(opened.run)
    views = page_views(opened, found.pick(limit_pages)) if found.drawable or kind else []
    drawn = pictures(views, limits or PictureLimits(), kind) if views else {}
    html = document.report(opened, found, views, drawn)
    opened.storage.put(REPORT, html.encode("utf-8", errors="replace"))
    return f"{opened.storage.uri}/{REPORT}"


def _medium(run: RunRecord) -> str:
    """What files the run's task senses, where it is a task of this version."""
    try:
        return medium(pipelines.task(run.family, run.task))
    except UsageError:
        return ""


def html_view(output: str) -> str:
    """The output as a small piece of HTML for notebooks: summary and first rows, escaped, without a script."""
    return document.fragment(open_output(output))
