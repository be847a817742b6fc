"""Who may ask: the personal access token, the service principal, its OAuth tokens and how it comes by them."""

import base64
import binascii
from collections.abc import Mapping
from time import monotonic

from aiohttp import web

from tests.simulators.databricks.errors import ApiError, oauth_refusal
from tests.simulators.databricks.exchange import TOKEN
from tests.simulators.databricks.switches import Switches

PAT = "simulated-personal-access-token"
CLIENT_ID = "5f5e1000-0000-4000-8000-000000000000"
CLIENT_SECRET = "simulated-client-secret"  # pragma: allowlist secret
WORKSPACE_ID = "4211111111111111"
ACCOUNT_ID = "5f5e1000-0000-4000-8000-00000000acc7"
EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"


class OAuth:
    """The tokens that count, and the endpoints that lead to one."""

    def __init__(self, switches: Switches) -> None:
        self.pat_works = True
        self.issued = 0
        self._switches = switches
        self._expiries: dict[str, float] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked where; none of it needs a token."""
        return [
            web.get("/.well-known/databricks-config", self._host_metadata),
            web.get("/oidc/.well-known/oauth-authorization-server", self._endpoints),
            web.post(TOKEN, self._token),
        ]

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise `ApiError` 401 unless the request carries a token that counts."""
        token = bearer(headers)
        if token is None:
            raise ApiError(401, "Credential was not sent or was of an unsupported type for this API.")
        if token == PAT and self.pat_works:
            return
        if monotonic() >= self._expiries.get(token, 0):
            raise ApiError(401, "Token is expired or invalid.")

    def expire(self, token: str | None = None) -> None:
        """Let this token count no longer; without one, none that was issued so far."""
        if token is None:
            self._expiries.clear()
        else:
            self._expiries.pop(token, None)

    async def _host_metadata(self, request: web.Request) -> web.StreamResponse:
        oidc = f"{request.url.origin()}/oidc"
        body = {"oidc_endpoint": oidc, "account_id": ACCOUNT_ID, "workspace_id": WORKSPACE_ID, "cloud": "aws"}
        return web.json_response(body)

    async def _endpoints(self, request: web.Request) -> web.StreamResponse:
        oidc = f"{request.url.origin()}/oidc"
        body = {"issuer": oidc, "authorization_endpoint": f"{oidc}/v1/authorize", "token_endpoint": f"{oidc}/v1/token"}
        return web.json_response(body)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        if form.get("grant_type") == "client_credentials":
            if _basic(request.headers) != (CLIENT_ID, CLIENT_SECRET):
                return oauth_refusal(401, "invalid_client", "Client authentication failed")
            return self._issue()
        if form.get("grant_type") == EXCHANGE_GRANT:
            subject = (form.get("subject_token_type"), form.get("subject_token"))
            if form.get("client_id") != CLIENT_ID:
                return oauth_refusal(401, "invalid_client", "No service principal has this client id")
            if subject != (JWT, self._switches.federated_subject_token):
                return oauth_refusal(400, "invalid_grant", "No federation policy matches the subject token")
            return self._issue()
        return oauth_refusal(400, "unsupported_grant_type", "The grant type is not supported")

    def _issue(self) -> web.Response:
        self.issued += 1
        token, lifetime = f"simulated-oauth-token-{self.issued}", self._switches.token_lifetime_s
        self._expiries[token] = monotonic() + lifetime
        body = {"access_token": token, "token_type": "Bearer", "scope": "all-apis", "expires_in": int(lifetime)}
        return web.json_response(body)


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of an `Authorization: Bearer` header, or None."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _basic(headers: Mapping[str, str]) -> tuple[str, str] | None:
    scheme, _, coded = headers.get("Authorization", "").partition(" ")
    try:
        name, colon, secret = base64.b64decode(coded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, secret) if scheme.lower() == "basic" and colon else None


OAUTH = web.AppKey("oauth", OAuth)
