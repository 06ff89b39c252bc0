"""What the tests of stages share: an S3 server, emptied for each test."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.stages.s3_server import BUCKET, Faults, serving


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[Faults]:
    with serving() as faults:
        yield faults


@pytest.fixture
def s3(_s3_server: Faults) -> Iterator[Faults]:
    """The faults of a server whose bucket ``corpus`` is empty; none until the test sets some."""
    from stages.storage_s3 import file_system

    faults = _s3_server
    faults.refuses = faults.loses = faults.slow = 0.0
    faults.rng = random.Random(0)
    for path in file_system().find(BUCKET):
        file_system().call_s3("delete_object", Bucket=BUCKET, Key=path.removeprefix(f"{BUCKET}/"))
    yield faults
    faults.refuses = faults.loses = faults.slow = 0.0
