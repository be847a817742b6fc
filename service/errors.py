"""Every error of the service, sorted by what the caller does next.

    DxrIngestError
    ├── ConfigurationError      change a setting, then start again            exit 3
    ├── CredentialError         renew or correct the credential that is named exit 4
    ├── UpstreamError           wait, then try again: DXR or Databricks did not deliver   exit 5
    ├── LandingError            make room or grant the right, then try again  exit 1 (4 when permission is missing)
    ├── RefusedError            look at the request or the data; a repeat would end the same way   exit 1
    ├── AlreadyActiveError      wait for the active run, or cancel it         exit 7
    ├── BusyError               the service has enough to do: wait, then try again   exit 5
    ├── NotFoundError           the name is wrong                             exit 1
    ├── StoreError              the run store is away: wait, then try again   exit 5
    └── LeaseLostError          drop the run without a word: another process carries it out

Each error is one sentence about what happened, one about what to do (`hint`), a stable `code`, and whether a retry of
the whole run can help. None carries a token or the content of a file.
"""

from __future__ import annotations

from dataclasses import dataclass


class DxrIngestError(Exception):
    """The root: `code` is stable, `message` says what and where, `hint` says what to do next."""

    retryable = False

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class ConfigurationError(DxrIngestError):
    """A setting is missing or wrong."""

    def __init__(self, message: str, hint: str = "", code: str = "CONFIGURATION") -> None:
        super().__init__(code, message, hint)


class CredentialError(DxrIngestError):
    """A credential was refused: by DXR (`DXR_UNAUTHORIZED`), by Databricks or by the service (`UNAUTHORIZED`)."""


class UpstreamError(DxrIngestError):
    """DXR or Databricks did not deliver a whole answer; the attempt is thrown away and another one may succeed."""

    retryable = True

    def __init__(self, code: str, message: str, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(code, message, hint)
        self.retry_after_s = retry_after_s


class LandingError(DxrIngestError):
    """The landing could not be written or read; nothing was committed."""

    retryable = True


class RefusedError(DxrIngestError):
    """The request or the data was refused by a rule; the same again would end the same way."""


class AlreadyActiveError(DxrIngestError):
    """The dataset has an active run already; `run_id` names it."""

    retryable = True

    def __init__(self, dataset: str, run_id: str) -> None:
        super().__init__(
            "ALREADY_ACTIVE",
            f"Dataset {dataset} already has an active run, {run_id}.",
            "Wait for its end or cancel it, then trigger again.",
        )
        self.run_id = run_id


class BusyError(DxrIngestError):
    """A bound of the service is reached; later there is room again."""

    retryable = True


class NotFoundError(DxrIngestError):
    """There is nothing of that name."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__("NOT_FOUND", message, hint)


class StoreError(DxrIngestError):
    """The run store did not answer."""

    retryable = True


class LeaseLostError(DxrIngestError):
    """The run is not this process's any more."""

    def __init__(self, run_id: str) -> None:
        super().__init__("LEASE_LOST", f"Run {run_id} is not carried out by this process any more.", "Look at the run.")


# Exit codes are derived from the code alone, so that they are the same in-process and through `--server`.
_EXIT_CODES = {
    "UNPROCESSABLE": 2,
    "CONFIGURATION": 3,
    "DXR_TLS": 3,
    "STORE_IN_USE": 7,
    "DXR_UNAUTHORIZED": 4,
    "DXR_FORBIDDEN": 4,
    "UNAUTHORIZED": 4,
    "FORBIDDEN": 4,
    "LANDING_FORBIDDEN": 4,
    "DXR_SECRET_REFUSED": 4,
    "DATABRICKS_TLS": 3,
    "DATABRICKS_UNAUTHORIZED": 4,
    "DATABRICKS_FORBIDDEN": 4,
    "DATABRICKS_AUTHENTICATION": 5,
    "DATABRICKS_CUT": 5,
    "DATABRICKS_DNS": 5,
    "DATABRICKS_NO_API": 5,
    "DATABRICKS_SIZE": 5,
    "DATABRICKS_THROTTLED": 5,
    "DATABRICKS_TIMEOUT": 5,
    "DATABRICKS_UNAVAILABLE": 5,
    "DATABRICKS_UNREACHABLE": 5,
    "DXR_UNREACHABLE": 5,
    "DXR_DNS": 5,
    "DXR_UNAVAILABLE": 5,
    "DXR_THROTTLED": 5,
    "DXR_TOO_BROAD": 5,
    "DXR_TIMEOUT": 5,
    "DXR_TOKEN_ROTATED": 5,
    "STREAM_CUT": 5,
    "STREAM_STALLED": 5,
    "STREAM_UNPROVEN": 5,
    "NOT_NDJSON": 5,
    "SERVICE_UNAVAILABLE": 5,
    "STORE_UNAVAILABLE": 5,
    "STORE_BUSY": 5,
    "TOO_MANY_STREAMS": 5,
    "TOO_MANY_CONNECTIONS": 5,
    "TOO_MANY_RUNS": 5,
    "INCOMPLETE": 6,
    "ALREADY_ACTIVE": 7,
    "INTERRUPTED": 130,
}


def exit_code(code: str) -> int:
    """The process's exit code for an error code (docs/cli.md); 1 for a run that simply failed."""
    return _EXIT_CODES.get(code, 1)


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """What is kept of an error in a run and shown to people."""

    code: str
    message: str
    hint: str
    retryable: bool

    @classmethod
    def of(cls, error: DxrIngestError) -> ErrorReport:
        """The report of a known error."""
        return cls(error.code, error.message, error.hint, error.retryable)

    @classmethod
    def unexpected(cls, error: BaseException) -> ErrorReport:
        """The report of a bug: its class only, since its text may hold data."""
        return cls(
            "INTERNAL",
            f"The service met a problem it does not know ({type(error).__name__}).",
            "Look for this run id in the service's log, and report it.",
            retryable=True,
        )
