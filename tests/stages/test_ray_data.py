"""The adapter on a real Ray: one file on all cores, operators apart, poison blocks dropped, not tried for ever."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest
import ray
import ray.cloudpickle

from stages import ray_data
from stages.base import Pool, Stage, failures_column

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test module


class _Fake(Stage):
    def open(self):
        return self

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Pages(_Fake):
    name = "pages"
    reads = ("uri",)
    writes = ("page", "failure")

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for uri in rows["uri"].to_pylist():
            n = int(uri.partition(":")[2] or 1)
            pages = pa.array(range(1, n + 1), pa.int32())
            yield pa.table({"uri": [uri] * n, "page": pages, "failure": failures_column([None] * n)})


@dataclass(frozen=True, kw_only=True)
class Words(_Fake):
    name = "words"
    reads = ("uri", "page")
    writes = ("text",)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        uris = rows["uri"].to_pylist()
        if "kill" in uris:
            os._exit(1)
        if "bug" in uris:
            raise ValueError("a bug")
        start = time.time()
        time.sleep(0.4 if uris[0].startswith("slow") else 0.005 * rows.num_rows)
        told = f"{os.getpid()} {start} {time.time()}" if uris[0].startswith("slow") else str(os.getpid())
        yield rows.append_column("text", pa.array([told] * rows.num_rows))


@dataclass(frozen=True, kw_only=True)
class Labels(_Fake):
    name = "labels"
    reads = ("text",)
    writes = ("label",)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        yield rows.append_column("label", pa.array([str(os.getpid())] * rows.num_rows))


class Holder:
    def there(self) -> bool:
        return True


def pools(rows: int = 16) -> list[Pool]:
    return [
        Pool(stages=(Pages(),), num_cpus=0.02, most_tasks=2, batch_rows=rows),
        Pool(stages=(Words(),), num_cpus=0.84, batch_rows=rows, spread_rows=rows, workers=(2, 2)),
        Pool(stages=(Labels(),), num_cpus=0.1, batch_rows=rows, workers=(1, 1)),
    ]


def blocks(uris: list[str], rows: int = 16) -> list[pa.Table]:
    return [pa.table({"uri": uris[i : i + rows]}) for i in range(0, len(uris), rows)]


@pytest.mark.usefixtures("ray_local")
def test_one_big_file_is_read_by_two_processes():
    out = pa.concat_tables(ray_data.stream(blocks(["big:200"]), pools()))
    assert sorted(out["page"].to_pylist()) == list(range(1, 201))
    assert len(set(out["text"].to_pylist())) == 2
    assert not set(out["text"].to_pylist()) & set(out["label"].to_pylist())


@pytest.mark.usefixtures("ray_local")
def test_a_source_asks_for_no_cpu():
    """It is told here: a task of Ray's own for it would wait for a whole CPU."""
    holder = ray.remote(num_cpus=1.5)(Holder).remote()
    ray.get(holder.there.remote())
    late = threading.Timer(20, ray.kill, [holder])  # so that the test ends where the source does wait
    late.start()
    small = [Pool(stages=(Labels(),), num_cpus=0.1, workers=(1, 1))]
    out = pa.concat_tables(ray_data.stream([pa.table({"text": ["a"]})] * 3, small))
    in_time = late.is_alive()
    late.cancel()
    ray.kill(holder)
    assert (out.num_rows, in_time) == (3, True)


@pytest.mark.usefixtures("ray_local")
def test_operators_are_not_fused():
    dataset = ray_data.build(blocks(["a"]), pools())
    for _ in dataset.iter_internal_ref_bundles():
        pass
    stats = dataset.stats()
    names = ("MapBatches(_run_tasks)", "StreamingRepartition", "MapBatches(_ActorPool)")
    assert all(name in stats for name in names), stats
    assert "MapBatches(_run_tasks)->MapBatches" not in stats


@pytest.mark.usefixtures("ray_local")
def test_both_readers_are_at_work_until_the_end():
    """Many documents, so that planning and spreading go on meanwhile: neither may hold a reader's core."""
    out = pa.concat_tables(ray_data.stream(blocks([f"slow{i}" for i in range(160)], 4), pools(4)))
    spans = sorted(tuple(map(float, told.split()[1:])) for told in set(out["text"].to_pylist()))
    assert len(spans) == 40
    together = sum(after[0] < before[1] for before, after in itertools.pairwise(spans))
    assert together > 10  # none where spreading holds a core, however busy the machine is


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("poison", ["kill", "bug"])
def test_a_poison_row_costs_its_block_and_ends(poison):
    uris = [*(f"a{i}" for i in range(20)), poison, *(f"b{i}" for i in range(20))]
    out = pa.concat_tables(ray_data.stream(blocks(uris, 4), pools(4)))
    arrived = set(out["uri"].to_pylist())
    assert poison not in arrived
    assert len(arrived) >= 33  # the blocks around it arrive; what is missing is the caller's to plan again
    told = ("a bug",) if poison == "bug" else ("died", "unavailable")
    assert any(words in ray_data.last_dropped() for words in told)


@pytest.mark.usefixtures("ray_local")
def test_the_last_try_makes_a_bug_an_error_row():
    out = pa.concat_tables(ray_data.stream(blocks(["a", "bug"], 1), pools(1), last_try=True)).to_pylist()
    failures = {row["uri"]: row["failure"] for row in out}
    assert failures["a"] is None
    assert failures["bug"]["message"] == "ValueError: a bug"
