"""--push-to-hub against a small stand-in for the Hub: what is sent, with which token, and what is refused before."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jobs.tracking_hub import check_hub, push
from pipelines.checkpoint import content_files
from stages.errors import MantaError, UsageError

TinyFolder = Callable[[str, str], Path]
TOKEN = "hf_secret"


class Hub(ThreadingHTTPServer):
    """Keeps what is committed. Speaks those few calls that an upload makes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Calls)
        self.tokens: set[str | None] = set()
        self.private: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.full = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Calls(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        hub, given = self.server, self.headers.get("Authorization")
        hub.tokens.add(given)
        status, value = (401, {"error": "who are you?"}) if given != f"Bearer {TOKEN}" else self._called(body)
        told = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def _called(self, body: bytes) -> tuple[int, object]:
        hub, path = self.server, self.path
        if path == "/api/whoami-v2":
            return 200, {"name": "me", "type": "user"}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            hub.private[name] = asked.get("visibility", "") == "private" or asked.get("private", False)
            return 200, {"url": f"{hub.url}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/models/me/reader/preupload/main":
            files = [each["path"] for each in json.loads(body)["files"]]
            return 200, {"files": [{"path": each, "uploadMode": "regular", "shouldIgnore": False} for each in files]}
        if path == "/api/models/me/reader/commit/main":
            if hub.full:
                return 507, {"error": "no room"}
            for line in body.splitlines():
                one = json.loads(line)
                if one["key"] == "file":
                    hub.files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
            return 200, {"commitUrl": f"{hub.url}/me/reader/commit/1", "commitOid": "1" * 40, "success": True}
        return 404, {"error": path}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tiny: TinyFolder, tmp_path: Path) -> Path:
    place = Path(shutil.copytree(tiny("bert", "text-classification"), tmp_path / "model"))
    (place / "README.md").write_text("---\nlicense: mit\n---\n# reader\n")
    (place / "optimizer.pt").write_bytes(b"not part of the checkpoint")
    return place


def test_the_checkpoint_and_its_card_are_pushed_into_a_private_repository(hub: Hub, folder: Path) -> None:
    check_hub("me/reader")
    assert push(str(folder), "me/reader") == f"{hub.url}/me/reader/commit/1"
    assert hub.private == {"me/reader": True}
    assert hub.tokens == {f"Bearer {TOKEN}"}
    wanted = {path.name: path.read_bytes() for path in content_files(folder)}
    assert hub.files == {**wanted, "README.md": (folder / "README.md").read_bytes()}
    assert "model.safetensors" in hub.files


def test_what_cannot_be_pushed_is_told_before_anything_starts(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    with pytest.raises(UsageError, match="is no repository: say OWNER/NAME"):
        check_hub("reader")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UsageError, match="refuses the token of HF_TOKEN") as told:
        check_hub("me/reader")
    assert "hf_wrong" not in str(told.value)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match=r"http://127.0.0.1:9 cannot be reached"):
        check_hub("me/reader")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match="set HF_TOKEN to an access token"):
        check_hub("me/reader")


def test_offline_is_said_plainly(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE forbids it"):
        check_hub("me/reader")


def test_a_push_that_fails_leaves_the_model_and_says_where(hub: Hub, folder: Path) -> None:
    hub.full = True
    with pytest.raises(MantaError, match=rf"is trained, in {folder}, but not pushed to me/reader: .*507"):
        push(str(folder), "me/reader")
