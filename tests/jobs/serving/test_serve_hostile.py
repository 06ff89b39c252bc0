"""What strangers send: refused as documented, never a 500, nothing of it left behind.

``MANTA_TEST_EXAMPLES=2000`` tries that many mutations; ``MANTA_TEST_PDFS=FOLDER`` sends every file of a folder.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jobs.serving.refusals import REQUEST_CODES, STATUSES
from jobs.serving.scratch import PREFIX
from stages.base import OpenStages
from stages.columns import COLUMNS
from stages.errors import Code
from stages.plan import Plan
from stages.read import Read
from stages.settings import Limits, Render, Settings
from tests import corpus
from tests.jobs.serving.test_serve_faults import processes

EXAMPLES = int(os.environ.get("MANTA_TEST_EXAMPLES", "25"))
ROWS = "/v1/bert/text-classification"
PAGES = "/v1/layoutlm/document-classification"
GOOD = {"rows": [{"text": "a fine day"}]}
SETTINGS = Settings(render=Render(dpi=100), limits=Limits(file_mb=3, pages=5))


def refused(answer: requests.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["request_id"] == answer.headers["X-Request-ID"]


def test_without_its_key_nothing_is_told(endpoint):
    for header in (
        {"Authorization": ""},
        {"Authorization": "Bearer wrong" + 30 * "x"},
        {"Authorization": endpoint.key},
    ):
        refused(endpoint.post(ROWS, json=GOOD, headers=header), 401, "unauthorized")
        refused(endpoint.get("/v1/models", headers=header), 401, "unauthorized")
        assert endpoint.get("/healthz", headers=header).status_code == 200
    assert "Bearer" in endpoint.post(ROWS, json=GOOD, headers={"Authorization": ""}).headers["WWW-Authenticate"]
    other = "bob-" + 30 * "b"
    assert endpoint.post(ROWS, json=GOOD, headers={"Authorization": f"Bearer {other}"}).status_code == 200


@pytest.mark.parametrize("query", ["?api_key=x", "?token=x", "?Key=", "?anything={key}", "?a=b&access_token=x"])
def test_a_key_in_the_url_is_refused_though_it_be_right(endpoint, query):
    refused(endpoint.post(ROWS + query.format(key=endpoint.key), json=GOOD), 400, "key_in_url")


def test_headers_have_a_limit(endpoint):
    assert endpoint.post(ROWS, json=GOOD, headers={"X-Long": "a" * 8_000}).status_code == 200
    refused(endpoint.post(ROWS, json=GOOD, headers={"X-Long": "a" * 20_000}), 431, "headers_too_large")
    refused(endpoint.post(f"{ROWS}?model={'a' * 20_000}", json=GOOD), 431, "headers_too_large")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_300_mb_is_refused_while_it_comes(endpoint, chunked):
    """Content-Length tells it at once; in chunks it is refused where the limit is passed."""
    url, block = urlsplit(endpoint.url), 1 << 20
    how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {300 * block}"
    sent, answer, started = 0, b"", time.monotonic()
    with socket.create_connection((url.hostname, url.port), timeout=30) as channel:
        channel.sendall(
            f"POST {ROWS} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {endpoint.key}\r\n"
            f"Content-Type: application/json\r\n{how}\r\n\r\n".encode()
        )
        channel.setblocking(False)
        data = (f"{block:x}\r\n".encode() if chunked else b"") + b"[" * block + (b"\r\n" if chunked else b"")
        left = memoryview(data)
        while sent < 300 * block and b"\r\n\r\n" not in answer and time.monotonic() - started < 60:
            try:
                answer += channel.recv(65536)
            except BlockingIOError:
                pass
            except ConnectionResetError:
                break
            try:
                left = left[channel.send(left) :] or memoryview(data)
                sent += block
            except BlockingIOError:
                time.sleep(0.001)
            except (BrokenPipeError, ConnectionResetError):
                break
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert endpoint.post(ROWS, json=GOOD).status_code == 200


def test_nothing_is_unpacked(endpoint):
    bomb = gzip.compress(b"[" * 50_000_000)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    refused(endpoint.post(ROWS, data=bomb, headers=headers), 415, "unsupported_type")
    picture = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(picture, "PNG")
    answer = endpoint.post(PAGES, files={"file": ("bomb.png", picture.getvalue())})
    assert answer.status_code in (413, 422), answer.text
    assert answer.json()["error"]["code"] in ("page_too_large", "out_of_memory", "decode_failed", "corrupt")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\b.pdf", "..", "a\x7f.pdf"])
def test_a_file_is_called_by_a_plain_name(endpoint, name):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode().replace(b"\\", b"\\\\")
        + b'"\r\n\r\n%PDF-1.7\r\n--x--\r\n'
    )  # fmt: skip
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    refused(endpoint.post(PAGES, data=body, headers=headers), 400, "bad_request")


def test_an_image_is_never_taken_by_its_path(endpoint, tmp_path):
    """A file that the server could read: its words must not come back."""
    scan = corpus.scan(tmp_path / "secret.png")
    path = "/v1/layoutlmv2/document-classification"
    for value in (str(scan), base64.b64encode(str(scan).encode()).decode(), f"file://{scan}"):
        answer = endpoint.post(path, json={"rows": [{"image": value}]})
        refused(answer, 422, "encode_failed")
    good = endpoint.post(path, json={"rows": [{"image": base64.b64encode(scan.read_bytes()).decode()}]})
    assert good.status_code == 200, good.text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_request"),
        (b"9" * 10_000, 400, "bad_request"),
        (b"\xff\xfe", 400, "bad_request"),
        (b'{"rows": []}', 400, "bad_request"),
        (b'{"rows": [1]}', 422, "decode_failed"),
        (b'{"rows": [{}]}', 422, "encode_failed"),
        (b'{"rows": [{"text": null}]}', 422, "encode_failed"),
        (b'{"rows": [{"text": ["a"]}]}', 422, "encode_failed"),
        (b'{"rows": [{"text": "\\ud800"}]}', 422, "encode_failed"),
        (b'{"rows": [{"text": NaN}]}', 422, "encode_failed"),
        (json.dumps({"rows": 41 * [{"text": "a"}]}).encode(), 413, "too_large"),
    ],
)
def test_bodies_that_are_no_rows(endpoint, body, status, code):
    refused(endpoint.post(ROWS, data=body, headers={"Content-Type": "application/json"}), status, code)


def test_a_bad_row_costs_no_other(endpoint):
    answer = endpoint.post(ROWS, json={"rows": [{"text": "good"}, {"text": 1}, {"text": "fine"}, {}]}).json()
    assert [row["record"] for row in answer["rows"]] == [0, 2]
    assert [(row["record"], row["code"]) for row in answer["errors"]] == [(1, "encode_failed"), (3, "encode_failed")]


def test_paths_that_lead_nowhere(endpoint):
    for path in ("/v1/bert/no-task", "/v1/nothing/x", "/nothing", "/v1/bert/../x", f"{ROWS}?model=other"):
        refused(endpoint.post(path, json=GOOD), 404, "no_such_thing")
    assert endpoint.get(ROWS).status_code == 405
    refused(endpoint.post(ROWS, data="x", headers={"Content-Type": "text/plain"}), 415, "unsupported_type")


# ---- documents


def test_a_document_has_a_limit_of_pages_and_bytes(endpoint, tmp_path):
    refused(endpoint.send(PAGES, corpus.pdf(tmp_path / "six.pdf", 6)), 413, "too_large")
    large = tmp_path / "large.pdf"
    large.write_bytes(b"%PDF-1.7" + bytes(2_999_900))  # the form around it makes more than 3 MB
    refused(endpoint.send(PAGES, large), 413, "too_large")


def test_forms_that_are_none(endpoint, tmp_path):
    path = corpus.pdf(tmp_path / "a.pdf")
    refused(endpoint.post(PAGES, files={"a": ("a", b"x"), "b": ("b", b"y")}), 400, "bad_request")
    refused(endpoint.post(PAGES, files={"text": (None, b"x")}), 400, "bad_request")
    refused(endpoint.send(PAGES, path, colour="red"), 400, "bad_request")
    refused(endpoint.send("/v1/bert/multiple-choice", path), 422, "encode_failed")
    refused(endpoint.send("/v1/bert/multiple-choice", path, choices="no list"), 400, "bad_request")
    refused(endpoint.send("/v1/bert/multiple-choice", path, choices="[1, 2]"), 422, "encode_failed")
    assert endpoint.send("/v1/bert/multiple-choice", path, choices='["yes", "no"]').status_code == 200
    headers = {"Content-Type": "multipart/form-data"}
    refused(endpoint.post(PAGES, data=b"x", headers=headers), 400, "bad_request")


_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "double", "zero"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for kind, place, some in edits:
        at = int(place * len(data))
        match kind:
            case "flip":
                data = (
                    data[:at]
                    + bytes(a ^ b for a, b in zip(data[at : at + len(some)], some, strict=False))
                    + data[at + len(some) :]
                )
            case "cut":
                data = data[:at]
            case "insert":
                data = data[:at] + some + data[at:]
            case "double":
                data += data[at : at + 1000 * len(some)]
            case "zero":
                data = data[:at] + bytes(len(some)) + data[at + len(some) :]
    return data


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("originals")
    paths = [corpus.pdf(folder / "a.pdf", 2), corpus.scan(folder / "b.png"), corpus.encrypted(folder / "c.pdf")]
    picture = Image.open(paths[1])
    picture.save(folder / "d.tiff", save_all=True, append_images=[picture])
    picture.convert("L").save(folder / "e.jpg")
    return [path.read_bytes() for path in (*paths, folder / "d.tiff", folder / "e.jpg")]


@pytest.fixture(scope="module")
def in_batch(tmp_path_factory) -> Iterator[Callable[[bytes], set[str]]]:
    """``in_batch(data)``: the codes that a run would write for a file."""
    path = tmp_path_factory.mktemp("batch") / "file"
    stages = OpenStages([Plan(settings=SETTINGS), Read(settings=SETTINGS)], last_try=True)

    def codes(data: bytes) -> set[str]:
        path.write_bytes(data)
        values = {"uri": str(path), "source": "1", "size": len(data), "kind": None, "done": None}
        table = pa.table({name: pa.array([value], COLUMNS[name].type) for name, value in values.items()})
        rows = [row for part in stages(table) for row in part.to_pylist()]
        return {row["failure"]["code"] for row in rows if row["failure"]}

    yield codes
    stages.close()


def agree(answer: requests.Response, wanted: set[str]) -> None:
    """Whether an answer tells the codes of batch; a page that was read may still be refused by the model."""
    told = codes_of(answer)
    if answer.status_code == 200:
        assert wanted == told - ({"encode_failed"} - wanted), (wanted, told)
    else:
        assert told <= (wanted or {"encode_failed"}), (wanted, told)


def codes_of(answer: requests.Response) -> set[str]:
    """The codes of an answer, which must be one that is documented."""
    assert answer.status_code != 500, answer.text
    told = answer.json()
    if answer.status_code == 200:
        assert told["rows"]
        return {row["code"] for row in told["errors"]}
    code = told["error"]["code"]
    assert answer.status_code == (STATUSES[Code(code)] if code in set(Code) else REQUEST_CODES[code][0])
    return {code}


def test_no_mutation_is_a_500_and_codes_are_those_of_batch(endpoint, originals, in_batch):
    statuses: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(st.sampled_from(originals), _EDITS)
    def check(original: bytes, edits: list[tuple[str, float, bytes]]) -> None:
        data = mutated(original, edits)
        answer = endpoint.post(PAGES, files={"file": ("some.pdf", data)})
        statuses[answer.status_code] += 1
        agree(answer, in_batch(data))

    check()
    print(dict(statuses))
    assert len(statuses) > 1, "mutations that all end alike prove nothing"
    assert endpoint.post(ROWS, json=GOOD).status_code == 200


def test_documents_end_as_in_batch(endpoint, in_batch, tmp_path):
    folder = os.environ.get("MANTA_TEST_PDFS") or corpus.corpus(tmp_path)
    ends: Counter[str] = Counter()
    for path in sorted(Path(folder).iterdir()):
        answer = endpoint.send(PAGES, path)
        agree(answer, in_batch(path.read_bytes()))
        ends[f"{answer.status_code} {' '.join(sorted(codes_of(answer)))}"] += 1
    print(dict(ends))
    assert len(ends) > 1


def test_nothing_is_left_behind(endpoint, tmp_path):
    """After all of that: no file of a request lies where the process that reads them keeps them."""
    endpoint.send(PAGES, corpus.scan(tmp_path / "scan.png"))
    [reader] = processes("ray::ServeReplica:manta:documents")
    held = [link.readlink() for link in Path(f"/proc/{reader.pid}/fd").iterdir() if link.exists()]
    [folder] = [path for path in held if path.name.startswith(PREFIX)]
    assert list(folder.iterdir()) == []
