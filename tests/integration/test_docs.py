"""The description of the API, for machines and for people."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from service import wiring
from tests.integration.serving import FULL, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.conftest import MakeSettings
    from tests.simulators.dxr import DxrSimulator

NO_TOKEN = {"Authorization": ""}


@pytest_asyncio.fixture
async def api(dxr: DxrSimulator, make_settings: MakeSettings) -> AsyncIterator[httpx2.AsyncClient]:
    settings = make_settings(dxr_base_url=dxr.url, service_api_tokens=f"ops:{FULL}", datasets={"pii": {"query": "x"}})
    async with wiring.opened(settings) as service, served(service) as client:
        yield client


@pytest_asyncio.fixture
async def told(api: httpx2.AsyncClient) -> dict[str, Any]:
    return (await api.get("/openapi.json")).json()


def operations(told: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, one) for path, methods in told["paths"].items() for method, one in methods.items()]


async def test_every_answer_has_a_schema_an_example_that_fits_and_our_header(told: dict[str, Any]) -> None:
    assert len({one["operationId"] for _, _, one in operations(told)}) == len(operations(told)) >= 11
    for method, path, one in operations(told):
        assert one["description"], path
        for status, answer in one["responses"].items():
            assert answer["headers"]["X-Request-Id"]["required"]
            for media_type, content in answer["content"].items():
                assert media_type == "application/problem+json" or status.startswith("2"), (method, path, status)
                if media_type == "text/event-stream":
                    assert content["itemSchema"]["properties"]
                    assert content["example"].count("data: ") == content["example"].count("event: ") > 1
                    continue
                schema = {**content["schema"], "components": told["components"]}
                Draft202012Validator(schema).validate(content["example"])
    started = told["paths"]["/v1/snapshots"]["post"]["responses"]
    assert set(started) >= {"202", "400", "401", "403", "409", "413", "415", "422", "429", "431", "500", "503"}
    assert started["202"]["headers"]["Location"]["required"]
    assert started["429"]["headers"]["Retry-After"]["required"]
    assert started["401"]["headers"]["WWW-Authenticate"]["required"]


async def test_what_is_described_as_secured_is(api: httpx2.AsyncClient, told: dict[str, Any]) -> None:
    for method, path, one in operations(told):
        answer = await api.request(method, path.replace("{run_id}", "x"), headers=NO_TOKEN)
        assert (answer.status_code == 401) == bool(one.get("security")) == ("401" in one["responses"]), path
    assert told["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({}, True),
        ({"dataset": None, "record_cap": 5, "ingestion_date": "2026-11-22", "accept_shrunken": True}, True),
        ({"dataset": "pii"}, True),
        ({"dataset": "own", "query": "size > 1"}, True),
        ({"dataset": "own"}, False),
        ({"dataset": "pii", "query": "size > 1"}, False),
        ({"query": "size > 1"}, False),
        ({"dataset": "dxr_metadata", "query": "size > 1"}, False),
        ({"dataset": "dxr_quarantine", "query": "size > 1"}, False),
        ({"record_cap": 0}, False),
        ({"unknown": 1}, False),
    ],
)
async def test_the_description_takes_what_the_service_takes(
    api: httpx2.AsyncClient, told: dict[str, Any], body: dict[str, Any], fits: bool
) -> None:
    schema = {"$ref": "#/components/schemas/SnapshotBody", "components": told["components"]}
    assert Draft202012Validator(schema).is_valid(body) == fits
    assert (await api.post("/v1/snapshots", json=body)).status_code == (202 if fits else 422)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


async def test_the_page_needs_no_script_and_nothing_from_elsewhere(
    api: httpx2.AsyncClient, told: dict[str, Any]
) -> None:
    answer = await api.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    tags = Tags()
    tags.feed(answer.text)
    assert {tag for tag, _ in tags.seen}.isdisjoint({"script", "style", "iframe", "img", "object", "form"})
    for _, attributes in tags.seen:
        assert not {name for name in attributes if name.startswith("on")} | ({"style"} & set(attributes))
    linked = {attributes["href"] for _, attributes in tags.seen if "href" in attributes}
    assert linked == {"/docs.css", "/openapi.json"}
    assert (await api.get("/docs.css")).headers["content-type"].startswith("text/css")
    for _, path, _ in operations(told):
        assert f" {path}</code>" in answer.text


async def test_pages_are_open_when_that_is_asked_for(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    settings = make_settings(dxr_base_url=dxr.url, service_api_tokens=f"ops:{FULL}", service_open_pages=True)
    async with wiring.opened(settings) as service, served(service) as api:
        for path in ("/metrics", "/openapi.json", "/docs", "/docs.css"):
            assert (await api.get(path, headers=NO_TOKEN)).status_code == 200
        paths = (await api.get("/openapi.json")).json()["paths"]
        assert "security" not in paths["/metrics"]["get"]
        assert "security" in paths["/v1/runs"]["get"]
        assert (await api.get("/v1/runs", headers=NO_TOKEN)).status_code == 401
