"""The parts that invoice layouts are put together from. Each draws one part and returns the baseline after it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal, TypeAlias

from jobs.invoices.facts import Facts, Party, money
from jobs.invoices.sheet import Anchor, Sheet, Span, text_width

LABELS = ("vendor", "buyer", "invoice_number", "invoice_date", "due_date", "tax", "total")
"""The entities of an invoice."""

Field: TypeAlias = tuple[str, Span]
"""A caption and its value."""
Style: TypeAlias = Literal["inline", "columns", "justified", "above", "row", "sentence"]
"""How captions and values stand: on one line, in two columns, at both edges, caption above the value, a row of captions
above a row of values, or strung together."""

_NUMBER = (
    "Invoice No.",
    "Invoice number",
    "Invoice #",
    "Invoice no",
    "Inv. No.",
    "Number",
    "Document no.",
    "Reference",
)
_ISSUED = ("Date", "Invoice date", "Date of issue", "Issued", "Issue date", "Dated")
_DUE = ("Due date", "Payment due", "Due", "Pay by", "Payable by", "Due on")
_ORDER = ("Order No.", "PO number", "Your order", "Order #", "Purchase order", "Our ref.")
_ORDERED = ("Order date", "Delivery date", "Date of supply", "Shipped on")
_CUSTOMER = ("Customer no.", "Account no.", "Client ID", "Customer ID")
_CONTACT = ("Contact", "Sales rep", "Prepared by", "Your contact")
_BUYER = ("Bill to", "Billed to", "Invoice to", "Customer", "Sold to", "Client", "Buyer")
_SHIP_TO = ("Ship to", "Deliver to", "Delivery address", "Shipped to")
_SUBTOTAL = ("Subtotal", "Net amount", "Sum", "Net total", "Total excl. tax", "Total before tax")
_TAX = ("VAT", "Tax", "Sales tax", "GST", "VAT amount")
_TOTAL = ("Total", "Total due", "Amount due", "Grand total", "Balance due", "Total payable", "Amount payable")
_PAID = ("Deposit received", "Previous payment", "Last invoice", "Paid to date")
_TITLES = ("INVOICE", "Invoice", "Tax Invoice", "TAX INVOICE", "Sales Invoice")


def title(sheet: Sheet, rng: Random, x: float, y: float, anchor: Anchor = "left") -> float:
    """The word ``Invoice``, large."""
    sheet.text(x, y, rng.choice(_TITLES), scale=rng.uniform(1.5, 2.4), bold=rng.random() < 0.7, anchor=anchor)
    return y + 2.0 * sheet.leading


def vendor(
    sheet: Sheet, rng: Random, facts: Facts, x: float, y: float, anchor: Anchor = "left", room: float = 1000.0
) -> float:
    """The seller's name, most often larger but never wider than ``room``, with address and registrations."""
    name = Span(text=facts.vendor.name, label="vendor")
    fit = room / text_width(name.text, sheet.bold, sheet.size)
    scale = min(fit, rng.choice((1.0, 1.2, 1.4, 1.7)))
    sheet.text(x, y, name, scale=scale, bold=rng.random() < 0.7, anchor=anchor)
    return sheet.block(x, y + 1.2 * sheet.leading, [*facts.vendor.address, *facts.vendor.ids], anchor=anchor)


def buyer(sheet: Sheet, rng: Random, facts: Facts, x: float, y: float) -> float:
    """The customer under a caption."""
    return _party(sheet, rng, rng.choice(_BUYER), facts.buyer, x, y, label="buyer")


def ship_to(sheet: Sheet, rng: Random, facts: Facts, x: float, y: float) -> float:
    """A decoy: another party under a caption."""
    return _party(sheet, rng, rng.choice(_SHIP_TO), facts.ship_to, x, y, label="")


def _party(sheet: Sheet, rng: Random, caption: str, party: Party, x: float, y: float, label: str) -> float:
    caption = _caption(rng, caption)
    name = Span(text=party.name, label=label)
    if rng.random() < 0.2:
        sheet.text(x, y, caption, name)
    else:
        sheet.text(x, y, caption, bold=rng.random() < 0.6)
        y += sheet.leading
        sheet.text(x, y, name, bold=rng.random() < 0.3)
    return sheet.block(x, y + sheet.leading, party.address)


def facts_fields(rng: Random, facts: Facts) -> list[Field]:
    """Number and dates, among decoys, in any order."""
    fields = [
        (rng.choice(_NUMBER), Span(text=facts.number, label="invoice_number")),
        (rng.choice(_ISSUED), Span(text=facts.issued, label="invoice_date")),
    ]
    decoys = [
        (rng.choice(_ORDER), Span(text=facts.order_number)),
        (rng.choice(_ORDERED), Span(text=facts.ordered)),
        (rng.choice(_CUSTOMER), Span(text=facts.customer_number)),
        (rng.choice(_CONTACT), Span(text=facts.contact)),
    ]
    if rng.random() < 0.8:
        fields.append((rng.choice(_DUE), Span(text=facts.due, label="due_date")))
    fields += rng.sample(decoys, rng.randint(1, 3))
    if rng.random() < 0.6:
        rng.shuffle(fields)
    return fields


