"""A 21st family, as one file and as another package's entry point: batch, training, contract with no other change.

tests/jobs/serving/test_serve_new_family.py serves both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipelines
from jobs import run
from jobs.skeleton import write_skeleton
from jobs.train import train
from jobs.training.settings import Train
from pipelines.checkpoint import resolve
from pipelines.contract import check_family
from stages.errors import UsageError
from stages.predictor import Predictor
from stages.settings import Predict
from tests.jobs import newcomers

TEXTS = {"text": ["a good film", "a bad one", "nothing"] * 4, "label": ["positive", "negative", "neutral"] * 4}


@pytest.fixture
def one_file(tmp_path) -> Iterator[str]:
    with newcomers.one_file(write_skeleton("mini", tmp_path), "mini") as name:
        yield name


@pytest.fixture
def package(tmp_path, monkeypatch, manta, site) -> Iterator[str]:
    """What `manta families --new` writes, with a task of its own, installed."""
    monkeypatch.chdir(tmp_path)
    code, out, _ = manta("families", "--new", "loud")
    assert (code, out) == (0, "manta-loud\n")
    with newcomers.installed(tmp_path / "manta-loud", site) as name:
        yield name


def listed(name: str, manta) -> list[str]:
    """The family's tasks as ``manta families`` tells them."""
    code, out, _ = manta("families", "--json")
    told = json.loads(out)
    assert (code, len(told)) == (0, 21)
    return [task["task"] for task in next(one["tasks"] for one in told if one["family"] == name)]


def answered(name: str, task: str, folder: Path) -> list[str]:
    """Labels that a run gives; leaves its checkpoint and its table in the folder."""
    checkpoint, table = folder / "tiny", str(folder / "rows.parquet")
    checkpoint.mkdir()
    pipelines.family(name).tiny(checkpoint, task)
    pq.write_table(pa.table(TEXTS), table)
    done = run(name, task, [table], str(folder / "out"), checkpoint=str(checkpoint))
    assert done.exit_code == 0
    return done.rows.to_table(columns=["label"])["label"].to_pylist()


def trained(name: str, task: str, folder: Path) -> None:
    """Two steps of training, from what ``answered`` has left, give a model that answers."""
    start, output = str(folder / "tiny"), str(folder / "training")
    table, how = str(folder / "rows.parquet"), Train(max_steps=2)
    record = train(name, task, table, output, checkpoint=start, workers=1, settings=how)
    assert (record.family, record.task, record.steps) == (name, task, 2)
    learned = pipelines.task(name, task)(resolve(record.model))
    assert learned.checkpoint.content != resolve(start).content
    (answer,) = Predictor(learned, Predict(dtype="float32")).open().predict([{"text": "a good film"}])
    assert answer["label"] in TEXTS["label"]


@pytest.mark.usefixtures("ray_local")
def test_a_family_is_added_as_one_file(one_file, tmp_path, manta):
    assert listed(one_file, manta) == ["features", "text-classification"]
    assert set(answered(one_file, "text-classification", tmp_path)) <= set(TEXTS["label"])
    trained(one_file, "text-classification", tmp_path)
    check_family(one_file)


@pytest.mark.usefixtures("ray_local")
def test_a_family_is_added_by_another_package(package, tmp_path, manta):
    assert listed(package, manta) == ["features", "shouting"]
    assert set(answered(package, "shouting", tmp_path)) <= set(TEXTS["label"])
    trained(package, "shouting", tmp_path)
    check_family(package)


def test_the_contract_is_refused_to_a_family_that_breaks_it(one_file, monkeypatch):
    from pipelines.tasks.features import Features

    collate = Features.collate

    def leaky(self, examples):
        batch = collate(self, examples)
        return {**batch, "attention_mask": batch["attention_mask"] * 0 + 1}

    monkeypatch.setattr(Features, "collate", leaky)
    with pytest.raises(AssertionError, match="mini/features, batches of"):
        check_family(one_file)


@pytest.mark.parametrize(
    ("name", "why"),
    [("Mini", "small letters"), ("2d", "small letters"), ("class", "small letters"), ("bert", "already")],
)
def test_a_name_that_will_not_do_is_told(name, why, tmp_path, manta, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = manta("families", "--new", name)
    assert code == 2
    assert why in err
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path):
    write_skeleton("mini", tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        write_skeleton("mini", tmp_path)


@pytest.mark.parametrize(
    ("points", "name", "why"),
    [
        ("bert = manta_loud:FAMILY", "bert", "the package broken brings a family 'bert', which Manta has itself"),
        ("odd = no_such_module:FAMILY", "odd", "the package broken does not bring its family 'odd'"),
        ("odd = json:dumps", "odd", "json:dumps is a function, not a Family"),
    ],
)
def test_a_package_that_breaks_its_family_is_named(points, name, why, tmp_path, monkeypatch):
    told = tmp_path / "broken-1.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (told / "entry_points.txt").write_text(f"[manta.families]\n{points}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=why):
        pipelines.family(name)
    assert pipelines.family("layoutlm").tasks, "the others are as they were"
