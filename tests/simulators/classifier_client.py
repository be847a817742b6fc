"""A client of the classifier that decides nothing: one request per call, status and document as they came."""

from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.simulators.dxr import DxrSimulator

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asking:
    """Speaks to one tenant; every method returns the status and the JSON document."""

    dxr: DxrSimulator
    session: aiohttp.ClientSession

    async def submit(self, files: dict[str, bytes], datasource_id: str = "11") -> tuple[int, Any]:
        """Submit files by upload name."""
        form = aiohttp.FormData()
        for name, content in files.items():
            form.add_field("files", content, filename=name, content_type="application/octet-stream")
        return await self.ask("POST", f"/on-demand-classifiers/{datasource_id}/jobs", data=form)

    async def poll(self, job_id: Any, datasource_id: str = "11") -> tuple[int, Any]:
        """Ask for a job."""
        return await self.ask("GET", f"/on-demand-classifiers/{datasource_id}/jobs/{job_id}")

    async def states(self, job_id: Any, polls: int, datasource_id: str = "11") -> list[str]:
        """Poll so often; a status that is no 200 stands for itself."""
        answers = [await self.poll(job_id, datasource_id) for _ in range(polls)]
        return [body["state"] if status == 200 else str(status) for status, body in answers]

    async def search(self, page: int = 0, size: int = 100, *, sort: str = "_score", **wanted: Any) -> tuple[int, Any]:
        """Search by `scan` or `name` (or both), among `datasources` if given."""
        items = [query_item("dxr#datasource_scan_id", wanted["scan"], "number")] if "scan" in wanted else []
        items += [query_item("ds#file_name", wanted["name"], "text")] if "name" in wanted else []
        body = {
            "mode": "DXR_JSON_QUERY",
            "datasourceIds": wanted.get("datasources", []),
            "pageNumber": page,
            "pageSize": size,
            "filter": {"query_items": items},
            "sort": [{"property": sort, "order": "DESCENDING"}],
        }
        return await self.ask("POST", "/indexed-files/search", json=body)

    async def found(self, page: int = 0, size: int = 100, **wanted: Any) -> list[Json]:
        """Return the hits of a search that works."""
        status, body = await self.search(page, size, **wanted)
        assert status == 200, body
        return body["hits"]["hits"]

    async def classified(self, files: dict[str, bytes], datasource_id: str = "11") -> list[Json]:
        """Submit, poll until the job should be done, and return its hits."""
        _, job = await self.submit(files, datasource_id)
        for _ in range(self.dxr.classifier.polls_until_done):
            _, job = await self.poll(job["id"], datasource_id)
        return await self.found(scan=job["datasourceScanId"])

    async def ask(self, method: str, path: str, **body: Any) -> tuple[int, Any]:
        """Send one request below the API's prefix."""
        url = self.dxr.url + self.dxr.classifier.api_prefix + path
        async with self.session.request(method, url, **body) as answer:
            return answer.status, await answer.json()


def query_item(parameter: str, value: Any, kind: str, **others: Any) -> Json:
    """Write a condition of a search."""
    item = {"parameter": parameter, "value": value, "type": kind, "match_strategy": "exact", "operator": "AND"}
    return item | {"group_id": 0, "group_order": 0} | others


def names(hits: list[Json]) -> list[str]:
    """The upload names of hits."""
    return [hit["_source"]["ds#file_name"] for hit in hits]
