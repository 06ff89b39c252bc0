"""Room for the workers: known at once on a machine of our own, waited for on a cluster that may grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from jobs.cluster import Resources
from stages.errors import UsageError

TOLD_S = 10.0
"""How often is said what is waited for, in seconds."""


def share_of(resources: Resources) -> dict[str, float]:
    """What one worker takes."""
    return {"GPU": 1, "CPU": 1} if resources.gpus else {"CPU": 1}


def check_room(count: int, resources: Resources) -> None:
    """Raises UsageError where this machine has no room for ``count`` workers."""
    there, what = (resources.gpus, "GPUs") if resources.gpus else (resources.cpus, "CPUs")
    if not 1 <= count <= there:
        raise UsageError(f"--workers must be from 1 to {int(there)}, the {what} of this cluster, not {count}")


def wait_for_room(count: int, share: Mapping[str, float], limit_s: float, say: Callable[[str], None]) -> None:
    """Returns once a cluster has room for ``count`` workers; asks for it, so that a cluster that can grow does.

    Says what it waits for. Raises UsageError after ``limit_s`` seconds.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    one = ", ".join(f"{amount:g} {what}" for what, amount in share.items())
    group = placement_group([dict(share) for _ in range(count)])
    began = time.monotonic()
    try:
        while not group.wait(min(TOLD_S, max(limit_s - (time.monotonic() - began), 0.1))):
            there: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
            free, waited = _free(there, share), time.monotonic() - began
            if waited >= limit_s:
                raise UsageError(
                    f"no room for {count} workers of {one} each within {limit_s:g} s; the cluster has {free} free: "
                    "take fewer --workers, or wait longer with --set train.wait_s=…"
                )
            say(f"waiting for room for {count} workers of {one} each; the cluster has {free} free ({waited:.0f} s)")
    finally:
        remove_placement_group(group)


def _free(there: Mapping[str, float], share: Mapping[str, float]) -> str:
    return ", ".join(f"{there.get(what, 0):g} {what}" for what in share)
