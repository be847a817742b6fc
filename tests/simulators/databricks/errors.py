"""Refusals in the two forms that a workspace knows: that of its APIs, and that of OAuth for the token endpoint."""

from typing import Any

from aiohttp import web

ERROR_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    416: "OUT_OF_RANGE",
    429: "REQUEST_LIMIT_EXCEEDED",
    499: "CANCELLED",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class ApiError(Exception):
    """Raised anywhere below a handler, it becomes the answer; `reason` is what a client can tell cases apart by."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_code: str | None = None,
        reason: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_code = error_code or ERROR_CODES.get(status, "UNKNOWN")
        self.reason = reason
        self.headers = headers

    def response(self, method: str) -> web.Response:
        """Return the answer: a JSON object, or to HEAD the status alone."""
        if method == "HEAD":
            return web.Response(status=self.status, headers={"Content-Length": "0"} | (self.headers or {}))
        body = {"error_code": self.error_code, "message": self.message, "details": self._details()}
        return web.json_response(body, status=self.status, headers=self.headers)

    def _details(self) -> list[dict[str, Any]]:
        if self.reason is None:
            return []
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        return [{"@type": kind, "reason": self.reason, "domain": "filesystem.databricks.com", "metadata": {}}]


def oauth_refusal(status: int, error: str, description: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return an error as a token endpoint sends it."""
    body = {"error": error, "error_description": description}
    return web.json_response(body, status=status, headers=headers)
