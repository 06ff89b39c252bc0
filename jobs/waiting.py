"""Says when a pass has no room: Ray waits in silence, as long as it takes, for what another run or actor holds.

A full cluster is no mistake, since the others may end, so nothing is given up: one line says what is waited for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isclose

from stages.base import Pool
from stages.errors import first_line

PATIENCE_S = 60.0
"""Seconds without anything of a pass after which is looked, again and again, whether its processes have room."""
_LEAST = 1e-3
"""Ray counts CPUs in ten thousandths."""
log = logging.getLogger("manta")


@contextmanager
def watched(pools: Sequence[Pool], say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Watches a pass for the time of the block. Gives what is to be called once something has come; until then ``say``
    is told, once, what a process of ``pools`` waits for."""
    came = threading.Event()
    thread = threading.Thread(target=_watch, args=(pools, came, say), name="waiting", daemon=True)
    thread.start()
    try:
        yield came.set
    finally:
        came.set()
        thread.join()


def _watch(pools: Sequence[Pool], came: threading.Event, say: Callable[[str], None]) -> None:
    from ray.exceptions import RayError

    while not came.wait(PATIENCE_S):
        try:
            found = lacking(pools)
        except RayError as error:  # the cluster does not answer: what the pass itself meets is raised there
            log.warning("what the cluster is asked for cannot be told: %s", first_line(error))
            return
        if found and not came.is_set():
            say(found)
            return


def lacking(pools: Sequence[Pool]) -> str:
    """What a process of ``pools`` waits for, in one line; empty where each that was asked for has its place.

    What is free does not tell: a process that loads its model holds what it was given, and answers nothing yet. Ray
    knows what it was asked for and could not give; that is at most a second old.
    """
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status  # what ``ray status`` shows; works without an autoscaler

    demands = get_cluster_status(ray.get_runtime_context().gcs_address).resource_demands.ray_task_actor_demand
    asked = [one.bundle for demand in demands for one in demand.bundles_by_count]
    for pool in pools:
        share = {"CPU": pool.num_cpus, "GPU": pool.num_gpus}
        if any(_same(share, bundle) for bundle in asked):
            free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
            there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            return told(pool.name, share, free, there)
    return ""


def told(name: str, share: Mapping[str, float], free: Mapping[str, float], there: Mapping[str, float]) -> str:
    """The line: what a process of the pool ``name`` asks for, what is free of what there is, who has the rest."""
    asks = {what: amount for what, amount in share.items() if amount}
    needs = " and ".join(f"{amount:g} {what}s" for what, amount in asks.items())
    has = " and ".join(f"{free.get(what, 0.0):.4g} of {there.get(what, 0.0):g} {what}s" for what in asks)
    short = any(free.get(what, 0.0) < amount - _LEAST for what, amount in asks.items())
    why = "another run or actor holds the rest" if short else "no one machine has so much free"
    return f"waiting for room: a process of {name} needs {needs}, the cluster has {has} free; {why} (see ray status)"


def _same(share: Mapping[str, float], bundle: Mapping[str, float]) -> bool:
    return all(isclose(amount, bundle.get(what, 0.0), abs_tol=_LEAST) for what, amount in share.items())
