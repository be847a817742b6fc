"""What the index says of classified files, how searches find it, and the names behind its ids."""

import hashlib
import re

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulators.classifier_client import Asking, names, query_item
from tests.simulators.dxr import Classifier, DxrSimulator, truth_of
from tests.simulators.dxr.search import page_of, parse

TOKEN = "t" * 32
MAIL = b"label: Board papers\r\nwrite to anna@example.org, anna@example.org and bo@example.org\n"
PLAIN = b"nothing to see"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
async def dxr():
    async with DxrSimulator(tokens=(TOKEN,), classifier=Classifier(datasources=("11", "12"))) as dxr:
        yield dxr


@pytest.fixture
async def client(dxr):
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield Asking(dxr, session)


async def test_hits_say_what_is_true_of_the_content(dxr, client):
    mail, plain = (hit["_source"] for hit in await client.classified({"a.txt": MAIL, "b.pdf": PLAIN}))
    truth = dxr.classifier.truth[sha256(MAIL)]
    assert truth == truth_of(MAIL)
    assert truth.labels == ("Personal data", "Board papers")
    (found,) = truth.annotators
    assert mail["dxr#tags"] == list(truth.tags)
    assert mail[f"annotation.{found.id}"] == ["anna@example.org", "bo@example.org"]
    assert mail[f"annotation_stats#count.{found.id}"] == "2"
    places = re.findall(r"\[([^,]+), (\d+), (\d+), (\d+)\]", mail["annotations"])
    assert len(places) == 3
    for phrase, start, end, annotator in places:
        assert MAIL.decode()[int(start) : int(end)] == phrase
        assert int(annotator) == found.id
    assert "Board papers" in str([value for key, value in mail.items() if key.startswith("extracted_metadata#")])
    assert (mail["dxr#mime_type"], plain["dxr#mime_type"]) == ("text/plain", "application/pdf")
    assert (plain["dxr#tags"], plain["annotations"]) == ([], "")
    assert mail.keys() >= {
        "ds#file_path", "ds#parent_folder_paths", "dxr#file_id", "object_id", "folder_id", "dxr#datasource_scan_id",
        "dxr#indexed_date", "dxr#sha_256_hash_file_meta", "dxr#doc_lang", "dxr#composite_type", "dxr#is_processed",
        "dxr#document_status", "dxr#text_extraction_status", "dxr#metadata_extraction_status", "dxr#ocr_used",
        "dxr#manually_removed_tags", "ai#category", "metadata#MODIFIED_DATE", "metadata#binary_hash",
    }  # fmt: skip


async def test_categories_come_as_text_and_as_list(client):
    hits = await client.classified({f"{number}.txt": b"%d" % number for number in range(20)})
    assert {str(hit["_source"]["ai#category"]) for hit in hits} == {"Other", "['Other']"}


@pytest.mark.parametrize(
    ("start", "labels"),
    [
        (b"label: One", ("One",)),
        (b"label:  One \nlabel: Two", ("One",)),
        ("label: Persönlich\n".encode(), ("Persönlich",)),
        (b"label: Personal data\na@example.org", ("Personal data",)),
        (b"label:One", ()),
        (b"label: \n", ()),
        (b" label: One", ()),
        (b"label: One\n\0", ()),
        (b"", ()),
    ],
)
def test_a_label_is_planted_by_the_first_line(start, labels):
    assert truth_of(start).labels == labels


@pytest.mark.parametrize(("form", "kind"), [("number", int), ("text", str), ("name", str)])
async def test_tags_are_ids_or_names(dxr, client, form, kind):
    dxr.classifier.tag_form = form
    tags = (await client.classified({"a": MAIL}))[0]["_source"]["dxr#tags"]
    assert {type(tag) for tag in tags} == {kind}
    assert ("Board papers" in tags) == (form == "name")


