"""The names that invoices are made of: one set for training, another for testing, with no name in both.

Legal forms, street kinds and captions (``Ltd``, ``Street``, ``Invoice no.``) are the language of invoices and are
shared; whatever names a company, a person, a place or a product is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True)
class Names:
    """The words that names are drawn from."""

    companies: tuple[str, ...]
    """First words of company names."""
    trades: tuple[str, ...]
    """Second words of company names."""
    given: tuple[str, ...]
    surnames: tuple[str, ...]
    streets: tuple[str, ...]
    cities: tuple[str, ...]
    products: tuple[str, ...]
    """Things that are sold; one to three words."""
    invented: bool
    """Whether company, family and place names may also be made up of syllables."""

    def words(self) -> set[str]:
        """Every word of every name, lower case."""
        lists = (self.companies, self.trades, self.given, self.surnames, self.streets, self.cities, self.products)
        return {word.lower() for names in lists for name in names for word in name.split()}


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("\n", " ").split(","))


TRAIN = Names(
    companies=_split(
        "Aldgate Amberley Arcwell Baxley Beacon Birchfield Blackmoor Bluestone Bramley Calder Carrick Cedar Chester "
        "Clearbrook Corwin Crestline Dalton Denholm Eastgate Elmwood Evergreen Falcon Fenwick Foxhall Garnet Glenmore "
        "Granite Greyfriars Halden Hartwell Hawthorn Highland Ironbridge Ivyhouse Jasper Keswick Kingsway Larkhill "
        "Linden Lockwood Magnolia Maple Meridian Milford Northgate Oakley Orchard Osprey Pembroke Pinnacle Quarry "
        "Redwood Ridgeway Rowan Sable Sherwood Silverline Southport Stanmore Sterling Thornbury Tiverton Upland "
        "Vanguard Wakefield Waverley Wexford Windmill Woodside Yarrow",
    ),
    trades=_split(
        "Supplies Services Trading Logistics Engineering Electrical Plumbing Catering Printing Consulting Media "
        "Furniture Tools Textiles Hardware Packaging Systems Metals Foods Motors Stationers Joinery Partners",
    ),
    given=_split(
        "Alice Andrew Anna Brian Carol Charles Clara David Diana Edward Emma Frank George Grace Helen Henry Irene Jack "
        "Jane John Julia Kevin Laura Linda Mark Martin Mary Nancy Oliver Paul Peter Rachel Robert Ruth Samuel Sarah "
        "Simon Susan Thomas Victor Walter William",
    ),
    surnames=_split(
        "Adams Allen Baker Barnes Bennett Brooks Carter Clark Collins Cooper Davis Edwards Ellis Evans Fisher Foster "
        "Gibson Graham Green Hall Harris Hill Hughes Jackson Johnson Jones Kelly King Lewis Marshall Mason Miller "
        "Mitchell Moore Morgan Morris Murphy Nelson Parker Phillips Powell Price Reed Roberts Russell Scott Shaw Smith "
        "Stevens Taylor Turner Walker Ward Watson White Wilson Wood Wright Young",
    ),
    streets=_split(
        "Abbey Albion Bridge Canal Castle Chapel Church College Cross Derby Dock Essex Field Forge Garden George "
        "Harbour High Hope Kent Lime Long Main Market Meadow Mill North Park Pond Queen Regent River School Spring "
        "Station Temple Tower Union Vine West",
    ),
    cities=_split(
        "Ashford Barnsley Bedford Bolton Bradford Brighton Bristol Cambridge Canterbury Cardiff Coventry Dover Dundee "
        "Durham Exeter Glasgow Gloucester Halifax Hereford Ipswich Leeds Leicester Lincoln Luton Norwich Oldham Oxford "
        "Perth Plymouth Preston Reading Salford Sheffield Swindon Taunton Truro Warwick Winchester Worcester York",
    ),
    products=_lines(
        "Oak desk, Office chair, Filing cabinet, Desk lamp, Copy paper A4, Toner cartridge, Cable ties, Steel bolts, "
        "Copper pipe, Wall paint, Brush set, Safety gloves, Hard hat, Drill bits, Hand saw, Timber planks, Tiles, "
        "Cement bags, Garden hose, Work boots, Cleaning spray, Paper towels, Coffee beans, Green tea, Mineral water, "
        "Site survey, Annual service, Delivery charge, Labour per hour, Design work, Web hosting, Software licence, "
        "Training day, Translation work, Print run, Posters, Packing boxes, Bubble wrap, Pallet hire, Van rental, "
        "Engine oil, Brake pads, Tyre fitting, Battery pack, Light bulbs, Extension lead, Door hinges, Window frame",
    ),
    invented=True,
)

TEST = Names(
    companies=_split(
        "Ravensworth Solvane Tamarisk Kestrel Marlow Brightwater Cobalt Driftwood Palisade Juniper Copperfield "
        "Stonehaven Nightingale Galloway Larchmont Whitby Hollins Vermeer Quantock Saltmarsh Zephyr Umberton",
    ),
    trades=_split("Instruments Ceramics Bakery Optics Nurseries Upholstery Drainage Glazing Aviation Orthodontics"),
    given=_split("Beatrice Cedric Dorothea Fergus Gwendolyn Hamish Ingrid Leopold Matilda Nigel Philippa Rupert"),
    surnames=_split(
        "Abernathy Blackwood Cholmondeley Drummond Fairweather Goodfellow Hargreaves Kowalski Lindqvist "
        "Okonkwo Pemberton Ramanathan Szymanski Thistlewood Vandermeer Yamamoto"
    ),
    streets=_split("Almond Bishop Cavendish Dunmore Elgin Foundry Grosvenor Heron Inverness Larkspur Mulberry Osborne"),
    cities=_split(
        "Aberdeen Carlisle Falmouth Guildford Inverurie Kirkwall Margate Penzance Ramsgate Shrewsbury Torquay"
    ),
    products=_lines(
        "Microscope slides, Glazed vase, Sourdough loaf, Varifocal spectacles, Apple saplings, Velvet armchair, "
        "Gutter bracket, Toughened pane, Propeller blade, Dental mirror, Kiln shelf, Telescope mount, Rye flour, "
        "Contact lenses, Rose bushes, Fabric swatch, Inspection camera, Skylight kit, Rudder tiller, Retainer case",
    ),
    invented=False,
)

LEGAL_FORMS = ("Ltd", "Limited", "Inc.", "LLC", "GmbH", "PLC", "& Co.", "& Sons", "Group", "Corp.", "")
STREET_KINDS = ("Street", "Road", "Lane", "Avenue", "Close", "Way", "Square")

_ONSETS = _split("b br c cl d dr f g gl h j k l m n p pr qu r s sh st t th tr v w z")
_VOWELS = _split("a e i o u ai ea oo ou")
_CODAS = (*_split("l m n nd r rn s th x ck ll st nt rd"), *("",) * 14)
_FIRSTS = _split(
    "Ash Black Blue Bright Clear Cold Cross Dark East Fair Far Fern Flint Green Grey Hart Hay High Holm Iron King Lang "
    "Long Mill Moss New North Oak Old Red Sand Silver South Stan Stone Thorn Water West White Wild Win Wood Wool",
)
_LASTS = _split(
    "bank borough bourne bridge brook burn bury by cliff combe cote dale den fell field ford gate ham haven hill "
    "hurst land ley light lock man mere mont moor more port ridge shaw side son stead stock ton vale wall water way "
    "well wick wood worth",
)
_TRADES = _split("age ances ants ares ations ations cs eries ers ery ics ies ing ings ments ors ry s tions ware works")


def invent(rng: Random) -> str:
    """A name made up of syllables, or of two words, that is not a word of the test names."""
    while True:
        if rng.random() < 0.4:
            name = f"{rng.choice(_FIRSTS)}{rng.choice(_LASTS)}"
        else:
            name = "".join(_syllable(rng) for _ in range(rng.choice((2, 2, 3))))
        if name.lower() not in _TEST_WORDS:
            return name.capitalize()


def _syllable(rng: Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)


_TEST_WORDS = TEST.words()
_INVENTED = 0.85
"""Share of training's names that are made up: a model that knows the listed ones by heart must not get far."""