def sums(rng: Random, facts: Facts) -> list[Field]:
    """Subtotal, tax and total, with a deposit as a decoy at times."""

    def value(cents: int, label: str = "") -> Span:
        return Span(text=money(cents, facts.currency), label=label)

    tax_caption = rng.choice(_TAX)
    if rng.random() < 0.6:
        tax_caption += rng.choice((f" {facts.tax_percent}%", f" ({facts.tax_percent}%)", f" at {facts.tax_percent}%"))
    fields = [
        (rng.choice(_SUBTOTAL), value(facts.subtotal)),
        (tax_caption, value(facts.tax, "tax")),
        (rng.choice(_TOTAL), value(facts.total, "total")),
    ]
    if facts.shipping and rng.random() < 0.7:
        fields.insert(0, (rng.choice(("Shipping", "Carriage", "Freight")), value(facts.shipping)))
    if rng.random() < 0.35:
        fields.insert(rng.choice((0, len(fields))), (rng.choice(_PAID), value(facts.paid)))
    return fields


def fields(
    sheet: Sheet, rng: Random, pairs: Sequence[Field], x: float, y: float, *, width: float, style: Style
) -> float:
    """Captions with their values in one style, between x and x + width."""
    captions = [_caption(rng, caption) for caption, _ in pairs]
    values = [value for _, value in pairs]
    bold = rng.random() < 0.4
    if style == "row":
        return _row(sheet, captions, values, x, y, width)
    if style == "sentence":
        return _sentence(sheet, captions, values, x, y, width)
    left = max(text_width(caption, sheet.bold, sheet.size) for caption in captions) + 1.2 * sheet.size
    for caption, value in zip(captions, values, strict=True):
        if style == "inline":
            sheet.text(x, y, caption, value)
        elif style == "above":
            sheet.text(x, y, caption, bold=bold)
            y += sheet.leading
            sheet.text(x, y, value)
            y += 0.3 * sheet.leading
        else:
            sheet.text(x, y, caption, bold=bold)
            sheet.text(
                *((x + left, y) if style == "columns" else (x + width, y)),
                value,
                anchor="left" if style == "columns" else "right",
            )
        y += 1.1 * sheet.leading
    return y


def _row(sheet: Sheet, captions: list[str], values: list[Span], x: float, y: float, width: float) -> float:
    step = width / len(captions)
    for at, (caption, value) in enumerate(zip(captions, values, strict=True)):
        room = step - 0.5 * sheet.size
        for text, line in ((Span(text=caption), y), (value, y + sheet.leading)):
            fit = min(1.0, room / text_width(text.text, sheet.bold, sheet.size))
            sheet.text(x + at * step, line, text, scale=fit)
    return y + 2.4 * sheet.leading


def _sentence(sheet: Sheet, captions: list[str], values: list[Span], x: float, y: float, width: float) -> float:
    at, gap = x, 1.5 * sheet.size
    for caption, value in zip(captions, values, strict=True):
        long = text_width(f"{caption} {value.text}", sheet.regular, sheet.size)
        if at > x and at + long > x + width:
            at, y = x, y + sheet.leading
        at += sheet.text(at, y, caption, value) + gap
    return y + 1.2 * sheet.leading


def table(sheet: Sheet, rng: Random, facts: Facts, x: float, y: float, width: float) -> float:
    """The lines of the invoice, ruled or not."""
    columns = ["name", "quantity", "price", "amount"]
    if rng.random() < 0.3:
        columns.insert(0, "code")
    if rng.random() < 0.2:
        columns.remove("price")
    if rng.random() < 0.2:
        columns.insert(0, columns.pop(columns.index("quantity")))
    shares = {"code": 1.0, "name": 3.2, "quantity": 1.0, "price": 1.4, "amount": 1.4}
    heads = {
        "code": rng.choice(("Code", "Item", "Art.")),
        "name": rng.choice(("Description", "Product", "Article", "Details")),
        "quantity": rng.choice(("Qty", "Quantity", "Units")),
        "price": rng.choice(("Price", "Unit price", "Rate")),
        "amount": rng.choice(("Amount", "Total", "Line total", "Sum")),
    }
    unit = width / sum(shares[column] for column in columns)
    ruled = rng.random() < 0.5
    for row in (None, *facts.items):
        at = x
        for column in columns:
            room = shares[column] * unit
            text = heads[column] if row is None else _cell(row.code, row.name, row.quantity, row.price, column)
            anchor: Anchor = "right" if column in ("price", "amount") else "left"
            sheet.text(at if anchor == "left" else at + room, y, text, bold=row is None, anchor=anchor)
            at += room
        if ruled or row is None:
            sheet.rule(x, y + 0.45 * sheet.leading, x + width, y + 0.45 * sheet.leading)
        y += 1.3 * sheet.leading
    return y + 0.5 * sheet.leading


def _cell(code: str, name: str, quantity: int, price: int, column: str) -> str:
    texts = {"code": code, "name": name, "quantity": str(quantity), "price": money(price)}
    return texts.get(column, money(quantity * price))


def footer(sheet: Sheet, rng: Random, facts: Facts, x: float, y: float, anchor: Anchor = "left") -> float:
    """Bank details and thanks."""
    thanks = rng.choice(
        ("Thank you for your business", "Payment within 30 days", "All goods remain ours until paid", "")
    )
    return sheet.block(x, y, [*facts.bank, thanks], anchor=anchor)


def _caption(rng: Random, caption: str) -> str:
    caption = caption.upper() if rng.random() < 0.12 else caption
    return f"{caption}:" if rng.random() < 0.5 and caption[-1] != "#" else caption
