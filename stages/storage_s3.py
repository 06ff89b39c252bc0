"""The S3 storage: one request an operation, through s3fs. Conditional writes use If-None-Match and If-Match.

Transient answers (500, 503, throttling, time-outs) are tried again by botocore's standard mode: nine attempts, waits
that double up to 20 s, then the error. Credentials, region and endpoint come from the usual AWS environment.
"""

from __future__ import annotations

import errno
import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stages.errors import MantaError, UsageError
from stages.storage import Entry, Storage

if TYPE_CHECKING:
    from s3fs import S3FileSystem

WHOLE = 8 * 2**20
"""Objects up to this many bytes are read with one request, whichever columns are wanted."""
_CONFIG = {"retries": {"mode": "standard", "max_attempts": 9}, "connect_timeout": 10, "read_timeout": 60}
_CONDITION_FAILED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


@cache
def file_system() -> S3FileSystem:
    """The process's S3 client. Raises UsageError where the extra is not installed."""
    if importlib.util.find_spec("s3fs") is None:
        raise UsageError("s3:// needs the extra: pip install 'manta[s3]'")
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False, config_kwargs=_CONFIG, skip_instance_cache=True)


@contextmanager
def told(bucket: str) -> Iterator[None]:
    """What a person must mend comes out as one line."""
    from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise UsageError(
            f"no credentials for s3://{bucket}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from error
    except BotoCoreError as error:
        reason = " ".join(str(error).split())
        raise MantaError(f"s3://{bucket} cannot be reached: {reason} (see AWS_ENDPOINT_URL, AWS_REGION)") from error


def head(bucket: str, key: str) -> tuple[str, int]:
    """(etag, bytes) of an object. Raises FileNotFoundError, PermissionError."""
    found = _call("head_object", bucket, Key=key)
    return str(found["ETag"]).strip('"'), int(found["ContentLength"])


def _call(method: str, bucket: str, **arguments: object) -> dict[str, Any]:
    """One request about a bucket. Any (boto answers). Errors are s3fs's: kinds of OSError."""
    with told(bucket):
        answer: dict[str, Any] = file_system().call_s3(method, Bucket=bucket, **arguments)
        return answer


def split(uri: str) -> tuple[str, str]:
    """(bucket, key) of an s3:// uri."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise UsageError(f"{uri} names no bucket: write s3://BUCKET/PREFIX")
    return bucket, key


def pages_of(bucket: str, prefix: str, delimiter: str = "") -> Iterator[list[dict[str, Any]]]:
    """The listing below a prefix, a thousand objects at a time, in S3's order. Any (boto answers)."""
    more: dict[str, str] = {}
    while True:
        answer = _call("list_objects_v2", bucket, Prefix=prefix, Delimiter=delimiter, **more)
        yield answer.get("Contents", [])
        if not answer.get("IsTruncated"):
            return
        more = {"ContinuationToken": answer["NextContinuationToken"]}


class S3Storage(Storage):
    """Objects below a prefix of a bucket."""

    parallel = 16

    def __init__(self, uri: str) -> None:
        self._bucket, key = split(uri)
        self._prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
        self.uri = f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def list(self, prefix: str) -> Iterator[Entry]:
        """See Storage."""
        start = len(self._prefix)
        try:
            for page in pages_of(self._bucket, f"{self._prefix}{prefix}", "/"):
                for one in page:
                    name = one["Key"][start:]
                    if not name.endswith("/") and not name.rsplit("/", 1)[-1].startswith("."):
                        yield Entry(name=name, size=one["Size"], version=one["ETag"].strip('"'))
        except FileNotFoundError as error:
            raise UsageError(f"there is no bucket {self._bucket}: create it, or choose another --output") from error
        except PermissionError as error:
            raise MantaError(f"cannot list {self.uri}: give the account s3:ListBucket there") from error

    def read(self, name: str) -> bytes:
        """See Storage."""
        with told(self._bucket):
            data: bytes = file_system().cat_file(self._path(name))
            return data

    def put(self, name: str, data: bytes) -> str:
        """See Storage."""
        version = self._write(name, data)
        assert version is not None
        return version

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """See Storage."""
        if self._write(name, data, IfNoneMatch="*") is not None:
            return True
        # Refused: taken, or our own first attempt got through and only its answer was lost.
        try:
            return self.read(name) == data
        except FileNotFoundError:
            return False

    def replace(self, name: str, data: bytes | None, version: str) -> str | None:
        """See Storage. Bytes that are there already count as replaced: the answer to our own write was lost."""
        try:
            if data is not None:
                written = self._write(name, data, IfMatch=f'"{version}"')
                return self._etag(name) if written is None and self.read(name) == data else written
            if self._etag(name) != version:
                return None
        except FileNotFoundError:
            return None
        self.delete(name)
        return ""

    def delete(self, name: str) -> None:
        """See Storage."""
        _call("delete_object", self._bucket, Key=self._prefix + name)

    def open_input(self, name: str, size: int | None = None) -> AbstractContextManager[pa.NativeFile]:
        """See Storage."""
        if size is not None and size <= WHOLE:
            small: AbstractContextManager[pa.NativeFile] = pa.BufferReader(self.read(name))
            return small
        opened: AbstractContextManager[pa.NativeFile] = pa.PythonFile(file_system().open(self._path(name), "rb"))
        return opened

    def _etag(self, name: str) -> str:
        return head(self._bucket, self._prefix + name)[0]

    def _path(self, name: str) -> str:
        return f"{self._bucket}/{self._prefix}{name}"

    def _write(self, name: str, data: bytes, **condition: str) -> str | None:
        """One PUT; its version, or None where its condition does not hold."""
        key = self._prefix + name
        try:
            answer = _call("put_object", self._bucket, Key=key, Body=data, **condition)
        except PermissionError as error:
            raise MantaError(f"cannot write s3://{self._path(name)}: give the account s3:PutObject there") from error
        except OSError as error:
            if condition and _refused(error):
                return None
            if isinstance(error, FileNotFoundError) and "IfMatch" not in condition:
                raise UsageError(f"there is no bucket {self._bucket}: create it, or choose another --output") from error
            raise
        return str(answer["ETag"]).strip('"')


def _refused(error: OSError) -> bool:
    """Whether a conditional write was refused rather than failed."""
    if isinstance(error, FileExistsError):
        return True
    answer = getattr(error.__cause__, "response", None) or {}
    code = answer.get("Error", {}).get("Code", "")
    return code in _CONDITION_FAILED or (isinstance(error, FileNotFoundError)) or error.errno == errno.EEXIST
