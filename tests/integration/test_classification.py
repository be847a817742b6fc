"""A volume's files through a real classifier API: each file gets its own labels, or a row that says why not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from service import wiring
from service.classification.mounted import MountedVolume
from service.runs.model import Run, State
from service.runs.receipts import note_receipts
from service.runs.schema import batches, chunks
from service.runs.triggers import ClassificationRequest, resolve_classification
from tests.conftest import TOKEN
from tests.integration.runs import carried_out, commits, root, stored_lines
from tests.simulators.dxr import Classifier, DxrSimulator
from tests.simulators.dxr import classifier_faults as odc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from service.classification.volume import VolumeFile
    from service.wiring import Service
    from tests.conftest import MakeSettings

LANES = ("11", "12")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Twelve files, among them pairs of the same name in different folders."""
    folder = tmp_path / "volumes" / "main" / "legal" / "contracts"
    for number in range(6):
        for side in ("a", "b"):
            path = folder / side / f"report-{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"label: {side.upper()}{number}\nmail {side}{number}@example.com\n")
    return folder


@pytest.fixture
def settings(tmp_path: Path, make_settings: MakeSettings) -> Any:
    def make(dxr: DxrSimulator, **more: Any) -> Any:
        base = {
            "dxr_base_url": dxr.url,
            "volume_catalog": "main",
            "volume_schema": "legal",
            "volume_name": "contracts",
            "volume_base_path": str(tmp_path / "volumes"),
            "dxr_datasource_id": ",".join(LANES),
            "dxr_poll_interval_seconds": 0.005,
            "dxr_settle_seconds": 0.5,
            "dxr_max_files_per_job": 4,
        }
        return make_settings(**(base | more))

    return make


def tenant(**shape: Any) -> DxrSimulator:
    return DxrSimulator(tokens=(TOKEN,), classifier=Classifier(datasources=LANES, **shape))


async def classify(service: Service, **asked: Any) -> Run:
    today = service.clock.now().date()
    request = resolve_classification(ClassificationRequest(**asked), service.settings, today, "test")
    return await carried_out(service, (await service.store.create(request)).id)


def records(service: Service, commit: int = -1) -> dict[str, dict[str, Any]]:
    """The newest commit's records by relative path; a path twice would be an error."""
    lines = stored_lines(service, commits(service)[commit]["chunks"]).splitlines()
    found = {record["relative_path"]: record for record in map(json.loads, lines)}
    assert len(found) == len(lines)
    return found


def expected_labels(dxr: DxrSimulator, path: Path) -> list[str]:
    truth = dxr.classifier.truth[hashlib.sha256(path.read_bytes()).hexdigest()]
    return [*truth.labels, *(annotator.name for annotator in truth.annotators)]


def files_of(volume: Path) -> Iterator[tuple[str, Path]]:
    for path in volume.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(volume).as_posix(), path


def balances(run: Run) -> bool:
    counts = run.counts
    return counts["scanned"] == counts["unchanged"] + counts["labelled"] + sum(counts["reasons"].values())


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"index_lag": 3},
        {"index_lag": 3, "lagging": "tags"},
        {"duplicate_hits": True},
        {"minimal_answers": True},
        {"tag_form": "text"},
        {"names_at": ("data-classes",)},
        {"names_at": ("metadata-extractors", "data-classes"), "index_status": False},
    ],
    ids=str,
)
async def test_every_file_gets_its_own_labels(shape: dict[str, Any], volume: Path, settings: Any) -> None:
    async with tenant(**shape) as dxr, wiring.opened(settings(dxr, dxr_settle_seconds=10)) as service:
        run = await classify(service)
        assert (run.state, run.error) == (State.LANDED, None)
        found = records(service)
        assert len(found) == 12
        for relative, path in files_of(volume):
            record = found[relative]
            assert record["labels"] == expected_labels(dxr, path), relative
            assert record["file_path"] == f"/Volumes/main/legal/contracts/{relative}"
            assert (record["status"], record["file_size"]) == ("LABELLED", path.stat().st_size)
            assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert json.loads(record["raw_metadata"])["dxr#tags"]
        assert dxr.classifier.overlaps == []
        assert {job.datasource_id for job in dxr.classifier.jobs} == set(LANES)
        assert run.counts["labelled"] == 12
        assert balances(run)
        [commit] = commits(service)
        async with service.store.database.statement() as connection:
            kept = (await connection.execute(sa.select(batches))).mappings().all()
            registered = (await connection.scalars(sa.select(chunks.c.path))).all()
        assert [row["state"] for row in kept] == ["finished"] * 3
        assert list(registered) == [chunk["path"] for chunk in commit["chunks"]]
        assert {row["scan_id"] for row in kept} == {record["datasource_scan_id"] for record in found.values()}
        assert (commit["kind"], commit["scope"]) == ("classification", {"prefix": "", "complete": False})