def pick(rng: Random, names: Names, options: tuple[str, ...]) -> str:
    """One of ``options``, or mostly an invented name where the set allows it."""
    return invent(rng) if names.invented and rng.random() < _INVENTED else rng.choice(options)


def trade(rng: Random, names: Names) -> str:
    """What a company does, in one word."""
    if not names.invented or rng.random() > _INVENTED:
        return rng.choice(names.trades)
    while True:
        name = "".join(_syllable(rng) for _ in range(rng.choice((1, 2, 2)))) + rng.choice(_TRADES)
        if name not in _TEST_WORDS:
            return name.capitalize()


def company(rng: Random, names: Names) -> str:
    """A company's name, such as ``Calder & Wexford Tools Ltd``."""
    first = pick(rng, names, names.companies)
    shape = rng.random()
    if shape < 0.15:
        first = f"{first} & {pick(rng, names, names.companies)}"
    elif shape < 0.3:
        first = f"{pick(rng, names, names.surnames)} {first}"
    does = "" if shape > 0.85 else trade(rng, names)
    return " ".join(f"{first} {does} {rng.choice(LEGAL_FORMS)}".split())


def person(rng: Random, names: Names) -> str:
    """A person's name, with a title or an initial at times."""
    surname = pick(rng, names, names.surnames)
    given = pick(rng, names, names.given)
    title = rng.choice(("", "", "", "Mr ", "Ms ", "Dr "))
    initial = rng.choice(("", "", f"{rng.choice('ABCDEFGHJKLMPRSTW')}. "))
    return f"{title}{given} {initial}{surname}"


def product(rng: Random, names: Names) -> str:
    """A thing that is sold; at times one that no list has, so that an unknown word need not be a company's."""
    words = rng.choice(names.products).split()
    if names.invented and rng.random() < 0.6:
        words[rng.randrange(len(words))] = invent(rng)
    return " ".join(words)


def address(rng: Random, names: Names) -> tuple[str, str]:
    """Street and town, one line each."""
    street = f"{rng.randint(1, 240)} {pick(rng, names, names.streets)} {rng.choice(STREET_KINDS)}"
    code = f"{rng.choice('ABCDEGHLMNPRSTW')}{rng.choice('ABDEHLNORSTW')}{rng.randint(1, 29)} {rng.randint(1, 9)}"
    code += "".join(rng.choice("ABDEFGHJLNPQRSTUWXYZ") for _ in range(2))
    code = rng.choice((code, str(rng.randint(10_000, 99_999))))
    city = pick(rng, names, names.cities)
    return street, rng.choice((f"{city} {code}", f"{city}, {code}", f"{code} {city}"))
