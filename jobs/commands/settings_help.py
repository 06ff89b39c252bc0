"""The settings as ``manta run FAMILY --task T --help`` lists them: key, type, default, meaning with its unit."""

from __future__ import annotations

import textwrap

from jobs.schema import Key, Schema, keys


def settings_help(command: str, schema: Schema, family: str | None, task: str | None) -> str:
    """Settings by section, the task's own ones last. Raises UsageError for an unknown family or task."""
    from pipelines import task as find_task

    parts = ["", "Settings, for --set and --config:", *_listed(keys(schema))]
    if family and task and family != "text":
        found = find_task(family, task)
        parts += ["", f"Options of {family}'s {task} ({found.summary}):"]
        parts += _listed(keys({"task": found.options_type}))
    else:
        parts += [
            "",
            f"A task's own options: manta {command} FAMILY --task TASK --help; families and tasks: manta families",
        ]
    return "\n".join(parts)


def _listed(found: list[Key]) -> list[str]:
    lines = []
    for key in found:
        default = f", default {key.default_text}" if key.default_text not in ("", "null") else ""
        lines.append(f"  {key.name}  ({key.type_text}{default})")
        lines += textwrap.wrap(key.help, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return lines
