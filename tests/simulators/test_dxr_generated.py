"""Generated files: every field of the API, the same for ever, made only when asked for."""

import json
import zlib
from itertools import islice

import pytest

from tests.simulators.dxr import GeneratedFiles
from tests.simulators.dxr.vocabulary import CONNECTORS

REQUIRED = {"datasource", "fileName", "fileId", "size", "labels", "entitlements"}
OPTIONAL = {
    "path", "mimeType", "createdAt", "lastModifiedAt", "contentSha256", "scanDepth", "metadataExtractionStatus",
    "extractedMetadata", "dlpLabels", "annotators", "categories", "owner", "createdBy", "modifiedBy", "coordinates",
}  # fmt: skip
ACCOUNT = {"id", "accountType", "realmAccountId", "realmKey", "accountSubType"}


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in b"".join(GeneratedFiles(3000, seed=1).blocks()).split(b"\n")[:-1]]


def test_every_row_has_what_is_required(rows):
    for row in rows:
        assert row.keys() >= REQUIRED
        assert row["datasource"].keys() == {"id", "name", "connector"}
        assert isinstance(row["size"], int)
        assert all(label.keys() == {"id", "name"} for label in row["labels"])
        assert all(account.keys() >= ACCOUNT for account in row["entitlements"]["whoCanAccess"])
    assert len({row["fileId"] for row in rows}) == len(rows) == 3000


def test_optional_fields_come_and_go_and_new_ones_turn_up(rows):
    for field in OPTIONAL:
        assert 0 < sum(field in row for row in rows) < len(rows), field
    unknown = [row for row in rows if row.keys() - REQUIRED - OPTIONAL]
    assert 0 < len(unknown) < len(rows) / 2
    assert any(not row["fileName"].isascii() for row in rows)


def test_nested_fields_have_the_shapes_of_the_api(rows):
    extracted = [entry for row in rows for entry in row.get("extractedMetadata", [])]
    assert {entry["type"] for entry in extracted} == {"TEXT", "NUMBER", "BOOLEAN"}
    assert {type(entry["value"]) for entry in extracted} == {str, int, float, bool}
    categories = [entry for row in rows for entry in row.get("categories", [])]
    assert {type(entry) for entry in categories} == {str, dict}
    annotators = [entry for row in rows for entry in row.get("annotators", [])]
    assert {entry["domain"]["name"] for entry in annotators} >= {"PII", "Financial", "Health"}
    for annotator in annotators:
        assert annotator["uniquePhrases"] == len({entry["phrase"] for entry in annotator["annotations"]})
        for annotation in annotator["annotations"]:
            assert all(at["end"] - at["start"] == len(annotation["phrase"]) for at in annotation["locations"])


def test_sixteen_datasources_have_all_connectors():
    rows = [json.loads(GeneratedFiles(1, datasources=16).row(index)) for index in range(500)]
    assert {row["datasource"]["connector"]["type"] for row in rows} == set(CONNECTORS)
    assert len({row["datasource"]["id"] for row in rows}) == 16


@pytest.mark.parametrize("mean_bytes", [1200, 2500, 6000])
def test_length_and_entropy_are_realistic(mean_bytes):
    body = b"".join(GeneratedFiles(3000, seed=2, mean_bytes=mean_bytes).blocks())
    assert body.count(b"\n") == 3000
    assert len(body) / 3000 == pytest.approx(mean_bytes, rel=0.1)
    coder = zlib.compressobj(1)
    assert 4 < len(body) / len(coder.compress(body) + coder.flush()) < 8


def test_a_row_is_the_same_however_it_is_reached():
    few, many = GeneratedFiles(100, seed=3), GeneratedFiles(5000, seed=3)
    first = b"".join(few.blocks()).splitlines()
    assert first == b"".join(many.blocks()).splitlines()[:100]
    assert first == [few.row(index) for index in range(100)]
    assert first != b"".join(GeneratedFiles(100, seed=4).blocks()).splitlines()


def test_this_row_is_the_same_in_every_process():
    row = json.loads(GeneratedFiles(10, seed=1).row(7))
    # pragma: allowlist nextline secret
    assert (row["fileId"], row["lastModifiedAt"]) == ("abb397f2da909abb5a3814c3336150a2", "2022-08-19T06:54:08Z")


@pytest.mark.parametrize("revision", [1, 2, 57, 300])
def test_a_revision_changes_a_known_part(revision):
    before, after = (
        {row["fileId"]: row for row in map(json.loads, b"".join(GeneratedFiles(2000, 5, n).blocks()).splitlines())}
        for n in (0, revision)
    )
    gone, new = before.keys() - after.keys(), after.keys() - before.keys()
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    assert (len(gone), len(new), len(changed)) == (20, 20, 100)
    for key in changed:
        differing = {field for field in before[key] if before[key][field] != after[key][field]}
        assert "labels" in differing
        assert differing <= {"labels", "lastModifiedAt"}
        assert before[key].get("lastModifiedAt", "") <= after[key].get("lastModifiedAt", "")


def test_big_rows_come_as_often_as_asked():
    source = GeneratedFiles(10, big_row_every=3)
    big = [index for index in range(10) if len(source.row(index)) > 1_000_000]
    assert big == [2, 5, 8]
    assert max(len(source.row(index)) for index in big) < 4_000_000
    assert json.loads(source.row(5)).keys() >= REQUIRED
    assert all(len(GeneratedFiles(10, big_row_every=0).row(index)) < 10_000 for index in range(10))


def test_blocks_are_made_one_at_a_time():
    blocks = GeneratedFiles(10**12, seed=1).blocks()
    for block in islice(blocks, 20):
        assert 64 * 1024 <= len(block) <= 256 * 1024
        assert block.endswith(b"}\n")
