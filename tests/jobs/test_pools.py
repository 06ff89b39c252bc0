"""What the processes of a run ask for: that it fits on the machines there are, and is no more than there is work."""

from __future__ import annotations

import pytest

from jobs.cluster import Resources
from jobs.pools import Layout
from jobs.ways_in import columns_of
from pipelines import Checkpoint, task
from stages.settings import Predict, Settings
from stages.write import RunStamp


def layout(tiny, family: str, name: str, resources: Resources, *, workers: int = 0) -> Layout:
    described = task(family, name)(Checkpoint(ref="tiny", path=str(tiny(family, name)), content="0"))
    described.load_processor()
    stamp = RunStamp(run_id="r", family=family, task=name, checkpoint="tiny", fingerprint="f", read_fingerprint="p")
    return Layout(
        task=described,
        settings=Settings(predict=Predict(workers=workers)),
        stamp=stamp,
        output="out",
        pages="out",
        resources=resources,
        takes=described.takes(),
    )


@pytest.mark.parametrize(
    ("machines", "workers", "asked"),
    [
        ((2,), 0, (1, 2)),
        ((16,), 0, (4, 4)),
        ((6,), 0, (1, 6)),
        ((2, 2), 0, (2, 2)),  # none has four
        ((8, 8, 8), 0, (6, 4)),
        ((2, 2), 1, (1, 2)),
        ((16,), 2, (2, 8)),
        ((1, 16), 0, (4, 4)),  # a small head is no measure for the others
        ((7, 5), 0, (2, 5)),
        ((2, 1), 4, (4, 1)),  # more than there is room for: refused by check_room
    ],
)
def test_a_model_for_tables_fits_on_a_machine(tiny, machines, workers, asked) -> None:
    resources = Resources(machines=machines, gpus=0)
    found = layout(tiny, "bert", "text-classification", resources, workers=workers)
    (pool,) = found.tables(columns_of(found.task), 256)
    assert (pool.workers, pool.num_cpus) == ((asked[0], asked[0]), asked[1])


@pytest.mark.parametrize(("slices", "models"), [(0, 16), (1, 1), (15, 15), (1000, 16)])
def test_few_rows_start_few_models(tiny, slices, models) -> None:
    found = layout(tiny, "bert", "text-classification", Resources(machines=(64,), gpus=0))
    (pool,) = found.tables(columns_of(found.task), None, slices=slices)
    assert (pool.workers, pool.num_cpus) == ((models, models), 4)


@pytest.mark.parametrize(("recordings", "processes"), [(0, 4), (3, 1), (4, 1), (5, 2), (500, 4)])
def test_few_recordings_start_few_processes(tiny, recordings, processes) -> None:
    found = layout(tiny, "sew_d", "features", Resources(machines=(4,), gpus=0))
    reading, model = found.documents(None, count=recordings)
    assert reading.workers == model.workers == (processes, processes)


@pytest.mark.parametrize(("images", "models"), [(0, 4), (3, 1), (17, 2), (5000, 4)])
def test_few_images_begin_with_few_models_and_may_get_more(tiny, images, models) -> None:
    found = layout(tiny, "clip", "features", Resources(machines=(4,), gpus=0))
    _, reading, model = found.documents(None, count=images)
    assert (reading.workers, model.workers) == ((4, 4), (models, 4))
