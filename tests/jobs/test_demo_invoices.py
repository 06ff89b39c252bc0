"""The invoice generator: the same from the same seed, honest about what it labels, apart for training and testing."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from jobs.invoices import layouts
from jobs.invoices.blocks import LABELS
from jobs.invoices.corpus import WORD_LABELS, texts, training_rows, write_document, write_unreadable
from jobs.invoices.facts import draw
from jobs.invoices.names import TEST, TRAIN, company, invent
from jobs.invoices.rows import labelled
from jobs.invoices.scan import Scanner, scan
from jobs.invoices.sheet import Sheet


def sheet(seed: int, layout: layouts.Layout, names: object = TEST) -> Sheet:
    rng = Random(seed)
    facts = draw(rng, names)  # type: ignore[arg-type]
    page = layouts.new_sheet(rng)
    layout(page, rng, facts)
    return page


def test_training_and_testing_share_no_name_and_no_layout() -> None:
    assert not TRAIN.words() & TEST.words()
    assert not set(layouts.TRAIN_LAYOUTS) & set(layouts.TEST_LAYOUTS)
    invented = {invent(Random(seed)).lower() for seed in range(3000)}
    assert not invented & TEST.words()
    trained = {word.lower() for word in texts(training_rows(1, 0, 200))}
    assert not trained & {word.lower() for word in (*TEST.companies, *TEST.surnames, *TEST.cities, *TEST.streets)}


@pytest.mark.parametrize("layout", [*layouts.TRAIN_LAYOUTS, *layouts.TEST_LAYOUTS], ids=lambda each: each.__name__)
def test_every_layout_shows_what_it_labels(layout: layouts.Layout) -> None:
    for seed in range(20):
        page = sheet(seed, layout)
        rows = labelled(page)
        spans = [span for line in page.lines for span in line.spans if span.label]
        starts = [label for label in rows.labels if label.startswith("B-")]
        assert [f"B-{span.label}" for span in spans] == starts
        assert {"vendor", "buyer", "invoice_number", "invoice_date", "tax", "total"} <= {span.label for span in spans}
        # what is read back out of words and labels is what was written
        words = iter(zip(rows.words, rows.labels, strict=True))
        joined = [word for word, label in words if label != "O"]
        assert joined == [word for span in spans for word in span.text.split()]


@pytest.mark.parametrize("layout", layouts.TEST_LAYOUTS, ids=lambda each: each.__name__)
def test_pages_of_the_test_layouts_fit_on_the_paper(layout: layouts.Layout) -> None:
    for seed in range(40):
        page = sheet(seed, layout)
        boxes = np.array([word.box for word in page.words()])
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= page.width
        assert boxes[:, 3].max() <= page.height + 15


def test_training_rows_are_a_function_of_the_seed_and_may_be_made_in_parts() -> None:
    whole = training_rows(7, 0, 20)
    assert whole.slice(12, 5).to_pylist() == training_rows(7, 12, 5).to_pylist()
    assert whole.to_pylist() != training_rows(8, 0, 20).to_pylist()
    for row in whole.to_pylist():
        assert len(row["words"]) == len(row["boxes"]) == len(row["labels"])
        assert set(row["labels"]) <= set(WORD_LABELS)
        boxes = np.array(row["boxes"])
        assert boxes.min() >= 0
        assert boxes.max() <= 1000
        assert (boxes[:, :2] <= boxes[:, 2:]).all()


def test_a_document_is_the_same_twice(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = write_document(tmp_path / "a", 3, 1, scanned=True)
    two = write_document(tmp_path / "b", 3, 1, scanned=True)
    assert one == two
    assert (tmp_path / "a" / one.name).read_bytes() == (tmp_path / "b" / two.name).read_bytes()
    assert {label for label, _ in one.entities} <= set(LABELS)


def test_a_scan_has_no_text_layer_and_a_digital_document_has_what_it_says(tmp_path: Path) -> None:
    import pypdfium2

    digital = write_document(tmp_path, 3, 0, scanned=False)
    with pypdfium2.PdfDocument(tmp_path / digital.name) as document:
        text = " ".join(document[0].get_textpage().get_text_bounded().split())
    assert all(" ".join(entity.split()) in text for _, entity in digital.entities)
    scanned = write_document(tmp_path, 3, 0, scanned=True)
    with pypdfium2.PdfDocument(tmp_path / scanned.name) as document:
        assert document[0].get_textpage().count_chars() == 0


def test_a_turned_scan_lies_on_its_side(tmp_path: Path) -> None:
    import pypdfium2

    from jobs.invoices.pdf import to_pdf

    pdf = to_pdf(sheet(1, layouts.sidebar))
    still = Scanner(dpi=60, skew=0, turn=0, noise=0, blur=0, quality=90, shade=0)
    turned = Scanner(dpi=60, skew=0, turn=90, noise=0, blur=0, quality=90, shade=0)
    sizes = []
    for scanner in (still, turned):
        with pypdfium2.PdfDocument(scan(pdf, scanner, seed=0)) as document:
            sizes.append(document[0].get_size())
    assert sizes[0] == pytest.approx(sizes[1][::-1], abs=2)
    assert sizes[0][0] < sizes[0][1]


def test_the_write_unreadable_are_refused_for_their_reason(tmp_path: Path) -> None:
    from stages.errors import RowError
    from stages.reading import count_pages, open_sandbox
    from stages.settings import Settings

    sandbox = open_sandbox(Settings())
    try:
        for document in write_unreadable(tmp_path, 1):
            with pytest.raises(RowError) as caught:
                count_pages(sandbox, str(tmp_path / document.name), Settings())
            assert caught.value.code == document.kind
    finally:
        sandbox.close()


def test_company_names_are_not_always_of_known_words() -> None:
    names = {company(Random(seed), TRAIN) for seed in range(200)}
    assert len(names) > 190
