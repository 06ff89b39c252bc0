"""What regular expressions find in an invoice's text: the yardstick beside which the demo prints its model.

It is what a careful person writes in an afternoon: captions with the value after them on the line or on the next one,
the first line as the seller, the line after ``Bill to`` as the buyer. It knows every caption that the generator uses,
and shares the model's text, so that only what the layout tells is missing.
"""

from __future__ import annotations

import re

from jobs.scoring import Entity

_DATE = r"\d{4}-\d\d-\d\d|\d\d[./]\d\d[./]\d{4}|\d{1,2}[ -][A-Z][a-z]+[ -]\d{4}|[A-Z][a-z]+ \d{1,2}, \d{4}"
_MONEY = r"[$£€]?\s?\d[\d,]*\.\d\d"
_NUMBER = r"(?=\S*\d)[A-Z0-9][\w/-]{3,}"
_GAP = r"\s*[:.#]?\s*"

_CAPTIONS: dict[str, tuple[str, str]] = {
    "invoice_number": (r"(?:invoice|inv\.)\s*(?:no\.?|number|#)|document no\.?|reference|(?<!\w )number", _NUMBER),
    "invoice_date": (
        r"invoice date|date of issue|issue date|issued|dated|(?<!due )(?<!order )(?<!delivery )\bdate(?! of)",
        _DATE,
    ),
    "due_date": (r"due date|payment due|pay by|payable by|due on|\bdue\b", _DATE),
    "tax": (r"(?:vat|sales tax|tax|gst)(?: amount)?(?:\s*(?:at )?\(?\d+\s?%\)?)?(?! no)", _MONEY),
    "total": (
        r"(?<!sub)(?<!net )(?<!line )\btotal(?: due| payable)?|grand total|amount due|balance due|amount payable",
        _MONEY,
    ),
}
_PATTERNS = {label: re.compile(f"(?i:{caption}){_GAP}({value})") for label, (caption, value) in _CAPTIONS.items()}
_BUYER = re.compile(r"(?im)^(?:.*\s)?(?:bill to|billed to|invoice to|customer|sold to|client|buyer)\s*:?\s*\n?(.+)$")
_TITLE = re.compile(r"(?i)^(?:tax |sales )?invoice$")


def find_entities(text: str) -> list[Entity]:
    """Label and text of what the patterns find in a page's text, at most one a label."""
    found = [(label, match.group(1).strip()) for label, each in _PATTERNS.items() if (match := each.search(text))]
    buyer = _BUYER.search(text)
    if buyer:
        found.append(("buyer", buyer.group(1).strip()))
    lines = (line.strip() for line in text.splitlines())
    vendor = next((line for line in lines if line and not _TITLE.match(line)), None)
    if vendor:
        found.append(("vendor", vendor))
    return found
