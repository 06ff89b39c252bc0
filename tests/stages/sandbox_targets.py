"""Targets for the sandbox tests: what a broken or hostile reader may do. Runs inside the sandbox."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from stages import sandbox_child
from stages.errors import Code, RowError
from stages.sandbox_child import progress


def open_trouble(settings):
    """A handler whose request names one of the functions below, with its arguments."""

    def handle(request, file):
        arguments = dict(request)
        return globals()[arguments.pop("do")](file=file, settings=settings, **arguments)

    return handle


def open_broken(settings):
    raise ValueError("no engine here")


def echo(value, settings, **_):
    return {"value": value, "settings": settings, "pid": os.getpid()}


def hang(seconds=1000, **_):
    time.sleep(seconds)
    return {}


def work(steps, seconds, **_):
    for _step in range(steps):
        time.sleep(seconds)
        progress()
    return {"steps": steps}


def kill(signal_name, **_):
    os.kill(os.getpid(), signal.Signals[signal_name])
    time.sleep(10)


def leave(status, **_):
    os._exit(status)


def eat(**_):
    """As a decoder that never stops: a megabyte at a time, touched."""
    libc = ctypes.CDLL(None)
    libc.prctl(15, b"\xff\xfe)\n(", 0, 0, 0)  # PR_SET_NAME: what the parent reads of it in /proc is no text
    kept = []
    while True:
        kept.append(np.ones(1 << 17))
        time.sleep(0.0005)


def leap(**_):
    return {"size": len(bytearray(1 << 40))}


def eat_elsewhere(**_):
    subprocess.run([sys.executable, "-I", "-S", "-c", "x=[]\nwhile True: x.append(bytearray(1<<20))"], check=False)
    time.sleep(10)


def write_files(**_):
    for number in range(1000):
        Path(f"part-{number}").write_bytes(bytes(1 << 20))
        time.sleep(0.001)
    time.sleep(10)


def fork_many(**_):
    for _number in range(100):
        if os.fork() == 0:
            time.sleep(1000)
    time.sleep(10)


def refuse(code, message, **_):
    raise RowError(Code(code), message, detail="why\n\x1b[2J")


def fail(**_):
    raise KeyError("a bug")


def surrogate(**_):
    return {"text": "\ud800"}


def read(file, **_):
    data = Path(file).read_bytes()
    return {"data": data, "file": file, "kept": sorted(path.name for path in Path.cwd().iterdir())}


def start_program(**_):
    return {"pid": subprocess.Popen(["sleep", "1000"]).pid, "own": os.getpid(), "scratch": str(Path.cwd())}


def talk(size, **_):
    sys.stderr.write("x" * size + "last words")
    sys.stderr.flush()
    os._exit(3)


def say(data, **_):
    """Writes bytes past the protocol, as a taken-over child would, and ends."""
    sandbox_child._line.channel.sendall(data)
    os._exit(0)


def flood(**_):
    while True:
        sandbox_child._line.send("progress", None)


def dribble(**_):
    """A frame that promises much and comes byte by byte."""
    sandbox_child._line.channel.sendall(b"MNT1" + (1 << 20).to_bytes(4, "little") + b"\0\0")
    while True:
        sandbox_child._line.channel.sendall(b"x")
        time.sleep(0.001)


def speak(kind, payload, **_):
    sandbox_child._line.send(kind, payload)
    time.sleep(10)


def attempt(what, **arguments):
    """Tries to get out; gives what came of it, as ("ok", result) or ("refused", the exception's type and number)."""
    try:
        return {"ok": str(ATTEMPTS[what](arguments))}
    except OSError as error:
        return {"refused": type(error).__name__}


ATTEMPTS = {
    "tcp": lambda _: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "tcp6": lambda _: socket.socket(socket.AF_INET6, socket.SOCK_STREAM),
    "udp": lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix": lambda _: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "list": lambda given: [*Path(given["place"]).iterdir()],
    "read": lambda given: Path(given["place"]).read_text(),
    "write": lambda given: Path(given["place"]).write_text("was here"),
    "environment": lambda _: dict(os.environ),
    "signal": lambda given: os.kill(given["pid"], 0),
    "leave group": lambda _: os.setpgid(0, 0),
    "leave session": lambda _: os.setsid(),
    "interfaces": lambda _: Path("/proc/self/net/dev").read_text(),
    "thread in the cage": lambda given: _in_thread(lambda: Path(given["place"]).read_text()),
    "program in the cage": lambda given: _program(["cat", given["place"]]),
    "pdfinfo": lambda given: _program(["pdfinfo", given["file"]]),
    "pdftoppm": lambda given: _program(["pdftoppm", "-r", "20", given["file"]])[:2],
    "tesseract": lambda given: _program(["tesseract", given["file"], "-"]),
    "write scratch": lambda _: (Path("x").write_text("x"), Path("x").rename("y"), Path("y").unlink()),
}


def _in_thread(work):
    result = []

    def run():
        try:
            result.append(work())
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def _program(argv):
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr)
    return done.stdout
