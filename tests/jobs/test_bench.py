"""The benches' own arithmetic: figures must be right, or worse than none."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import bench as benches
from jobs.bench.common import models, peers, programs, texts
from jobs.bench.common.ask import Ask
from jobs.bench.common.child import in_child
from jobs.bench.common.documents import annotated, book, digest, write_scans
from jobs.bench.common.finished import STAMP, listed, write_output
from jobs.bench.common.quality import quality
from jobs.bench.common.readers import ReadPath, Trial
from jobs.bench.common.report import Check, Report, Table, shown
from jobs.bench.common.steady import pace, steady
from jobs.bench.common.turns import Contender, in_turn
from jobs.bench.common.written import HEAD, write_section
from jobs.bench.predict import CALL_ROWS
from jobs.extras import need
from jobs.pools import TABLE_ROWS
from stages.errors import MantaError, UsageError
from stages.ledger import Ledger
from stages.storage import open_storage

NAMES = [
    "digits", "layoutlmv2", "layoutlmv2_train", "lines", "media", "motion", "ner", "ocr", "overhead", "pages",
    "predict", "realm", "receipts", "resume", "retrieval", "scale", "serve", "shapes", "shares", "text", "train",
    "translation",
]  # fmt: skip


def report(**changes: object) -> Report:
    values: dict[str, object] = {
        "bench": "resume",
        "title": "a title",
        "command": "manta bench resume",
        "tables": (Table(title="T", columns=("what", "s"), rows=(("a|b", 1.5), ("c", None))),),
        "checks": (Check(what="speed", figure=2.0, mark=1.5), Check(what="memory", figure=2, mark=1, at_least=False)),
        "notes": ("a note",),
    }
    return Report(**{**values, **changes})  # type: ignore[arg-type]


# ---- the frame


def test_benches_are_the_files_of_the_folder() -> None:
    assert benches.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_bench_has_measure_and_says_what_it_is(name: str) -> None:
    found = benches.find(name)
    assert callable(found.measure)
    assert (found.__doc__ or "").strip()


def test_an_unknown_bench_lists_what_there_is() -> None:
    with pytest.raises(
        UsageError, match=r"no bench 'predikt' \(did you mean 'predict'\?\); there are: digits, layoutlmv2"
    ):
        benches.find("predikt")


MAKES_ITS_OWN = [
    "layoutlmv2_train", "lines", "media", "motion", "overhead", "pages", "resume", "scale", "shapes", "text", "train",
]  # fmt: skip


@pytest.mark.parametrize("name", MAKES_ITS_OWN)
def test_benches_that_make_their_inputs_refuse_a_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"bench {name} makes its own inputs"):
        benches.bench(name, as_json=False, write=None, data=tmp_path, quick=True)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        benches.bench("ocr", as_json=False, write=None, data=tmp_path / "none", quick=True)


def test_a_command_tells_only_the_name_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "receipts"
    assert Ask(data=folder, quick=True).command("ocr") == "manta bench ocr --data receipts --quick"
    assert Ask().command("ocr") == "manta bench ocr"


def test_predict_needs_neither_ray_nor_mlflow_nor_typer() -> None:
    """The GPU machine has none of them."""
    hidden = "import sys\nfor name in ('ray', 'mlflow', 'typer', 'reportlab', 'tesserocr'): sys.modules[name] = None\n"
    script = f"{hidden}import jobs.bench.__main__, jobs.bench.predict\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_listing_benches_loads_no_torch() -> None:
    script = "import sys, jobs.bench as b; b.names(); assert not {'torch', 'ray', 'transformers'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- the report


def test_text_has_every_figure_and_says_which_marks_are_met() -> None:
    text = report().to_text()
    assert text.startswith("## resume: a title\n\n`manta bench resume` · ")
    lines = text.splitlines()
    assert next(line for line in lines if "speed" in line).split("|")[1:-1] == [
        " speed  ", " 2 ×      ", " ≥ 1.5 ×   ", " yes "
    ]  # fmt: skip
    assert next(line for line in lines if "memory" in line).rstrip("| ").endswith("no")
    assert "- a note" in lines


def test_a_cell_with_a_bar_does_not_break_the_table() -> None:
    """A report is Markdown: a bar in a cell would add a column."""
    assert "| a\\|b |" in report().to_text()


def test_json_holds_what_the_text_does() -> None:
    found = json.loads(report().to_json())
    assert found["tables"][0]["rows"] == [["a|b", 1.5], ["c", None]]
    assert [check["met"] for check in found["checks"]] == [True, False]
    assert found["machine"]["cores"] >= 1


def test_a_row_of_the_wrong_length_is_a_bug() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table(title="T", columns=("a", "b"), rows=(("x",),))


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "–"), ("x", "x"), (5_000_000, "5,000,000"), (1234.5, "1,234"), (0.1234, "0.123"), (123.4, "123")],
)
def test_cells_as_printed(cell: str | float | None, text: str) -> None:
    assert shown(cell) == text


@pytest.mark.parametrize(("figure", "at_least", "met"), [(1.5, True, True), (1.49, True, False), (1.5, False, True)])
def test_a_mark_is_met_when_it_is_reached(figure: float, at_least: bool, met: bool) -> None:
    assert Check(what="", figure=figure, mark=1.5, at_least=at_least).met is met


def test_writing_replaces_that_section_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "BENCHMARKS.md"
    write_section(file, report(bench="scale", title="first"))
    write_section(file, report(bench="ocr", title="second"))
    write_section(file, report(bench="scale", title="third"))
    text = file.read_text("utf-8")
    assert text.startswith(HEAD.strip())
    assert text.count("<!-- bench: ") == 2
    assert "first" not in text
    assert text.index("## ocr: second") < text.index("## scale: third")
    write_section(file, report(bench="scale", title="third"))
    assert file.read_text("utf-8") == text


# ---- turns and speed


def test_contenders_take_turns_and_the_median_counts() -> None:
    order: list[str] = []

    def contender(name: str, seconds: Sequence[float], turns: int) -> Contender:
        left = iter(seconds)

        def work() -> float:
            order.append(name)
            return next(left)

        return Contender(name=name, seconds=work, turns=turns)

    taken = in_turn([contender("ours", [3, 1, 2], 3), contender("peer", [9, 7, 8], 3), contender("once", [5], 1)])
    assert order == ["ours", "peer", "once", "ours", "peer", "ours", "peer"]
    assert taken == {"ours": 2, "peer": 8, "once": 5}


def test_speed_is_counted_from_the_first_parts_to_the_last() -> None:
    record = {
        "samples": [[10.0, 16, 0], [10.5, 32, 0], [14.0, 48, 0], [20.5, 112, 0]],
        "startup_seconds": {"prepare": 1.0},
        "started": "2026-01-01T00:00:05+00:00",
    }
    began = 1767225602.0  # 00:00:02 of that day: the record's clock started two seconds later
    found = steady(record, began, together=2)
    assert (found.pages, found.start, found.end) == (80, 12.5, 22.5)
    assert found.pages_per_second == 8.0
    with pytest.raises(MantaError, match="take more pages"):
        steady(record, began, together=4)


def test_pace_counts_what_comes_after_the_first_parts() -> None:
    moments = [datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC) for second in (0, 1, 3, 6)]
    committed = [(at, units) for at, units in zip(moments, (5.0, 7.0, 4.0, 2.0), strict=True) for _ in range(2)]
    assert pace(committed, together=2) == 2 * (4 + 2) / (6 - 1)
    assert pace(reversed(committed), together=1) == 2 * (7 + 4 + 2) / 6
    with pytest.raises(MantaError, match="take more files"):
        pace(committed, together=4)


# ---- words


def test_words_count_as_often_as_they_stand_on_both_sides() -> None:
    found = quality([(["A", "A", "b."], ["a", "b.", "b"]), (["x"], [])])
    assert (found.annotated, found.read, found.right) == (4, 3, 2)
    assert (found.recall, found.precision) == (0.5, 2 / 3)
    assert math.isclose(found.f1, 2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))


@given(st.lists(st.tuples(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))))
def test_quality_is_symmetric_and_bounded(pages: list[tuple[list[str], list[str]]]) -> None:
    one, other = quality(pages), quality([(found, gold) for gold, found in pages])
    assert (one.recall, one.precision, one.f1) == (other.precision, other.recall, other.f1)
    assert 0 <= one.f1 <= 1
    assert quality([(gold, gold) for gold, _ in pages]).right == sum(len(gold) for gold, _ in pages)


def test_ours_and_the_tesseract_program_read_the_same_scans(tmp_path: Path) -> None:
    images = annotated(write_scans(tmp_path, 2))
    paths = [one.path for one in images]
    with ReadPath(2) as read:
        ours = read(paths)
    for words in (ours, peers.tesseract(paths, 2), Trial()(paths, 2)):
        assert quality((one.words, words[one.path]) for one in images).f1 > 0.8


def test_scans_are_the_same_each_time(tmp_path: Path) -> None:
    first, second = (annotated(write_scans(tmp_path / name, 1)) for name in "ab")
    assert first[0].words == second[0].words
    assert digest([first[0].path]) == digest([second[0].path])


def test_a_folder_without_annotations_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no receipts\.jsonl"):
        annotated(tmp_path)
    (tmp_path / "receipts.jsonl").write_text('{"image": null, "lines": []}\n')
    with pytest.raises(UsageError, match="names an image"):
        annotated(tmp_path)


def test_the_book_has_its_pages_and_their_text(tmp_path: Path) -> None:
    import pypdfium2

    with pypdfium2.PdfDocument(book(tmp_path / "book.pdf", 3)) as document:
        assert len(document) == 3
        assert len(document[2].get_textpage().get_text_bounded().split()) == 420 + 3


# ---- rows and models


def test_texts_are_fixed() -> None:
    """The hash that BENCHMARKS.md tells; where it changes, figures cannot be compared with older ones."""
    found = texts.texts(200)
    assert found.sha256 == "7c09da5b7489d9a7"
    assert found.rows[:5] == texts.texts(5).rows
    lengths = [len(str(row["text"]).split()) for row in found.rows]
    assert min(lengths) >= 4
    assert max(lengths) <= 480
    assert 40 < sorted(lengths)[100] < 80


def test_pages_are_what_a_task_reads() -> None:
    for row in texts.pages(20).rows:
        words, boxes = row["words"], row["boxes"]
        assert isinstance(words, list)
        assert isinstance(boxes, list)
        assert 80 <= len(words) == len(boxes) <= 400
        assert all(0 <= x0 <= x1 <= 1000 and 0 <= y0 <= y1 <= 1000 for x0, y0, x1, y1 in boxes)


def test_a_line_is_shared_out_to_its_words(tmp_path: Path) -> None:
    line = {"box": [100, 50, 200, 70], "text": "ab cde fghi"}
    record = {"image": None, "width": 1000, "height": 100, "lines": [line]}
    (tmp_path / "receipts.jsonl").write_text(json.dumps(record) + "\n")
    row = texts.annotated_pages(tmp_path, 5).rows[0]
    assert row["words"] == ["ab", "cde", "fghi"]
    assert row["boxes"] == [[100, 500, 118, 700], [127, 500, 154, 700], [163, 500, 200, 700]]


def test_flops_are_those_that_torch_counts(tmp_path: Path) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=50, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256
    )
    config.save_pretrained(tmp_path)
    model = BertModel(config, add_pooling_layer=False).eval()
    model.set_attn_implementation("eager")  # the counter does not see into fused attention on a CPU
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.ones(2, 24, dtype=torch.long))
    assert models.flops(tmp_path, [24, 24]) == counter.get_total_flops()


def test_predictor_gets_as_many_rows_as_a_run_hands_over() -> None:
    assert CALL_ROWS == TABLE_ROWS


# ---- outputs and processes


def test_a_made_output_is_planned_around(tmp_path: Path) -> None:
    parts = write_output(tmp_path, 3_000)
    assert parts == 4
    signed = {"fingerprint": STAMP.fingerprint, "read_fingerprint": STAMP.read_fingerprint}
    ledger = Ledger.load(open_storage(str(tmp_path)), **signed, records_per_page=1)
    todo = [uri for table in listed(3_002) for uri in ledger.todo(table)["uri"].to_pylist()]
    assert [Path(uri).stem for uri in todo] == ["document-00003000", "document-00003001"]


def test_a_child_tells_its_answer_and_its_own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hungry.py").write_text("def eat(size): return {'held': len(bytearray(b'1') * (size << 20))}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = in_child("hungry:eat", 300)
    assert told.answer == {"held": 300 << 20}
    assert 300 << 20 < told.peak_bytes < 600 << 20
    assert in_child("hungry:eat", 1).peak_bytes < 300 << 20
    with pytest.raises(MantaError, match=r"(?s)hungry:eat failed: .*TypeError"):
        in_child("hungry:eat", "x")


def test_a_watched_program_shows_memory_and_work() -> None:
    script = (
        "import time; held = bytearray(b'1') * (200 << 20); end = time.time() + 2\n"
        "while time.time() < end: pass\n"
        "print('out')"
    )
    watched = programs.watch([sys.executable, "-c", script])
    assert watched.out == "out\n"
    assert watched.seconds > 2
    assert 200 << 20 < watched.peaks["driver"] < 400 << 20
    assert watched.cpu["driver"] > 0.2
    assert 0 < watched.busy(0, watched.seconds, 1) < 1.5


def test_a_watched_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(MantaError, match="ended with 7: no luck"):
        programs.watch([sys.executable, "-c", "import sys; sys.stderr.write('no luck'); sys.exit(7)"])


def test_memory_of_this_process_is_what_the_kernel_says() -> None:
    rss, own = psutil.Process().memory_info().rss, programs.own_bytes(os.getpid())
    assert 0.5 * rss < own <= 1.05 * rss


def test_a_missing_package_is_one_line_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking:
        def measure(self, ask: Ask) -> Report:
            import no_such_package  # type: ignore[import-not-found]  # noqa: F401

            raise AssertionError

    monkeypatch.setattr(benches, "find", lambda _: Lacking())
    with pytest.raises(UsageError, match=r"bench pages needs no_such_package: pip install 'manta\[demo"):
        benches.bench("pages", as_json=False, write=None, data=None, quick=True)
    with pytest.raises(UsageError, match=r"^the demo needs no_such_package: pip install 'manta\[demo\]'$"):
        need("the demo", ("no_such_package", "json"), "demo")


def test_no_bench_is_held_to_one_thread_unless_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of ours and of the peers would all run on one core, and the figures be of another machine."""
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)

    class Looking:
        def measure(self, ask: Ask) -> Report:
            return report(notes=(f"limit {os.environ.get('OMP_THREAD_LIMIT')}",))

    monkeypatch.setattr(benches, "find", lambda _: Looking())
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    benches.bench("pages", as_json=False, write=None, data=None, quick=True)
    assert "limit None" in out.getvalue()
