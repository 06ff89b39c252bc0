"""The real reader with trouble built in: what a page's file is named after happens when the page is read."""

import os
import time

from stages.reader_child import open_reader


def open_troubled(settings):
    real = open_reader(settings)

    def handle(request, file):
        key = str(request["key"])
        if request["op"] != "open":
            if "hang" in key:
                time.sleep(1000)
            if "kill" in key:
                os._exit(3)
            if "eat" in key:
                held = []
                while True:
                    held.append(b"x" * (1 << 26))  # touched, as a decoder's memory is
        return real(request, file)

    return handle
