"""Small documents for the tests of reading, made on the spot."""

import io

import pikepdf
from PIL import Image, ImageDraw, ImageFont
from reportlab.pdfgen import canvas

A5 = (420, 595)

LINES = (
    "Invoice number 20431 of Harbour Lights Limited",
    "Delivered on 12 March to 48 Station Road",
    "Seven boxes of copper wire at 31.50 each",
    "Two ladders with rubber feet at 89.00 each",
    "Amount due before the end of April 398.50",
    "Thank you for your order and your patience",
)


def born_digital(path, lines=LINES, pages=1, size=A5, font="Helvetica", points=12):
    """A PDF with one line of text below the other."""
    paper = canvas.Canvas(str(path), pagesize=size)
    for _ in range(pages):
        paper.setFont(font, points)
        for number, line in enumerate(lines):
            paper.drawString(40, size[1] - 60 - 30 * number, line)
        paper.showPage()
    paper.save()
    return path


def changed(path, change, **save):
    """The PDF after ``change(pdf)``, in place."""
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        change(pdf)
        pdf.save(path, **save)
    return path


def turn(degrees):
    """Sets /Rotate of the first page."""

    def change(pdf):
        pdf.pages[0].Rotate = degrees

    return change


def crop(*box):
    """Sets the first page's crop box."""

    def change(pdf):
        pdf.pages[0].CropBox = pikepdf.Array(box)

    return change


def picture(lines=LINES, size=(1200, 700), points=36, background=255, ink=0, mode="RGB"):
    """An image of lines of text, as a good scan of a page would be."""
    image = Image.new("L", size, background)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(points)
    for number, line in enumerate(lines):
        draw.text((60, 40 + number * int(2.6 * points)), line, fill=ink, font=font)
    return image.convert(mode)


def scan(path, image, over=(), invisible=(), size=A5):
    """A PDF page that is one image, with visible lines of text at its head and invisible ones where its lines are."""
    paper = canvas.Canvas(str(path), pagesize=size)
    file = io.BytesIO()
    image.save(file, "PNG")
    file.seek(0)
    from reportlab.lib.utils import ImageReader

    paper.drawImage(ImageReader(file), 0, 0, *size)
    for number, line in enumerate(over):
        paper.drawString(30, size[1] - 12 - 12 * number, line)
    scale = size[0] / image.width, size[1] / image.height
    for number, line in enumerate(invisible):
        text = paper.beginText(60 * scale[0], size[1] - (40 + 36 + number * int(2.6 * 36)) * scale[1])
        text.setFont("Helvetica", 36 * scale[1])
        text.setTextRenderMode(3)
        text.textOut(line)
        paper.drawText(text)
    paper.save()
    return path


def mapped(path, codes, meaning):
    """A PDF that draws the letters ``codes`` in Helvetica, whose font says that they mean ``meaning``."""
    entries = "".join(f"<{ord(c):02x}> <{m.encode('utf-16-be').hex()}>\n" for c, m in zip(codes, meaning, strict=True))
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Test def\n"
        "1 begincodespacerange <00> <ff> endcodespacerange\n"
        f"{len(codes)} beginbfchar\n{entries}endbfchar\nendcmap end end"
    )
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(200, 100))
        font = pikepdf.Dictionary(
            Type=pikepdf.Name.Font,
            Subtype=pikepdf.Name.Type1,
            BaseFont=pikepdf.Name.Helvetica,
            ToUnicode=pdf.make_stream(cmap.encode()),
        )
        page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
        page.Contents = pdf.make_stream(f"BT /F1 20 Tf 20 40 Td ({codes}) Tj ET".encode())
        pdf.save(path)
    return path