async def test_unchanged_files_are_skipped_unless_asked(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        await classify(service)
        (volume / "a" / "report-0.txt").write_text("label: changed, and longer than before\n")
        (volume / "a" / "new.txt").write_text("label: new\n")
        second = await classify(service)
        assert sorted(records(service)) == ["a/new.txt", "a/report-0.txt"]
        assert (second.counts["unchanged"], second.counts["labelled"]) == (11, 2)
        third = await classify(service, full=True)
        assert (third.counts["unchanged"], third.counts["labelled"]) == (0, 13)
        assert commits(service)[-1]["scope"] == {"prefix": "", "complete": True}
        nothing = await classify(service)
        assert (nothing.state, commits(service)[-1]["chunks"]) == (State.LANDED, [])


async def test_a_run_that_did_not_land_has_labelled_nothing(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.next(odc.Refuse("search", 500), times=100)
        failed = await classify(service)
        assert failed.state is State.FAILED
        assert commits(service) == []
        dxr.classifier.faults.clear()
        assert (await classify(service)).counts["labelled"] == 12


async def test_labels_of_a_refused_run_do_not_count(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        run = await classify(service)
        receipt = {"format": 1, "run_id": run.id, "state": "refused", "reason": "CHUNK_CUT part-00000.jsonl.gz"}
        (root(service) / "receipts").mkdir()
        (root(service) / "receipts" / f"{run.id}.json").write_text(json.dumps(receipt))
        await note_receipts(service.store, service.landing)
        assert (await service.store.get(run.id)).state is State.FAILED
        assert (await classify(service)).counts["labelled"] == 12


async def test_a_partial_run_stays_partial_and_keeps_its_counts(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.next(odc.CancelJob())
        run = await classify(service)
        receipt = {"format": 1, "run_id": run.id, "state": "ingested", "table_rows": 12, "quarantined_rows": 0}
        (root(service) / "receipts").mkdir()
        (root(service) / "receipts" / f"{run.id}.json").write_text(json.dumps(receipt))
        await note_receipts(service.store, service.landing)
        seen = await service.store.get(run.id)
        assert (seen.state, seen.counts["table_rows"], seen.counts["labelled"]) == (State.PARTIAL, 12, 8)


async def test_a_lost_store_only_means_a_full_run(volume: Path, settings: Any) -> None:
    async with tenant() as dxr:
        async with wiring.opened(settings(dxr)) as service:
            first = await classify(service)
        async with wiring.opened(settings(dxr, state_dir="elsewhere")) as service:
            again = await classify(service)
            assert again.counts["labelled"] == first.counts["labelled"] == 12
            assert again.sequence > first.sequence


async def test_vanished_files_are_told_once_and_come_back(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        await classify(service)
        gone = volume / "a" / "report-0.txt"
        content, times = gone.read_bytes(), (gone.stat().st_atime_ns, gone.stat().st_mtime_ns)
        gone.unlink()
        (volume / "b" / "report-1.txt").unlink()
        elsewhere = await classify(service, prefix="a")
        assert {path: record["status"] for path, record in records(service).items()} == {"a/report-0.txt": "DELETED"}
        assert records(service)["a/report-0.txt"]["deleted_at"]
        assert elsewhere.counts["deleted"] == 1
        assert commits(service)[-1]["scope"]["prefix"] == "a"
        await classify(service)
        assert list(records(service)) == ["b/report-1.txt"]
        assert (await classify(service)).counts["deleted"] == 0
        gone.write_bytes(content)
        os.utime(gone, ns=times)
        back = await classify(service)
        assert (back.counts["labelled"], records(service)["a/report-0.txt"]["status"]) == (1, "LABELLED")


async def test_a_volume_that_is_missing_or_suddenly_empty_fails(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        await classify(service)
        aside = volume.rename(volume.with_name("aside"))
        missing = await classify(service)
        volume.mkdir()
        empty = await classify(service)
        for run in (missing, empty):
            assert run.error is not None
            assert run.error.code == "VOLUME_UNAVAILABLE"
        assert len(commits(service)) == 1
        volume.rmdir()
        aside.rename(volume)
        assert (await classify(service)).counts["unchanged"] == 12


async def test_what_cannot_be_classified_costs_a_row_and_nothing_else(volume: Path, settings: Any) -> None:
    (volume / "large.bin").write_bytes(bytes(3_000))
    (volume / "link").symlink_to("/etc/hostname")
    os.mkfifo(volume / "pipe")
    (volume / "bad.txt").write_text("label: bad\n")
    (volume / "never.txt").write_text("label: never\n")
    bad, never = (hashlib.sha256((volume / name).read_bytes()).hexdigest() for name in ("bad.txt", "never.txt"))
    async with tenant() as dxr:
        dxr.classifier.faults.always(odc.FailJob(when=odc.containing(sha256=bad)))
        dxr.classifier.faults.always(odc.NeverEnd(when=odc.containing(sha256=never)))
        flags = {"dxr_max_bytes_per_job": 2_000, "dxr_max_files_per_job": 1, "dxr_job_timeout_seconds": 0.3}
        async with wiring.opened(settings(dxr, **flags)) as service:
            run = await classify(service)
            found = records(service)
            assert run.state is State.PARTIAL
            assert run.counts["reasons"] == {"TOO_LARGE": 1, "JOB_FAILED": 1, "JOB_TIMEOUT": 1}
            assert run.counts["skipped"] == 2
            assert balances(run)
            statuses = {name: found[name]["status"] for name in ("large.bin", "bad.txt", "never.txt")}
            assert statuses == {"large.bin": "TOO_LARGE", "bad.txt": "JOB_FAILED", "never.txt": "JOB_TIMEOUT"}
            assert all(found[name]["reason"] for name in statuses)
            for relative, path in files_of(volume):
                if relative not in statuses:
                    assert found[relative]["labels"] == expected_labels(dxr, path), relative
            assert sum(1 for job in dxr.classifier.jobs if job.files[0].sha256 == bad) == 4


async def test_a_file_that_changes_while_it_is_read_does_not_stop_its_job(
    volume: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MountedVolume.contents

    def shrinking(self: MountedVolume, files: Sequence[VolumeFile]) -> Any:
        for file in files:
            if file.relative_path.endswith("report-0.txt"):
                (volume / file.relative_path).write_text("x")  # the writer of the volume was quicker
        return original(self, files)

    monkeypatch.setattr(MountedVolume, "contents", shrinking)
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        run = await classify(service)
        assert run.counts["reasons"] == {"UNREADABLE": 2}
        assert run.counts["labelled"] == 10
        assert "changed" in records(service)["a/report-0.txt"]["reason"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (odc.CancelJob(), "JOB_CANCELLED"),
        (odc.VanishJob(), "JOB_VANISHED"),
        (odc.Refuse("submit", 413), "DXR_TOO_LARGE"),
    ],
    ids=["cancelled", "vanished", "too large"],
)
async def test_one_bad_job_never_stops_the_others(fault: Any, reason: str, volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.next(fault)
        run = await classify(service)
        assert (run.state, run.counts["reasons"], run.counts["labelled"]) == (State.PARTIAL, {reason: 4}, 8)
        assert (await classify(service)).counts["labelled"] == 4


async def test_a_failed_job_is_sent_again(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.always(odc.FailJob(times=2))
        run = await classify(service)
        assert (run.state, run.counts["labelled"]) == (State.LANDED, 12)
        assert len(dxr.classifier.jobs) == 3 * 3


@pytest.mark.parametrize("index_status", [True, False])
async def test_a_submit_whose_answer_is_lost_makes_no_second_job(
    index_status: bool, volume: Path, settings: Any
) -> None:
    async with tenant(index_status=index_status) as dxr, wiring.opened(settings(dxr, dxr_settle_seconds=5)) as service:
        dxr.classifier.faults.next(odc.LoseAnswer())
        run = await classify(service)
        assert (run.state, run.counts["labelled"]) == (State.LANDED, 12)
        assert len(dxr.classifier.jobs) == 3
        assert run.counts["resubmitted_unconfirmed"] == 0


async def test_throttling_and_server_errors_are_waited_out(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_retry_attempts=5, dxr_settle_seconds=0)) as service:
        for at in ("submit", "poll", "search"):
            dxr.classifier.faults.next(odc.Refuse(at, 429), times=2)
            dxr.classifier.faults.next(odc.Refuse(at, 503))
        run = await classify(service)
        assert (run.state, run.counts["labelled"]) == (State.LANDED, 12)
        assert dxr.classifier.overlaps == []


async def test_a_missing_hit_is_a_reason(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_settle_seconds=0.05)) as service:
        path = volume / "a" / "report-3.txt"
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        dxr.classifier.faults.always(odc.MissHit(when=odc.containing(sha256=sha256)))
        run = await classify(service)
        assert run.counts["reasons"] == {"NO_HIT": 1}
        assert records(service)["a/report-3.txt"]["status"] == "NO_HIT"


async def test_a_cancel_ends_a_classification(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        hold = odc.Hold("poll")
        dxr.classifier.faults.next(hold)
        today = service.clock.now().date()
        created = await service.store.create(
            resolve_classification(ClassificationRequest(), service.settings, today, "test")
        )
        async with service.supervisor.working():
            service.supervisor.wake()
            await hold.reached()
            assert await service.supervisor.cancel(created.id) is not None
            async with asyncio.timeout(20):
                while (await service.store.get(created.id)).state is not State.CANCELLED:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            hold.open()
        assert commits(service) == []
        assert list(root(service).rglob("*.tmp")) == []
