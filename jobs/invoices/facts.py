"""What one invoice states: parties, numbers, dates, lines and sums, with the decoys that real invoices carry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from jobs.invoices.names import Names, address, company, person, product

DATE_FORMATS = ("%Y-%m-%d", "%d/%m/%Y", "%d.%m.%Y", "{d} %B %Y", "%B {d}, %Y", "{d} %b %Y", "%d-%b-%Y")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of the invoice; money in cents."""

    code: str
    name: str
    quantity: int
    price: int

    @property
    def amount(self) -> int:
        """Quantity times price, in cents."""
        return self.quantity * self.price


@dataclass(frozen=True, kw_only=True)
class Party:
    """A company or person with an address."""

    name: str
    address: tuple[str, ...]
    ids: tuple[str, ...] = ()
    """Telephone, e-mail, tax registration: one line each."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """An invoice before it has a look. Strings stand as they are printed; money in cents."""

    vendor: Party
    buyer: Party
    ship_to: Party
    """A decoy: where the goods go."""
    contact: str
    """A decoy: a person at the vendor's."""
    number: str
    order_number: str
    """A decoy in the same format as ``number``."""
    customer_number: str
    """A decoy."""
    issued: str
    due: str
    ordered: str
    """A decoy: the date of the order."""
    items: tuple[Item, ...]
    tax_percent: int
    shipping: int
    paid: int
    """A decoy: a deposit that was paid before; it is not taken off the total."""
    currency: str
    """A sign that stands before sums, or a code that stands apart; empty for none."""
    bank: tuple[str, ...]
    """Bank details, one line each: decoys."""

    @property
    def subtotal(self) -> int:
        """Sum of the lines and shipping, in cents."""
        return sum(item.amount for item in self.items) + self.shipping

    @property
    def tax(self) -> int:
        """Tax on the subtotal, in cents."""
        return round(self.subtotal * self.tax_percent / 100)

    @property
    def total(self) -> int:
        """What is to be paid, in cents."""
        return self.subtotal + self.tax


def draw(rng: Random, names: Names) -> Facts:
    """An invoice's facts."""
    vendor_name = company(rng, names)
    issued = date(2019, 1, 1) + timedelta(days=rng.randrange(2500))
    form = rng.choice(DATE_FORMATS)
    number, order_number = _number(rng, issued.year), _number(rng, issued.year)
    return Facts(
        vendor=Party(name=vendor_name, address=address(rng, names), ids=_ids(rng, vendor_name)),
        buyer=Party(name=_customer(rng, names), address=address(rng, names)),
        ship_to=Party(name=_customer(rng, names), address=address(rng, names)),
        contact=person(rng, names),
        number=number,
        order_number=order_number,
        customer_number=rng.choice((f"C-{rng.randint(1000, 99999)}", str(rng.randint(10_000, 999_999)))),
        issued=_date(issued, form),
        due=_date(issued + timedelta(days=rng.choice((7, 10, 14, 21, 30, 45, 60))), form),
        ordered=_date(issued - timedelta(days=rng.randint(2, 40)), form),
        items=tuple(_item(rng, names) for _ in range(rng.randint(1, 7))),
        tax_percent=rng.choice((5, 7, 10, 19, 20, 21)),
        shipping=rng.choice((0, 0, rng.randint(300, 4000))),
        paid=rng.randint(1000, 20_000),
        currency=rng.choice(("$", "$", "£", "€", "USD", "EUR", "")),
        bank=_bank(rng, names),
    )


def money(cents: int, currency: str = "") -> str:
    """``1,234.50`` with the currency's sign before it, joined for a sign."""
    text = f"{cents // 100:,}.{cents % 100:02d}"
    return f"{currency}{text}" if len(currency) == 1 else text


def _customer(rng: Random, names: Names) -> str:
    return company(rng, names) if rng.random() < 0.6 else person(rng, names)


def _date(day: date, form: str) -> str:
    return day.strftime(form.replace("{d}", str(day.day)))


def _number(rng: Random, year: int) -> str:
    shapes = (
        f"INV-{year}-{rng.randint(1, 9999):04d}",
        f"INV{rng.randint(1000, 99999)}",
        f"{year}/{rng.randint(10, 999)}",
        f"{rng.randint(10_000, 99_999_999)}",
        f"{rng.choice('ABDEFHKMNPRT')}{rng.randint(1, 9)}-{rng.randint(1000, 9999)}",
        f"{rng.choice('ABDEFHKMNPRT')}-{rng.randint(10_000, 99_999)}",
        f"{rng.choice(('PO', 'SO', 'RE', 'FA'))}-{rng.randint(1000, 99_999)}",
    )
    return rng.choice(shapes)


def _item(rng: Random, names: Names) -> Item:
    code = f"{rng.choice('ABCDEFGH')}{rng.randint(100, 999)}"
    return Item(code=code, name=product(rng, names), quantity=rng.randint(1, 24), price=rng.randint(150, 48_000))


def _ids(rng: Random, vendor: str) -> tuple[str, ...]:
    host = "".join(letter for letter in vendor.split(maxsplit=1)[0].lower() if letter.isalpha())
    lines = (
        f"Tel. {rng.randint(100, 999)} {rng.randint(100, 999)} {rng.randint(1000, 9999)}",
        f"office@{host}.example",
        f"VAT no. {rng.choice(('GB', 'DE', 'NL'))}{rng.randint(10**8, 10**9 - 1)}",
        f"Company no. {rng.randint(10**6, 10**7 - 1)}",
    )
    return tuple(rng.sample(lines, rng.randint(0, 3)))


def _bank(rng: Random, names: Names) -> tuple[str, ...]:
    lines = (
        f"Bank: {rng.choice(names.cities)} Savings Bank",
        f"Account no. {rng.randint(10**7, 10**8 - 1)}",
        f"Sort code {rng.randint(10, 99)}-{rng.randint(10, 99)}-{rng.randint(10, 99)}",
        f"IBAN GB{rng.randint(10, 99)} BARC {rng.randint(1000, 9999)} {rng.randint(1000, 9999)}",
    )
    return tuple(rng.sample(lines, rng.randint(1, 3)))
