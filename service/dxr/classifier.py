"""The On-Demand Classifier: jobs, and the search that gives their results (fact sheet, section 2)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

from service.dxr.jobs import Job, parse_job
from service.errors import RefusedError, UpstreamError

if TYPE_CHECKING:
    from service.dxr.session import DxrSession
    from service.dxr.uploads import MultipartBody

PAGE_HITS: Final = 100
_PAGES_MAX: Final = 1000
SCAN_ID: Final = "dxr#datasource_scan_id"
FILE_NAME: Final = "ds#file_name"


class Classifier:
    """Speaks for one tenant; `prefix` is `DXR_API_PREFIX`. All methods raise the errors of `service.errors`."""

    def __init__(self, session: DxrSession, prefix: str) -> None:
        self._session = session
        self._prefix = prefix.rstrip("/")

    async def submit(self, datasource_id: str, body: MultipartBody) -> Job:
        """A new job over the files of `body`. Not idempotent: after an error it may exist all the same."""
        answer = await self._session.upload(self._jobs(datasource_id), body.pieces(), body.headers)
        if answer is None:
            raise RefusedError(
                "DXR_REJECTED",
                f"DXR knows no datasource {datasource_id} that takes files (404).",
                "Check DXR_DATASOURCE_ID and DXR_API_PREFIX.",
            )
        job = parse_job(answer)
        if job.job_id is None:
            raise UpstreamError(
                "DXR_UNAVAILABLE",
                "DXR took files without naming their job.",
                "Check DXR_API_PREFIX and what stands between this service and DXR, then start it again.",
            )
        return job

    async def poll(self, datasource_id: str, job_id: str) -> Job | None:
        """What DXR says of the job; None when it knows no such job."""
        answer = await self._session.call("GET", f"{self._jobs(datasource_id)}/{quote(job_id, safe='')}")
        return None if answer is None else parse_job(answer)

    async def is_idle(self, datasource_id: str) -> bool | None:
        """Whether the datasource works on nothing; None where the deployment does not say."""
        path = f"{self._prefix}/datasources/ingester/{datasource_id}/index/status"
        answer = _object(await self._session.call("GET", path))
        items = answer.get("items")
        if not isinstance(items, list) or not items:
            return None
        return not any(_object(item).get("crawl_active") for item in cast("list[object]", items))

    async def hits_of_scan(self, scan_id: int) -> list[dict[str, Any]]:
        """Every hit of a job's scan that the index has by now, each once."""
        return await self._search(SCAN_ID, scan_id, "number")

    async def hits_of_name(self, upload_name: str) -> list[dict[str, Any]]:
        """Every hit of a file by the unique name that it was uploaded under."""
        return await self._search(FILE_NAME, upload_name, "text")

    async def _search(self, parameter: str, value: str | int, kind: str) -> list[dict[str, Any]]:
        # Sorting by score is no stable order across pages: a hit may come twice, so hits are told apart by `_id`.
        found: dict[str, dict[str, Any]] = {}
        for page in range(_PAGES_MAX):
            body = json.dumps(_query(parameter, value, kind, page)).encode()
            answer = await self._session.call("POST", f"{self._prefix}/indexed-files/search", body)
            outer = _object(_object(answer).get("hits"))
            hits = outer.get("hits")
            if not isinstance(hits, list):
                raise UpstreamError(
                    "DXR_UNAVAILABLE", "DXR answered a search without hits.", "Check DXR_API_PREFIX and the instance."
                )
            known = len(found)
            for hit in map(_object, cast("list[object]", hits)):
                found.setdefault(json.dumps(hit.get("_id") or hit), hit)
            if len(found) == known:
                break  # the end, or a deployment that knows no pages
        return list(found.values())

    def _jobs(self, datasource_id: str) -> str:
        return f"{self._prefix}/on-demand-classifiers/{datasource_id}/jobs"


def _query(parameter: str, value: str | int, kind: str, page: int) -> dict[str, Any]:
    item = {
        "parameter": parameter,
        "value": value,
        "type": kind,
        "match_strategy": "exact",
        "operator": "AND",
        "group_id": 0,
        "group_order": 0,
    }
    return {
        "mode": "DXR_JSON_QUERY",
        "datasourceIds": [],
        "pageNumber": page,
        "pageSize": PAGE_HITS,
        "filter": {"query_items": [item]},
        "sort": [{"property": "_score", "order": "DESCENDING"}],
        "refreshIndex": True,
    }


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
