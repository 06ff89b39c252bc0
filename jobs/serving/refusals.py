"""What HTTP answers where there are no rows: statuses, codes, and the JSON of an error.

    {"error": {"code": "too_large", "message": "…", "stage": "plan", "request_id": "…"}}

Codes of rows are those of the error table (stages/errors.py); those of requests are in ``REQUEST_CODES``.
"""

from __future__ import annotations

from stages.errors import Code, Failure

STATUSES: dict[Code, int] = {
    Code.NOT_FOUND: 422,
    Code.PERMISSION: 422,
    Code.TOO_LARGE: 413,
    Code.UNSUPPORTED_TYPE: 415,
    Code.CORRUPT: 422,
    Code.PASSWORD_REQUIRED: 422,
    Code.EMPTY: 422,
    Code.PAGE_TOO_LARGE: 413,
    Code.RENDER_TIMEOUT: 408,
    Code.OCR_TIMEOUT: 408,
    Code.CRASH: 422,
    Code.DECODE_FAILED: 422,
    Code.ENCODE_FAILED: 422,
    Code.OUT_OF_MEMORY: 413,
    Code.INTERNAL: 500,
}
"""The status of a request all of whose rows failed, by the first one's code."""

REQUEST_CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "the request cannot be understood: see the message and /docs"),
    "key_in_url": (400, "a key stands in the URL, where logs keep it: make a new one, and send it as a header"),
    "unauthorized": (401, "send a key as Authorization: Bearer KEY"),
    "no_such_thing": (404, "no such model or path: see /v1/models and /docs"),
    "timeout": (408, "it took longer than serve.timeout_s: send less at once"),
    "too_large": (413, "more than serve.body_mb, serve.pages or serve.rows: send less at once"),
    "unsupported_type": (415, "send JSON or a multipart form, not compressed"),
    "busy": (429, "more requests at once than serve.queue: try again after Retry-After"),
    "headers_too_large": (431, "the request's headers are longer than any of ours"),
    "internal": (500, "a bug: the log has the request id"),
    "unavailable": (503, "stopping, or a process has died twice on this request: try again after Retry-After"),
}
"""Codes of requests that are refused as a whole: status and remedy."""


class Refused(Exception):  # noqa: N818 - it is an answer
    """A request that is answered with an error."""

    def __init__(
        self, code: str, message: str, *, status: int = 0, stage: str = "", retry_after: float | None = None
    ) -> None:
        """``status`` 0 takes the code's own; ``retry_after`` is in seconds."""
        super().__init__(message)
        self.code, self.message, self.stage = code, message, stage
        self.status = status or REQUEST_CODES[code][0]
        self.retry_after = retry_after

    def body(self, request_id: str, path: str = "") -> dict[str, object]:
        """The answer's JSON; paths of Open Inference Protocol v2 have a text for an error."""
        if path.startswith("/v2"):
            return {"error": f"{self.code}: {self.message}"}
        stage = {"stage": self.stage} if self.stage else {}
        return {"error": {"code": self.code, "message": self.message, **stage, "request_id": request_id}}

    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        found = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def refused(failure: Failure) -> Refused:
    """The answer to a request of which nothing but this came out."""
    status = STATUSES[failure.code]
    return Refused(str(failure.code), failure.message, status=status, stage=failure.stage)