async def test_files_with_one_name_are_told_apart_by_id_only(client):
    form = aiohttp.FormData()
    for content in (MAIL, PLAIN):
        form.add_field("files", content, filename="report.pdf")
    _, job = await client.ask("POST", "/on-demand-classifiers/11/jobs", data=form)
    await client.states(job["id"], 2)
    hits = await client.found(name="report.pdf")
    assert names(hits) == ["report.pdf"] * 2
    assert len({hit["_id"] for hit in hits}) == 2


async def test_searches_keep_to_the_filter(client):
    await client.classified({"a": PLAIN, "b": MAIL})
    await client.classified({"a": MAIL}, "12")
    assert names(await client.found(scan=40_001)) == ["a", "b"]
    assert names(await client.found(scan="40002")) == ["a"]
    assert len(await client.found(name="a")) == 2
    assert len(await client.found(name="a", scan=40_001)) == 1
    assert len(await client.found(name="a", datasources=[12])) == 1
    assert names(await client.found()) == ["a", "b", "a"]
    assert await client.found(scan=1) == await client.found(scan=-1) == await client.found(name="A") == []
    either = [query_item("ds#file_name", name, "text", operator="OR") for name in "ab"]
    body = {"mode": "DXR_JSON_QUERY", "filter": {"query_items": either}}
    _, answer = await client.ask("POST", "/indexed-files/search", json=body)
    assert names(answer["hits"]["hits"]) == ["a", "b", "a"]


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "KQL"},
        {"pageSize": 0},
        {"pageSize": 10_001},
        {"pageNumber": -1},
        {"filter": {"query_items": [query_item("dxr#doc_lang", "en", "text")]}},
        {"filter": {"query_items": [query_item("ds#file_name", "a", "text", match_strategy="prefix")]}},
        {"filter": []},
    ],
)
async def test_searches_that_are_not_understood_are_refused(client, change):
    status, answer = await client.ask("POST", "/indexed-files/search", json={"mode": "DXR_JSON_QUERY"} | change)
    assert status == 400
    assert answer["error"]


async def test_search_answers_are_shaped_as_elasticsearch_or_minimal(dxr, client):
    hits = await client.classified({"a": PLAIN})
    _, answer = await client.search(scan=40_001)
    assert (answer["timed_out"], answer["_shards"]["failed"], answer["hits"]["max_score"]) == (False, 0, 1.0)
    assert answer["hits"]["total"]["value"] == 1
    dxr.classifier.minimal_answers = True
    assert await client.search(scan=40_001) == (200, {"hits": {"hits": hits}})


async def test_hits_are_found_only_once_the_job_is_done(client):
    _, job = await client.submit({"a": PLAIN})
    assert await client.found(scan=40_001) == []
    # Somebody who has lost the job's id can still find its files: asking for their names moves it on.
    assert [names(await client.found(name="a")) for _ in range(2)] == [[], ["a"]]
    assert await client.states(job["id"], 1) == ["FINISHED"]


@pytest.mark.parametrize("files", [1, 2, 9, 10, 11])
async def test_duplicates_over_pages_lose_nothing(dxr, client, files):
    wanted = sorted(names(await client.classified({f"{number:02}": PLAIN for number in range(files)})))

    async def pages(sort):
        got = list[list[str]]()
        while hits := await client.found(len(got), 3, scan=40_001, sort=sort):
            got.append([hit["_id"] for hit in hits])
        return got

    everything = {hit["_id"] for hit in await client.found(scan=40_001)}
    dxr.classifier.duplicate_hits = True
    doubled = [id_ for page in await pages("_score") for id_ in page]
    assert set(doubled) == everything
    assert (len(doubled) > files) == (files > 3)
    stable = [id_ for page in await pages("_id") for id_ in page]
    assert stable == sorted(everything, reverse=True)
    assert (await client.search(0, 3, scan=40_001))[1]["hits"]["total"]["value"] == len(wanted)


