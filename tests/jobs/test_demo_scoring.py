"""The yardsticks of the demo: entity F1 by text, and the regular expressions beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.baseline import find_entities
from jobs.scoring import normalised, score

LABELS = ("total", "vendor")
entities = st.lists(st.tuples(st.sampled_from(LABELS), st.text(alphabet="abc19 .", min_size=1, max_size=4)), max_size=6)
documents = st.dictionaries(st.sampled_from(["a.pdf", "b.pdf", "c.pdf"]), entities)


def test_texts_are_compared_by_letters_and_digits() -> None:
    assert normalised("$1,234.50") == "123450" == normalised("1234.50 ")
    assert normalised("ACME & Sons, Ltd.") == "acmesonsltd"


def test_counts_by_hand() -> None:
    said = {"a.pdf": [("total", "$10.00"), ("vendor", "Acme Ltd")], "b.pdf": [("total", "7")]}
    found = {"a.pdf": [("total", "10.00"), ("total", "11.00"), ("vendor", "Acme")], "c.pdf": [("total", "9")]}
    all_ = score(said, found, LABELS)
    assert (all_[""].right, all_[""].found, all_[""].there) == (1, 3, 3)
    assert all_[""].f1 == pytest.approx(2 / 6)
    assert all_["total"].f1 == pytest.approx(2 * 1 / (2 + 2))
    assert all_["vendor"].f1 == 0
    assert score({}, {}, LABELS)[""].f1 == 0


@given(said=documents, found=documents)
def test_laws(said: dict[str, list[tuple[str, str]]], found: dict[str, list[tuple[str, str]]]) -> None:
    ours = score(said, found, LABELS)
    assert ours[""].right == sum(ours[label].right for label in LABELS)
    assert 0 <= ours[""].f1 <= 1
    perfect = score(said, said, LABELS)
    assert perfect[""].right == perfect[""].there == perfect[""].found
    assert score(said, {}, LABELS)[""].right == 0
    some = {name: found.get(name, []) for name in said}
    assert score(some, said, LABELS)[""].f1 == pytest.approx(score(said, some, LABELS)[""].f1)


def test_the_patterns_find_what_stands_beside_its_caption() -> None:
    text = """Acme Tools Ltd
Invoice No.: INV-2024-0042
Invoice date 3 May 2024
Due date: 2024-06-02
Bill to
Jane Smith
Subtotal 90.00
VAT 10% $9.00
Total due: $99.00"""
    assert dict(find_entities(text)) == {
        "vendor": "Acme Tools Ltd",
        "invoice_number": "INV-2024-0042",
        "invoice_date": "3 May 2024",
        "due_date": "2024-06-02",
        "buyer": "Jane Smith",
        "tax": "$9.00",
        "total": "$99.00",
    }


def test_the_patterns_find_nothing_in_nothing() -> None:
    assert find_entities("") == []
