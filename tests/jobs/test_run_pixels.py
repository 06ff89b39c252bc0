"""``jobs.run`` with a family that looks at pages: documents, tables with images, and pages that were read before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from jobs import run
from pipelines import Checkpoint, task
from stages.predict import Predictor
from stages.reading import open_sandbox, read_page
from stages.settings import Predict, Render, Settings
from tests import corpus

pytestmark = pytest.mark.usefixtures("ray_local")

SETTINGS = Settings(predict=Predict(dtype="float32"), render=Render(dpi=100))
TASK = "document-classification"


def test_the_page_is_looked_at_whichever_way_it_comes(tmp_path, tiny):
    folder = tmp_path / "in"
    folder.mkdir()
    documents = [corpus.pdf(folder / "a.pdf"), corpus.scan(folder / "b.png")]
    words = {"words": ["Total", "99.00"], "boxes": [[0, 0, 90, 90], [100, 0, 200, 90]]}
    (folder / "rows.jsonl").write_text(json.dumps({**words, "image": "b.png"}) + "\n")
    first = tiny("layoutlmv2", TASK)
    second = shutil.copytree(first, tmp_path / "second")
    weights = load_file(second / "model.safetensors")
    weights["classifier.bias"] = -3 * weights["classifier.bias"]
    save_file(weights, second / "model.safetensors", metadata={"format": "pt"})

    for checkpoint, inputs, reused in ((first, [folder], 0), (second, documents, 2)):
        result = run(
            "layoutlmv2",
            TASK,
            [str(each) for each in inputs],
            str(tmp_path / "out"),
            checkpoint=str(checkpoint),
            settings=SETTINGS,
        )
        assert result.exit_code == 0
        assert result.record.pages.reused == reused
        fresh = [row for row in result.rows.to_table().to_pylist() if row["run_id"] == result.record.run_id]
        rows = {Path(row["uri"]).name: row for row in fresh}
        assert len(rows) == (2 if reused else 3)
        wanted = by_hand(checkpoint, documents, words)
        for name, row in rows.items():
            assert row["label"] == wanted[name]["label"]
            assert row["score"] == pytest.approx(wanted[name]["score"], abs=1e-4)
    assert "not for commercial use" in result.record.notice


def by_hand(checkpoint: Path, documents: list[Path], words) -> dict[str, dict[str, object]]:
    kind = task("layoutlmv2", TASK)
    predictor = Predictor(kind(Checkpoint(ref="tiny", path=str(checkpoint), content="0")), SETTINGS.predict).open()
    sandbox = open_sandbox(SETTINGS)
    reads = [read_page(sandbox, str(path), 1, SETTINGS, pixels=kind.pixels) for path in documents]
    sandbox.close()
    rows = [
        {"words": read.words.words, "boxes": read.words.boxes.tolist(), "pixels": read.pixels.tobytes()}
        for read in reads
    ]
    rows.append({**rows[1], **words})
    return dict(zip(("a.pdf", "b.png", "rows.jsonl"), predictor.predict(rows), strict=True))
