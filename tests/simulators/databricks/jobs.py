"""Runs of jobs: started once for each idempotency token, and looked up."""

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.simulators.databricks.errors import ApiError
from tests.simulators.databricks.exchange import EXCHANGE
from tests.simulators.databricks.switches import Switches

TOKEN_CHARS_MAX = 64


@dataclass(slots=True)
class JobRun:
    """A run that was started; a test may set its state, which is that of a success from the beginning."""

    run_id: int
    job_id: int
    idempotency_token: str | None
    job_parameters: dict[str, str] = field(default_factory=dict)
    life_cycle_state: str = "TERMINATED"
    result_state: str | None = "SUCCESS"

    def described(self) -> dict[str, Any]:
        """Return the run as the API shows it."""
        state = {"life_cycle_state": self.life_cycle_state}
        if self.result_state is not None:
            state["result_state"] = self.result_state
        shown = [{"name": name, "value": value} for name, value in self.job_parameters.items()]
        return {"run_id": self.run_id, "job_id": self.job_id, "state": state, "job_parameters": shown}


class Jobs:
    """Every job exists, except those that the switches call missing."""

    def __init__(self, switches: Switches) -> None:
        self.runs: list[JobRun] = []
        self._switches = switches

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked where."""
        return [
            web.post("/api/2.2/jobs/run-now", self._run_now),
            web.get("/api/2.2/jobs/runs/get", self._get_run),
        ]

    async def _run_now(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        request[EXCHANGE].record.body_bytes = len(raw)
        try:
            body = json.loads(raw)
            job_id, token = int(body["job_id"]), body.get("idempotency_token") or None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ApiError(400, "A run needs a job_id.", error_code="MALFORMED_REQUEST") from None
        if token is not None and len(token) > TOKEN_CHARS_MAX:
            raise _invalid(f"idempotency_token has more than {TOKEN_CHARS_MAX} characters.")
        if job_id in self._switches.missing_jobs:
            raise _invalid(f"Job {job_id} does not exist.")
        run = next((run for run in self.runs if token is not None and run.idempotency_token == token), None)
        if run is None:
            run = JobRun(len(self.runs) + 1, job_id, token, body.get("job_parameters") or {})
            self.runs.append(run)
        return web.json_response({"run_id": run.run_id, "number_in_job": run.run_id})

    async def _get_run(self, request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("run_id", "")
        for run in self.runs:
            if str(run.run_id) == wanted:
                return web.json_response(run.described())
        raise _invalid(f"Run {wanted} does not exist.")


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, error_code="INVALID_PARAMETER_VALUE")
