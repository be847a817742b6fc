"""Landing in a volume, reading a volume and signing in, against a simulated workspace that fails in every way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.databricks.files import Entry, FileChangedError, Files
from service.databricks.identity import Credentials, Identity
from service.databricks.secrets import read_secret
from service.errors import ConfigurationError, CredentialError, DxrIngestError, LandingError, UpstreamError, exit_code
from service.landing.volume import VolumeLanding
from service.runs.model import State
from tests.conftest import TOKEN
from tests.integration.runs import commits_below, lines_below, snapshot
from tests.simulators.databricks import DatabricksSimulator, faults
from tests.simulators.dxr import BadLines, DxrSimulator, GeneratedFiles
from tests.workspaces import PASSING, connected, service_principal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.wiring import Service
    from tests.conftest import MakeSettings

LANDING = "/Volumes/main/dxr/landing"
ROWS = 3000


def puts(method: str, path: str) -> bool:
    return method == "PUT" and "/fs/files/" in path


@contextlib.asynccontextmanager
async def landing_in(databricks: DatabricksSimulator, make: MakeSettings, **flags: Any) -> AsyncIterator[Service]:
    """A service whose landing is a volume, signed in as a service principal."""
    settings = make(
        landing_path=LANDING,
        databricks_host=databricks.url,
        databricks_client_id=databricks.client_id,
        databricks_client_secret=databricks.client_secret,
        landing_chunk_bytes="64kB",
        dxr_retry_attempts=3,
        **flags,
    )
    async with wiring.opened(settings) as service:
        yield service


@pytest.fixture
def tenant() -> DxrSimulator:
    return DxrSimulator(BadLines(GeneratedFiles(ROWS, seed=3), every=50), tokens=(TOKEN,))


async def test_a_volume_holds_what_a_folder_holds(
    tmp_path: Path, tenant: DxrSimulator, make_settings: MakeSettings
) -> None:
    folder = tmp_path / "folder"
    async with tenant as dxr, DatabricksSimulator(tmp_path / "volumes") as databricks:
        volume = databricks.volume("main", "dxr", "landing")
        settings = make_settings(dxr_base_url=dxr.url, landing_path=str(folder), landing_chunk_bytes="64kB")
        async with wiring.opened(settings) as service:
            assert (await snapshot(service)).state is State.LANDED
        async with landing_in(
            databricks, make_settings, dxr_base_url=dxr.url, state_dir=str(tmp_path / "other")
        ) as service:
            run = await snapshot(service)
    [there], [here] = commits_below(volume), commits_below(folder)
    for kind in ("chunks", "rejects"):
        assert lines_below(volume, there[kind]) == lines_below(folder, here[kind])
        assert len(there[kind]) == len(here[kind]) > 0
    for commit in (there, here):
        del commit["counts"]["stored_bytes"]  # what gzip makes of a stream depends on the pieces that it came in
    own = {"run_id", "sequence", "started_at", "completed_at", "chunks", "rejects"}
    assert {k: v for k, v in there.items() if k not in own} == {k: v for k, v in here.items() if k not in own}
    assert there["rows"] == run.counts["rows"] > ROWS * 0.9
    asked = [request for request in databricks.requests if puts(request.method, request.path)]
    assert {request.query["overwrite"] for request in asked if "/commits/" in request.path} == {"false"}
    assert {request.query["overwrite"] for request in asked if "/chunks/" in request.path} == {"true"}
    files = [request for request in databricks.requests if "/api/2.0/fs/" in request.path]
    assert {request.headers.get("X-Databricks-Workspace-Id") for request in files} == {databricks.workspace_id}
    assert databricks.in_flight_max <= 5


@pytest.mark.parametrize("seed", range(2))
async def test_ten_percent_of_requests_fail_and_tokens_expire(
    seed: int, tmp_path: Path, tenant: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with tenant as dxr, DatabricksSimulator(tmp_path / "volumes") as databricks:
        volume = databricks.volume("main", "dxr", "landing")
        databricks.faults.randomly(0.1, seed, PASSING)
        databricks.faults.randomly(0.05, seed + 100, [faults.stored_empty(), faults.cut_body(10)], on=not_a_commit)
        async with landing_in(databricks, make_settings, dxr_base_url=dxr.url) as service:
            for _ in range(3):
                run = await snapshot(service)
                assert run.state is State.LANDED
                databricks.expire_tokens()
    landed = commits_below(volume)
    assert len(landed) == 3
    first, *others = [lines_below(volume, commit["chunks"]) for commit in landed]
    assert first.count(b"\n") == landed[0]["rows"]
    assert others == [first, first]
    assert databricks.in_flight_max <= 5


def not_a_commit(_method: str, path: str) -> bool:
    return "/commits/" not in path


async def test_a_commit_whose_answer_was_lost_is_found_again(
    tmp_path: Path, tenant: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with tenant as dxr, DatabricksSimulator(tmp_path / "volumes") as databricks:
        volume = databricks.volume("main", "dxr", "landing")
        databricks.faults.next(faults.reset_after(), on=lambda method, path: method == "PUT" and "/commits/" in path)
        for conflict in (409, 412):
            databricks.conflict_status = conflict
            async with landing_in(databricks, make_settings, dxr_base_url=dxr.url) as service:
                run = await snapshot(service)
                assert (run.state, run.attempt) == (State.LANDED, 1)
    assert len(commits_below(volume)) == 2


async def test_a_landing_that_may_not_be_written_names_the_grant(
    tmp_path: Path, tenant: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with tenant as dxr, DatabricksSimulator(tmp_path / "volumes") as databricks:
        databricks.volume("main", "dxr", "landing")
        databricks.read_only.add(LANDING)
        async with landing_in(databricks, make_settings, dxr_base_url=dxr.url) as service:
            run = await snapshot(service)
    assert run.state is State.FAILED
    assert run.error is not None
    assert (run.error.code, exit_code(run.error.code)) == ("DATABRICKS_FORBIDDEN", 4)
    assert "WRITE VOLUME" in run.error.hint


async def test_a_volume_that_does_not_exist_is_said_so(
    tmp_path: Path, tenant: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with (
        tenant as dxr,
        DatabricksSimulator(tmp_path / "volumes") as databricks,
        landing_in(databricks, make_settings, dxr_base_url=dxr.url) as service,
    ):
        run = await snapshot(service)
    assert run.error is not None
    assert run.error.code == "DATABRICKS_REJECTED"
    assert LANDING in run.error.message


@pytest.mark.parametrize("fault", [faults.html_login(), faults.redirect("/login.html"), faults.stored_empty()])
async def test_what_only_looks_like_success_is_none(fault: Any, tmp_path: Path) -> None:
    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks, tries_max=2) as workspace:
        databricks.volume("main", "dxr", "landing")
        databricks.faults.always(fault, on=puts)
        with pytest.raises(UpstreamError) as caught:
            await Files(workspace).put(f"{LANDING}/a", b"abc", overwrite=True)
        assert exit_code(caught.value.code) == 5
        databricks.faults.clear()
        databricks.faults.next(fault, on=puts)
        assert await Files(workspace).put(f"{LANDING}/a", b"abc", overwrite=True)
        assert (tmp_path / "main/dxr/landing/a").read_bytes() == b"abc"


async def test_a_commit_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
        databricks.volume("main", "dxr", "landing")
        landing = VolumeLanding(LANDING, Files(workspace))
        await landing.put_new("commits/a.json", b"theirs")
        databricks.faults.next(faults.reset_after(), on=puts)
        with pytest.raises(LandingError) as caught:
            await landing.put_new("commits/a.json", b"ours")
        assert caught.value.code == "LANDING_CONFLICT"
        assert (tmp_path / "main/dxr/landing/commits/a.json").read_bytes() == b"theirs"


async def test_a_file_is_sent_from_its_start_at_each_try(tmp_path: Path) -> None:
    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
        databricks.volume("main", "dxr", "landing")
        files = Files(workspace)
        for number, content in enumerate((b"", b"a", b"a" + b"b" * 3_000_000 + b"c")):
            path = f"{LANDING}/{number}"
            databricks.faults.next(faults.status(503), on=puts)
            with tempfile.TemporaryFile(buffering=0) as file:
                file.write(content)
                assert await files.put(path, file, overwrite=True)
            assert await files.read(path) == content


async def test_a_full_temporary_folder_is_an_error_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
        landing = VolumeLanding(LANDING, Files(workspace))
        part = landing.new_part("chunks/a")
        part.file.close()
        with Path("/dev/full").open("wb", buffering=0) as part.file, pytest.raises(LandingError) as caught:  # noqa: ASYNC230
            part.write(b"x")
        assert caught.value.code == "LANDING_SPOOL"
        part.discard()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        with pytest.raises(LandingError) as caught:
            landing.new_part("chunks/a")
        assert "TMPDIR" in caught.value.hint


async def test_names_of_any_kind_go_there_and_back(tmp_path: Path) -> None:
    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
        databricks.volume("main", "dxr", "landing")
        files = Files(workspace)
        for name in ("a b", "ü=1", "50%.txt", "%41", "a#b?c&d", "quote'\"", "plus+", "semi;colon:at@"):
            path = f"{LANDING}/{name}"
            assert await files.put(path, name.encode(), overwrite=True)
            assert await files.read(path) == name.encode()
        listed = [entry.name async for page in files.pages(LANDING) for entry in page]
        assert "50%.txt" in listed
        assert len(listed) == 8


class TestSigningIn:
    async def test_every_way_that_a_service_may_have(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with DatabricksSimulator(tmp_path) as databricks:
            databricks.volume("main", "dxr", "landing")
            subject = tmp_path / "subject"
            subject.write_text(databricks.federated_subject_token)
            for credentials, variables in (
                (service_principal(databricks), {}),
                (Credentials(databricks.url, databricks.pat), {}),
                (
                    Credentials(databricks.url, None, databricks.client_id),
                    {"DATABRICKS_AUTH_TYPE": "file-oidc", "DATABRICKS_OIDC_TOKEN_FILEPATH": str(subject)},
                ),
                (Credentials(), {"DATABRICKS_HOST": databricks.url, "DATABRICKS_TOKEN": databricks.pat}),
            ):
                with monkeypatch.context() as patch:
                    for name, value in variables.items():
                        patch.setenv(name, value)
                    async with connected(databricks, credentials) as workspace:
                        assert await workspace.sign_in() == databricks.url
                        assert await Files(workspace).put(f"{LANDING}/a", b"x", overwrite=True)

    async def test_a_refused_token_is_replaced_once_for_all_who_were_refused(self, tmp_path: Path) -> None:
        async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
            databricks.volume("main", "dxr", "landing")
            landing = VolumeLanding(LANDING, Files(workspace))
            await landing.put_new("commits/a.json", b"{}")
            issued = databricks.tokens_issued
            databricks.expire_tokens()
            await asyncio.gather(*(landing.read("commits/a.json") for _ in range(5)))
            assert databricks.tokens_issued == issued + 1

    async def test_a_token_is_renewed_before_it_expires(self, tmp_path: Path) -> None:
        async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
            databricks.volume("main", "dxr", "landing")
            databricks.token_lifetime_s = 30  # less than the 40 s that the SDK keeps as a margin
            for _ in range(3):
                await Files(workspace).read(f"{LANDING}/none")
            assert databricks.tokens_issued >= 3
            assert 401 not in {request.status for request in databricks.requests}

    async def test_a_personal_token_that_was_revoked_is_named_at_once(self, tmp_path: Path) -> None:
        async with DatabricksSimulator(tmp_path) as databricks:
            databricks.revoke_pat()
            async with connected(databricks, Credentials(databricks.url, databricks.pat)) as workspace:
                with pytest.raises(CredentialError) as caught:
                    await Files(workspace).read(f"{LANDING}/a")
            assert caught.value.code == "DATABRICKS_UNAUTHORIZED"
            assert databricks.pat not in str(caught.value)

    async def test_a_wrong_secret_is_named_without_showing_it(self, tmp_path: Path) -> None:
        async with DatabricksSimulator(tmp_path) as databricks:
            wrong = Credentials(databricks.url, None, databricks.client_id, "a-wrong-secret")
            with pytest.raises(CredentialError) as caught:
                await Identity(wrong).access()
            assert caught.value.code == "DATABRICKS_UNAUTHORIZED"
            assert "a-wrong-secret" not in f"{caught.value} {caught.value.hint} {wrong!r}"

    async def test_no_credentials_are_a_matter_of_configuration(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
        async with DatabricksSimulator(tmp_path) as databricks:
            for credentials in (Credentials(), Credentials(databricks.url)):
                with pytest.raises(ConfigurationError) as caught:
                    await Identity(credentials).access()
                assert "DATABRICKS_" in caught.value.hint

    async def test_a_hanging_token_endpoint_neither_blocks_the_loop_nor_lasts(self, tmp_path: Path) -> None:
        async with DatabricksSimulator(tmp_path) as databricks:
            identity = Identity(service_principal(databricks), timeout_s=3)
            await Identity(service_principal(databricks)).access()  # the import of the SDK, once
            hold = faults.hold()
            databricks.token_faults.next(hold)
            asked = asyncio.create_task(identity.access())
            await hold.reached()  # the loop serves the workspace while the SDK waits for its answer
            assert not asked.done()
            with pytest.raises(UpstreamError) as caught:
                await asked
            assert caught.value.code == "DATABRICKS_UNREACHABLE"
            assert (await identity.access()).headers["Authorization"].startswith("Bearer ")

    async def test_an_unreachable_workspace_is_no_matter_of_credentials(self) -> None:
        with pytest.raises(DxrIngestError) as caught:
            await Identity(Credentials("http://127.0.0.1:9", None, "client", "secret"), timeout_s=60).access()
        assert exit_code(caught.value.code) == 5


class TestSecrets:
    async def test_the_dxr_token_comes_from_a_secret_and_is_read_again_when_it_was_rotated(
        self, tmp_path: Path, dxr: DxrSimulator, make_settings: MakeSettings
    ) -> None:
        async with DatabricksSimulator(tmp_path / "volumes") as databricks:
            databricks.volume("main", "dxr", "landing")
            databricks.secrets["dxr", "token"] = TOKEN.encode()
            flags = {"dxr_bearer_token": None, "dxr_token_scope": "dxr", "dxr_token_key": "token"}
            async with landing_in(databricks, make_settings, dxr_base_url=dxr.url, **flags) as service:
                assert (await snapshot(service)).state is State.LANDED
                dxr.tokens = ("another-token-of-the-tenant-00000",)
                databricks.secrets["dxr", "token"] = dxr.tokens[0].encode()
                run = await snapshot(service)
                assert (run.state, run.attempt) == (State.LANDED, 1)

    @pytest.mark.parametrize("refused", [True, False])
    async def test_a_refusal_names_the_file_form(self, refused: bool, tmp_path: Path) -> None:
        async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
            databricks.secrets_refused = refused
            with pytest.raises(CredentialError) as caught:
                await read_secret(workspace, "dxr", "token")
        assert "DXR_BEARER_TOKEN_FILE" in caught.value.hint
        assert exit_code(caught.value.code) == 4


class TestDownloads:
    CONTENT = bytes(range(256)) * 4000

    @pytest.fixture
    def entry(self) -> Entry:
        return Entry("f.bin", f"{LANDING}/f.bin", is_directory=False, size_bytes=len(self.CONTENT), modified_ms=0)

    async def test_one_that_breaks_off_goes_on_where_it_was(self, tmp_path: Path, entry: Entry) -> None:
        async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
            (databricks.volume("main", "dxr", "landing") / "f.bin").write_bytes(self.CONTENT)
            for after_bytes in (100_000, 1, 300_000, 0):
                databricks.faults.next(faults.cut_body(after_bytes))
            got = b"".join([piece async for piece in Files(workspace).pieces(entry)])
        assert got == self.CONTENT
        ranges = [request.headers.get("Range") for request in databricks.requests if "/fs/files/" in request.path]
        assert ranges[0] is None
        assert len(ranges) == 5

    async def test_one_that_never_gets_further_is_given_up(self, tmp_path: Path, entry: Entry) -> None:
        async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
            (databricks.volume("main", "dxr", "landing") / "f.bin").write_bytes(self.CONTENT)
            databricks.faults.always(faults.cut_body(0))
            with pytest.raises(UpstreamError):
                assert [piece async for piece in Files(workspace).pieces(entry)]

    @pytest.mark.parametrize("change", ["gone", "longer", "newer"])
    async def test_a_file_that_changed_since_it_was_listed_is_not_mixed(self, change: str, tmp_path: Path) -> None:
        async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
            file = databricks.volume("main", "dxr", "landing") / "f.bin"
            file.write_bytes(self.CONTENT)
            files = Files(workspace)
            [entry] = [entry async for page in files.pages(LANDING) for entry in page]
            match change:
                case "gone":
                    file.unlink()
                case "longer":
                    file.write_bytes(self.CONTENT + b"x")
                case _:
                    later_s = entry.modified_ms // 1000 + 5
                    os.utime(file, (later_s, later_s))
            with pytest.raises(FileChangedError):
                assert [piece async for piece in files.pieces(entry)]