@given(hits=st.integers(0, 40), size=st.integers(1, 9), duplicates=st.booleans())
def test_paging_until_a_page_is_empty_finds_everything(hits, size, duplicates):
    everything = [{"_id": number} for number in range(hits)]
    found, page = list[int](), 0
    while True:
        search = parse({"mode": "DXR_JSON_QUERY", "pageNumber": page, "pageSize": size})
        got = page_of(everything, search, duplicates=duplicates)
        assert len(got) <= size
        if not got:
            break
        found += [hit["_id"] for hit in got]
        page += 1
    assert set(found) == set(range(hits))
    assert (len(found) > hits) == (duplicates and hits > size > 1)


async def test_the_index_lags_by_hits(dxr, client):
    dxr.classifier.index_lag = 2
    assert names(await client.classified(dict.fromkeys("abc", PLAIN))) == ["b"]
    assert names(await client.found(1, 1, scan=40_001)) == []  # a further page is no further search
    assert [names(await client.found(scan=40_001)) for _ in range(2)] == [["b"], ["a", "b", "c"]]
    assert await client.classified({"d": PLAIN}, "12") == []


async def test_the_index_lags_by_tags(dxr, client):
    dxr.classifier.index_lag, dxr.classifier.lagging = 1, "tags"
    (early,) = await client.classified({"a": MAIL})
    (late,) = await client.found(scan=40_001)
    assert "dxr#tags" not in early["_source"]
    assert late["_source"]["dxr#tags"]


async def test_names_for_ids(dxr, client):
    (hit,) = await client.classified({"a": MAIL})
    tags = hit["_source"]["dxr#tags"]
    answers = [await client.ask("GET", f"/tags/{tag}") for tag in (*tags, tags[0], 1, "x")]
    assert [status for status, _ in answers] == [200, 200, 200, 404, 404]
    assert answers[1][1] == {
        "id": tags[1], "name": "Board papers", "description": "About Board papers", "hexColor": "E74C3C",
        "type": "SMART",
    }  # fmt: skip
    assert dxr.classifier.asked[f"tags/{tags[0]}"] == 2
    assert dxr.classifier.asked["names"] == 5
    assert (await client.ask("GET", f"/data-classes/{tags[0]}"))[0] == 404


async def test_older_tenants_know_names_elsewhere(dxr, client):
    dxr.classifier.names_at = ("metadata-extractors", "data-classes")
    (hit,) = await client.classified({"a": MAIL})
    (annotator,) = truth_of(MAIL).annotators
    tag = hit["_source"]["dxr#tags"][0]
    extractor = next(key.partition("#")[2] for key in hit["_source"] if key.startswith("extracted_metadata#"))
    wanted = {
        f"/tags/{tag}": None,
        f"/metadata-extractors/{tag}": "Personal data",
        f"/metadata-extractors/{extractor}": "Lines",
        f"/data-classes/{tag}": "Personal data",
        f"/data-classes/{annotator.id}": "E-mail address",
        "/v1/classifications": None,
    }
    assert {path: (await client.ask("GET", path))[1].get("name") for path in wanted} == wanted


async def test_classifications_list_all_names(dxr, client):
    before = (await client.ask("GET", "/v1/classifications"))[1]["data"]
    assert {entry["type"] for entry in before} == {"ANNOTATOR", "ANNOTATOR_DOMAIN", "LABEL", "EXTRACTOR"}
    (hit,) = await client.classified({"a": MAIL})
    after = (await client.ask("GET", "/v1/classifications"))[1]["data"]
    assert [entry["name"] for entry in after if entry not in before] == ["Board papers"]
    labels = {int(entry["id"]): entry["name"] for entry in after if entry["type"] == "LABEL"}
    assert [labels[tag] for tag in hit["_source"]["dxr#tags"]] == ["Personal data", "Board papers"]
    assert dxr.classifier.asked["classifications"] == 2
