"""``jobs.run`` with families that look at images: a folder, and a table with images as files, paths and bytes."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from transformers import pipeline

from jobs import run
from stages.errors import UsageError
from stages.settings import Predict, Settings
from tests.strangers import bomb

pytestmark = pytest.mark.usefixtures("ray_local")

SETTINGS = Settings(predict=Predict(dtype="float32"))
TASK = "zero-shot-image-classification"
LABELS = ("a red field", "grass", "the deep sea", "a grey wall", "snow")


def test_images_of_a_folder_and_of_a_table_answer_as_transformers_does(tmp_path, tiny):
    folder = tmp_path / "in"
    folder.mkdir()
    colours = ["red", "green", "blue", "grey"]
    for number, colour in enumerate(colours):
        image = Image.new("RGB", (50 + 7 * number, 40), colour)
        image.paste("white", (5, 5, 20 + number, 30))
        image.save(folder / f"{colour}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (folder / "notes.txt").write_text("not an image")
    (folder / "noise.png").write_bytes(random.Random(0).randbytes(5000))
    (folder / "bomb.png").write_bytes(bomb(60_000))
    Image.new("RGB", (120_000, 1), "red").save(folder / "line.png")
    (folder / "rows.jsonl").write_text(json.dumps({"image": "blue.png", "candidate_labels": LABELS[:2]}) + "\n")
    stored = {"bytes": (folder / "grey.png").read_bytes(), "path": "grey.png"}  # as the library datasets has it
    pq.write_table(pa.Table.from_pylist([{"image": stored}]), folder / "rows.parquet")
    checkpoint = str(tiny("clip", TASK))

    result = run(
        "clip",
        TASK,
        [str(folder)],
        str(tmp_path / "out"),
        checkpoint=checkpoint,
        settings=SETTINGS,
        options={"candidate_labels": list(LABELS)},
    )

    assert result.exit_code == 3
    assert result.record.errors == {"corrupt": 3, "page_too_large": 2}
    assert not (tmp_path / "out" / "pages").exists()
    assert result.record.documents.balanced
    rows = {row["uri"].split("/")[-1]: row for row in result.rows.to_table().to_pylist()}
    classify = pipeline(TASK, model=checkpoint)
    wanted = {f"{colour}.png": (f"{colour}.png", LABELS) for colour in colours}
    wanted |= {"rows.jsonl": ("blue.png", LABELS[:2]), "rows.parquet": ("grey.png", LABELS)}
    assert sorted(rows) == sorted(wanted)
    for name, (image, labels) in wanted.items():
        theirs = classify(str(folder / image), candidate_labels=list(labels))
        assert [each["label"] for each in rows[name]["scores"]] == [each["label"] for each in theirs]
        scores = [each["score"] for each in rows[name]["scores"]]
        assert scores == pytest.approx([each["score"] for each in theirs], abs=1e-4)
        assert rows[name]["label"] == theirs[0]["label"]


def test_a_run_without_labels_is_refused_before_it_starts(tmp_path, tiny):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"no labels to choose from: name them with --set task\.candidate_labels"):
        run("clip", TASK, [str(tmp_path / "a.png")], str(tmp_path / "out"), checkpoint=str(tiny("clip", TASK)))
