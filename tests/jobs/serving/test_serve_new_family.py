"""Families that Manta does not have, one file and another package's, are served as its own are."""

from __future__ import annotations

import pytest

import pipelines
from pipelines.checkpoint import resolve
from stages.predictor import Predictor
from stages.settings import Predict

ROWS = [{"text": text} for text in ("a good film", "a bad one", "nothing")]


def asked(endpoint, path: str) -> list[dict[str, object]]:
    answer = endpoint.post(path, json={"rows": ROWS})
    assert answer.status_code == 200, answer.text
    assert answer.json()["errors"] == []
    return answer.json()["rows"]


def expected(task: str, checkpoint, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    kind = pipelines.task("bert", task)(resolve(str(checkpoint)))
    return Predictor(kind, Predict(dtype="float32")).open().predict(rows)


def test_a_family_of_one_file_is_served(endpoint, added, tiny):
    file, _ = added
    rows = asked(endpoint, f"/v1/{file}/text-classification")
    wanted = expected("text-classification", tiny(file, "text-classification"), ROWS)
    assert [row["label"] for row in rows] == [row["label"] for row in wanted]
    assert [row["score"] for row in rows] == pytest.approx([row["score"] for row in wanted], abs=1e-5)


def test_a_package_is_served_with_the_task_that_only_it_has(endpoint, added, tiny):
    _, package = added
    rows = asked(endpoint, f"/v1/{package}/shouting")
    shouted = [{"text": f"{row['text']} !"} for row in ROWS]
    spoken, wanted = (
        [row["score"] for row in expected("text-classification", tiny(package, "shouting"), texts)]
        for texts in (ROWS, shouted)
    )
    assert [row["score"] for row in rows] == pytest.approx(wanted, abs=1e-5)
    assert [row["score"] for row in rows] != pytest.approx(spoken, abs=1e-3)


def test_what_was_added_is_listed(endpoint, added):
    there = {(one["family"], one["task"]) for one in endpoint.get("/v1/models").json()["data"]}
    assert {(name, task.name) for name in added for task in pipelines.family(name).tasks} <= there
