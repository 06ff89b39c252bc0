"""The commit and resume protocol under seeded schedules: drivers that crash at any write, two at once, sleepers that
wake when another has taken over, listings that are out of date, files that change, pages that fail now and then.

MANTA_SCHEDULES sets how many schedules are played (2,000 before a release), MANTA_SCHEDULE_SEED the first one.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace

import pytest

from stages import clean as clean_module
from stages.errors import Code
from tests.stages.driver import File, Plan, World

SCHEDULES = int(os.environ.get("MANTA_SCHEDULES", "120"))
FIRST_SEED = int(os.environ.get("MANTA_SCHEDULE_SEED", "0"))
CHUNK = 20


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Parts are joined from two on."""
    monkeypatch.setattr(clean_module, "FEWEST", 2)


def random_file(rng: random.Random, number: int, version: int) -> File:
    if rng.random() < 0.2:
        return File(f"t{number}.parquet", version, rng.randint(1, 6), named=rng.random() < 0.5)
    pages = rng.choice((1, 1, 2, 3, 7))
    bad = frozenset(page for page in range(1, pages + 1) if rng.random() < 0.15)
    return File(f"d{number}.pdf", version, pages, corrupt=rng.random() < 0.15, bad_pages=bad)


def changed(rng: random.Random, files: tuple[File, ...], step: int) -> tuple[File, ...]:
    """The folder some time later: files added, changed and removed."""
    kept = [one for one in files if rng.random() > 0.15]
    kept = [replace(one, version=step, pages=rng.randint(1, 4), bad_pages=frozenset()) if rng.random() < 0.2 else one
            for one in kept]  # fmt: skip
    taken = {one.uri for one in kept}
    new = [random_file(rng, 10 * step + i, step) for i in range(rng.randint(0, 2))]
    return (*kept, *(one for one in new if one.uri not in taken))


def without_tables(files: tuple[File, ...], only_reads: bool) -> tuple[File, ...]:
    """A run that only reads has documents."""
    return tuple(one for one in files if not (only_reads and one.is_table))


def play(seed: int) -> Counter[str]:
    rng = random.Random(seed)
    world = World(rng)
    records = rng.choice((1, 1, 2))
    files = tuple(random_file(rng, i, 0) for i in range(rng.randint(1, 5)))
    before = files
    prints = [("f0", "r0")]
    final: Plan | None = None
    for step in range(rng.randint(1, 3)):
        if rng.random() < 0.3:
            last = prints[-1]
            prints.append(rng.choice([(f"f{step + 1}", last[1]), (f"f{step + 1}", f"r{step + 1}"), (last[1], last[1])]))
        plans = []
        for i in range(rng.choice((1, 2, 2, 3))):
            fingerprint, read = prints[-1]
            plans.append(
                Plan(
                    name=f"{step}-{i}",
                    listed=without_tables(rng.choice((files, files, before)), fingerprint == read),
                    fingerprint=fingerprint,
                    read_fingerprint=read,
                    records=1 if fingerprint == read else records,
                    seed=rng.getrandbits(32),
                    flaky=rng.choice((0.0, 0.0, 0.2)),
                    loses=rng.choice((0.0, 0.2)),
                    retry=frozenset(rng.choice([(), (), (Code.OCR_TIMEOUT,), (Code.OUT_OF_MEMORY, Code.CORRUPT)])),
                    dies_at=rng.choice((None, rng.randint(0, 30), rng.randint(0, 120))),
                    after=rng.random() < 0.5,
                    ruthless=rng.random() < 0.4,
                )
            )
        world.play(plans)
        final = plans[-1]
        before, files = files, changed(rng, files, step + 1) if rng.random() < 0.6 else files
    assert final is not None
    listed = without_tables(files, final.only_reads)
    undisturbed = replace(final, name="last", listed=listed, dies_at=None, ruthless=False, flaky=0.0, loses=0.0)
    world.play([undisturbed])
    assert world.finished["finished"] >= 1
    return world.finished


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + SCHEDULES, CHUNK))
def test_no_row_is_lost_and_none_is_there_twice(first):
    ended: Counter[str] = Counter()
    for seed in range(first, min(first + CHUNK, FIRST_SEED + SCHEDULES)):
        try:
            ended += play(seed)
        except BaseException as error:
            error.add_note(f"schedule {seed}: play it again with MANTA_SCHEDULES=1 MANTA_SCHEDULE_SEED={seed}")
            raise
    assert ended["crashed"]
    assert ended["busy"]
    assert ended["finished"] > CHUNK // 2


def test_doing_it_again_does_nothing():
    world = World(random.Random(1))
    files = (File("a.pdf", 1, 3, bad_pages=frozenset({2})), File("b.pdf", 1, 1), File("t.jsonl", 1, 4, named=True))
    plan = Plan("one", files, "f", "r", 2, seed=1)
    world.play([plan])
    before = {name: one for name, one in world.store.objects.items() if not name.startswith(".")}
    world.play([replace(plan, name="two", seed=2)])
    assert before == {name: one for name, one in world.store.objects.items() if not name.startswith(".")}
