"""What there is to do in one batch: the delivered and the pending commits, read and sorted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spark_jobs.commits import ClassificationCommit, SnapshotCommit, parse_name
from spark_jobs.documents import parse_classification, parse_document, parse_snapshot
from spark_jobs.errors import CommitRefused
from spark_jobs.ingest_log import Handled, say
from spark_jobs.receipts import read_receipt, refusal
from spark_jobs.settings import RESERVED_DATASETS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spark_jobs.commits import CommitName
    from spark_jobs.landing import Landing
    from spark_jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class Inbox:
    """The commits of one batch, sorted by what is to be done with them."""

    snapshots: list[SnapshotCommit]
    classifications: list[ClassificationCommit]
    unusable: list[Handled]
    settled: list[Handled]


def read_inbox(landing: Landing, settings: Settings, delivered: Iterable[str]) -> Inbox:
    """Read and sort the delivered and the pending commits."""
    inbox = Inbox([], [], [], [])
    names = landing.pending()
    for file in sorted(delivered):
        if (name := parse_name(file)) is None:
            say(f"ignored commits/{file}: its name is not <dataset>.<sequence, 20 digits>.<run id>.json")
        else:
            names.add(name)
    for name in sorted(names):
        _take_up(inbox, landing, settings, name)
    return inbox


def _take_up(inbox: Inbox, landing: Landing, settings: Settings, name: CommitName) -> None:
    started_at = datetime.now(UTC)
    content = landing.read_commit(name)
    if content is None:
        say(f"ignored commits/{name.file}: it is not there any more")
        return
    receipt = read_receipt(landing, name.run_id)
    try:
        commit = _usable(settings, name, content)
    except CommitRefused as refused:
        verdict = receipt or refusal(name.run_id, None, refused)
        handled = Handled(name, verdict, started_at, datetime.now(UTC), repeated=receipt is not None)
        (inbox.settled if receipt else inbox.unusable).append(handled)
        return
    if receipt:
        inbox.settled.append(Handled.of(commit, receipt, started_at, repeated=True))
    elif isinstance(commit, SnapshotCommit):
        inbox.snapshots.append(commit)
    else:
        inbox.classifications.append(commit)


def _usable(settings: Settings, name: CommitName, content: bytes) -> SnapshotCommit | ClassificationCommit:
    """The commit of a document that may go to the table of its dataset."""
    document = parse_document(name, content)
    _check_table(settings, name, document["kind"])
    if name.dataset == settings.classification_dataset:
        return parse_classification(name, document)
    return parse_snapshot(name, document)


def _check_table(settings: Settings, name: CommitName, kind: object) -> None:
    """Refuse what must not go to the table of this dataset."""
    expected = "classification" if name.dataset == settings.classification_dataset else "snapshot"
    if kind != expected:
        raise CommitRefused(
            "KIND_MISMATCH", f"the kind of dataset {name.dataset} is {expected}, not that of the commit"
        )
    table = settings.table_of(name.dataset)
    owners = {settings.snapshot_dataset, settings.classification_dataset} - {name.dataset}
    others = [*map(settings.table_of, owners), settings.quarantine, settings.ingest_log]
    if name.dataset in RESERVED_DATASETS or table.label in {other.label for other in others}:
        raise CommitRefused(
            "DATASET_RESERVED", f"{table.label} is the table of something else: use another dataset name"
        )
