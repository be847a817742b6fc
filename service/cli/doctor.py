"""`dxr-ingest doctor`: one line per thing that must work, with the way out for each that does not."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from service import wiring
from service.clock import SystemClock
from service.dxr.files import FilesStream
from service.errors import ConfigurationError, CredentialError, DxrIngestError, exit_code
from service.observability.metrics import Metrics
from service.runs.completeness import OVERDUE_AFTER
from service.runs.receipts import overdue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.settings import Settings
    from service.wiring import Partners

_CHECK_TIMEOUT_S: Final = 60
_PROBE: Final = b"dxr-ingest doctor\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `code` is the error's, None when all is well."""

    check: str
    told: str
    code: str | None = None
    hint: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For `-o json`."""
        return {"ok": self.code is None, **asdict(self)}


async def examined(load: Callable[[], Settings]) -> list[Finding]:
    """All findings, in the order of the data; without a configuration there is only that one."""
    try:
        settings = load()
    except DxrIngestError as error:
        return [Finding("configuration", error.message, error.code, error.hint)]
    findings = [_configuration(settings)]
    async with wiring.opened_partners(settings, Metrics()) as partners:
        if settings.has_dxr_token:
            findings.append(await _checked("DXR", lambda: _dxr(partners)))
        if settings.landing_volume or settings.databricks_host:
            findings.append(await _checked("Databricks", lambda: _databricks(partners)))
        findings.append(await _checked("landing", lambda: _landing(settings, partners)))
    store = await _checked("run store", lambda: _store(settings))
    findings.append(store)
    if store.code is None:
        findings.append(await _checked("receipts", lambda: _receipts(settings)))
    return findings


def verdict(findings: list[Finding]) -> int:
    """The exit code: that of the first thing that does not work."""
    return next((exit_code(finding.code) for finding in findings if finding.code), 0)


def render(finding: Finding) -> None:
    """One line, and the fix below a red one."""
    console = Console(highlight=False, soft_wrap=True)
    mark = "[green]ok  [/]" if finding.code is None else "[red]FAIL[/]"
    console.print(f"{mark} {finding.check:<13} ", end="")
    console.print(finding.told, markup=False)
    if finding.hint:
        console.print(f"     {'':<13} {finding.hint}", markup=False)


async def _checked(check: str, work: Callable[[], Awaitable[str]]) -> Finding:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            return Finding(check, await work())
    except DxrIngestError as error:
        return Finding(check, error.message, error.code, error.hint)
    except TimeoutError:
        told = f"no answer within {_CHECK_TIMEOUT_S} seconds"
        return Finding(check, told, "SERVICE_UNAVAILABLE", "Look at the network and at the load of the other side.")


def _configuration(settings: Settings) -> Finding:
    told = "complete for snapshots"
    if not settings.has_dxr_token:
        return Finding(
            "configuration",
            "no DXR token is set",
            "CONFIGURATION",
            "Set DXR_BEARER_TOKEN_FILE, DXR_BEARER_TOKEN, or DXR_TOKEN_SCOPE and DXR_TOKEN_KEY.",
        )
    missing = settings.missing_for_classification
    told += " and classifications" if not missing else f"; classifications need {', '.join(missing)}"
    if not settings.dxr_verify_ssl:
        told += "; TLS IS NOT VERIFIED (DXR_VERIFY_SSL)"
    return Finding("configuration", told)


async def _dxr(partners: Partners) -> str:
    """Begin a stream and leave it: that is what a run needs, and it costs DXR a page."""
    async with FilesStream(partners.session).open(None):
        return f"{partners.session.origin} answers and takes the token"


async def _databricks(partners: Partners) -> str:
    return f"{await partners.workspace.sign_in()} gives this service a token"


async def _landing(settings: Settings, partners: Partners) -> str:
    path = f"probes/doctor-{uuid.uuid4()}.txt"
    landing = partners.landing
    try:
        await landing.put_new(path, _PROBE)
        if await landing.read(path) != _PROBE:
            raise ConfigurationError(
                "A probe did not come back as it was written.", "Look at the storage behind LANDING_PATH."
            )
    finally:
        with contextlib.suppress(DxrIngestError):
            await landing.delete(path)
    if await landing.read(path) is not None:
        raise CredentialError(
            "LANDING_FORBIDDEN",
            "A probe could not be deleted again.",
            "Give this service the right to delete below LANDING_PATH: the clean-up needs it.",
        )
    return f"{settings.landing_path}: a probe was written, read and deleted"


async def _store(settings: Settings) -> str:
    where = "DATABASE_URL" if settings.database_url else str(settings.state_dir / "runs.sqlite")
    if not settings.has_store:
        return f"{where} will be made by the first run"
    async with wiring.opened_store(settings) as store:
        count = sum((await store.count_by_state()).values())
    return f"{where} answers and knows {count:,} runs"


async def _receipts(settings: Settings) -> str:
    if not settings.has_store:
        return "none is awaited"
    async with wiring.opened_store(settings) as store:
        waiting = await store.waiting_for_receipt()
    late = overdue(waiting, SystemClock().now_text())
    if late:
        raise DxrIngestError(
            "RECEIPTS_OVERDUE",
            f"{late} landed runs wait for their receipt for more than {OVERDUE_AFTER.seconds // 3600} hours.",
            "Look at the Spark job (dxr-ingest-tables): it ingests commits and writes receipts.",
        )
    return f"{len(waiting)} awaited, none overdue"
