"""A real S3 server over HTTP (moto), that can answer 500, lose its answers and be slow."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

BUCKET = "corpus"
_ERROR = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>injected</Message></Error>'


@dataclass
class Faults:
    """What goes wrong, drawn from the seed."""

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    refuses: float = 0.0
    """Share of requests answered 500 without having been done."""
    loses: float = 0.0
    """Share of requests done, and answered 500."""
    slow: float = 0.0
    """Share of requests answered late."""
    delay_s: float = 0.05
    injected: int = 0
    requests: int = 0

    def wrap(self, app):
        def faulty(environ, start_response):
            self.requests += 1
            if environ["PATH_INFO"].startswith("/moto-api"):
                return app(environ, start_response)
            draw = self.rng.random()
            if draw < self.slow:
                time.sleep(self.delay_s)
            elif draw < self.slow + self.refuses + self.loses:
                self.injected += 1
                if draw < self.slow + self.loses:
                    b"".join(app(environ, lambda *_: None))
                else:
                    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
                return [_ERROR]
            return app(environ, start_response)

        return faulty


@contextmanager
def serving() -> Iterator[Faults]:
    """The server with an empty bucket, in the environment of this process and its children."""
    from botocore.retries import standard
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    from stages.storage_s3 import file_system

    faults = Faults()
    server = make_server("127.0.0.1", 0, faults.wrap(DomainDispatcherApplication(create_backend_app)), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    quick = mock.patch.object(standard.ExponentialBackoff, "delay_amount", return_value=0.01)
    with mock.patch.dict(os.environ, environment), quick:
        file_system.cache_clear()
        file_system().call_s3("create_bucket", Bucket=BUCKET)
        yield faults
        file_system.cache_clear()
    server.shutdown()
    thread.join()
    server.server_close()
