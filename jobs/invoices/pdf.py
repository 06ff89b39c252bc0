"""A laid-out page as a PDF file: born digital, with its text layer, and fonts that no reader has to be given."""

from __future__ import annotations

import io

from jobs.invoices.sheet import Sheet


def to_pdf(sheet: Sheet) -> bytes:
    """The page as a PDF of one page; the same sheet gives the same bytes."""
    from reportlab.pdfgen.canvas import Canvas

    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(sheet.width, sheet.height), invariant=1, pageCompression=1)
    for line in sheet.lines:
        canvas.setFont(line.font, line.size)
        canvas.drawString(line.x, sheet.height - line.y, line.text)
    canvas.setLineWidth(0.6)
    for x0, y0, x1, y1 in sheet.rules:
        canvas.line(x0, sheet.height - y0, x1, sheet.height - y1)
    canvas.save()
    return file.getvalue()
