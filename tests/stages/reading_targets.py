"""Readers with faults, for the tests of reading."""

import os
import time

from stages.errors import Code, RowError
from stages.reader_child import open_reader


def open_faulty(settings):
    """The real reader, but for the pages in ``FAULTS``."""
    real = open_reader(settings)

    def handle(request, file):
        answer = real(request, file)
        if answer.get("need_file") or request["op"] == "open":
            return answer
        fault = FAULTS.get(request["page"])
        return answer if fault is None else fault(request, answer)

    return handle


def hang(request, answer):
    time.sleep(60)


def hang_in_ocr(request, answer):
    return time.sleep(60) if request["op"] == "ocr" else answer


def die_in_pdfium(request, answer):
    return os.abort() if request["engine"] == "pdfium" else answer


def die(request, answer):
    os.abort()


def eat(request, answer):
    held = []
    while True:
        held.append(bytearray(b"x") * 2**22)


def lie(request, answer):
    return dict(answer) | {"width": float("nan")}


FAULTS = {2: hang, 3: die_in_pdfium, 4: die, 5: eat, 6: hang_in_ocr, 7: lie}


def open_refusing(settings):
    """pdfium calls every document corrupt; poppler finds it locked where its key says so."""
    real = open_reader(settings)

    def handle(request, file):
        answer = real(request, file)
        if answer.get("need_file"):
            return answer
        if request["engine"] == "pdfium":
            raise RowError(Code.CORRUPT, "pdfium refuses")
        if "locked" in request["key"]:
            raise RowError(Code.PASSWORD_REQUIRED, "poppler wants a password")
        return answer

    return handle
