"""The exception tree and the error codes.

    MantaError                    exit 1   anything that is reported to a person in one line
    ├── UsageError                exit 2   the command, the configuration or the plan is wrong; nothing was started
    │   ├── PlanError                      a stage needs a column that nothing before it makes
    │   ├── CheckpointError                a checkpoint cannot be had, or is of another architecture
    │   └── OutputBusyError                another run holds the output
    ├── ErrorRateError            exit 4   so many pages fail that the machine must be at fault
    ├── StoppedError              exit 5   a signal ended the run; what was finished is committed
    └── AccountingError           exit 1   a document is neither in the results nor in the error table: a bug

    RowError                               one page or record cannot be done; becomes an error row, never ends a run

Exit code 0 is a run without error rows, 3 a run that finished with some. Every message is one line that names
the thing and the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Why a page or record is in the error table. The words are part of the output contract."""

    NOT_FOUND = "not_found"
    PERMISSION = "permission"
    TOO_LARGE = "too_large"
    UNSUPPORTED_TYPE = "unsupported_type"
    CORRUPT = "corrupt"
    PASSWORD_REQUIRED = "password_required"  # noqa: S105
    EMPTY = "empty"
    PAGE_TOO_LARGE = "page_too_large"
    RENDER_TIMEOUT = "render_timeout"
    OCR_TIMEOUT = "ocr_timeout"
    CRASH = "crash"
    DECODE_FAILED = "decode_failed"
    ENCODE_FAILED = "encode_failed"
    OUT_OF_MEMORY = "out_of_memory"
    INTERNAL = "internal"


def first_line(error: BaseException, most: int | None = None) -> str:
    """The first line of an error, for a one-line message, at ``most`` so many characters; its type where it says
    nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]


#: Codes that speak against the machine rather than the document; only these count towards ``--max-error-rate``.
MACHINE_CODES = frozenset(
    {Code.RENDER_TIMEOUT, Code.OCR_TIMEOUT, Code.CRASH, Code.OUT_OF_MEMORY, Code.INTERNAL},
)

#: Codes whose cause may go away while the file stays as it is; a schedule tries them again.
RETRYABLE_CODES = MACHINE_CODES | {Code.NOT_FOUND, Code.PERMISSION}

#: What a person can do about a code; printed by ``manta errors`` and in the report.
REMEDIES: dict[Code, str] = {
    Code.NOT_FOUND: "the file was listed but is gone: run again, or take it out of the input",
    Code.PERMISSION: "give the account that runs Manta read access to the file",
    Code.TOO_LARGE: "raise limits.file_mb, limits.pages or limits.seconds, or split the file",
    Code.UNSUPPORTED_TYPE: "not a type that this task reads: convert it (documents to PDF or PNG), or leave it out",
    Code.CORRUPT: "no reader opens the file: get a fresh copy from its source",
    Code.PASSWORD_REQUIRED: "remove the password (for example: qpdf --decrypt) and run again",
    Code.EMPTY: "the file has no bytes or no pages",
    Code.PAGE_TOO_LARGE: "the page has more pixels than render.max_pixels: lower render.dpi or raise the limit",
    Code.RENDER_TIMEOUT: "raise render.timeout_s, or try the other render.engine",
    Code.OCR_TIMEOUT: "raise ocr.timeout_s, or lower render.dpi",
    Code.CRASH: "the native reader died on this page: try the other engine, and report the file",
    Code.DECODE_FAILED: "the bytes are not what their type says: get a fresh copy",
    Code.ENCODE_FAILED: "the row lacks what the task needs, or holds it in another form: see the detail column",
    Code.OUT_OF_MEMORY: "lower predict.token_budget or render.dpi, or give the worker more memory",
    Code.INTERNAL: "a bug or a bad machine: see the detail column, and report it",
}


class MantaError(Exception):
    """Anything that a person is told in one line."""

    exit_code = 1


class UsageError(MantaError):
    """The command or configuration is wrong; nothing was started."""

    exit_code = 2


class PlanError(UsageError):
    """A stage needs a column that the table lacks and no stage before it makes."""


class CheckpointError(UsageError):
    """A checkpoint cannot be had, or is of another architecture."""


class OutputBusyError(UsageError):
    """Another run holds the output."""


class ErrorRateError(MantaError):
    """Too many pages fail for reasons that lie with the machine."""

    exit_code = 4


class StoppedError(MantaError):
    """A signal ended the run; everything finished is committed."""

    exit_code = 5


class AccountingError(MantaError):
    """A planned document or page is neither done nor in the error table."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why one row failed; travels in the row's ``failure`` column until ``write`` puts it into the error table."""

    stage: str
    """Name of the stage that failed."""
    code: Code
    """Category; see REMEDIES for what a person can do."""
    message: str
    """One line for a person."""
    detail: str = ""
    """What a developer needs (engine, exception, limits); may be long, never holds document bytes or keys."""
    attempts: int = 1
    """How often the row was tried in all."""


class RowError(Exception):
    """One page or record cannot be done. A stage raises it; the frame turns it into the row's ``Failure``."""

    def __init__(self, code: Code, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    def failure(self, stage: str) -> Failure:
        """This error as the row's failure, raised in ``stage``."""
        return Failure(stage=stage, code=self.code, message=self.message, detail=self.detail)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_row_error, (self.code, self.message, self.detail))


def _rebuild_row_error(code: Code, message: str, detail: str) -> RowError:
    return RowError(code, message, detail=detail)
