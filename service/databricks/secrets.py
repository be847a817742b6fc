"""A value of a Databricks secret scope."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from service.errors import CredentialError, RefusedError, UpstreamError

if TYPE_CHECKING:
    from service.databricks.workspace import Workspace

_PATH = "/api/2.0/secrets/get"


async def read_secret(workspace: Workspace, scope: str, key: str) -> str:
    """The secret as text.

    Databricks may refuse this to callers outside its own notebooks and jobs (databricks-sdk, `secrets.get_secret`).
    Raises `CredentialError`, naming the file form, when it does or when there is no such secret; else what
    `Workspace.call` raises.
    """
    try:
        answer = await workspace.repeated(
            lambda: workspace.call("GET", _PATH, query={"scope": scope, "key": key}, accept=frozenset({400, 403, 404}))
        )
    except RefusedError as error:
        raise _refused("refuses it", scope, key) from error
    if answer.status == 404:
        raise _refused("has no such secret", scope, key)
    if answer.status != 200:
        raise _refused("refuses it to callers outside of its notebooks", scope, key)
    try:
        return base64.b64decode(str(answer.document()["value"]), validate=True).decode()
    except (KeyError, binascii.Error, UnicodeDecodeError) as error:
        raise UpstreamError(
            "DATABRICKS_UNAVAILABLE",
            f"The secret {scope}/{key} came without a readable value.",
            "Write it anew in Databricks, or mount the token as a file and name it in DXR_BEARER_TOKEN_FILE.",
        ) from error


def _refused(why: str, scope: str, key: str) -> CredentialError:
    return CredentialError(
        "DXR_SECRET_REFUSED",
        f"The DXR token was to come from the Databricks secret {scope}/{key}, but Databricks {why}.",
        "Mount the token as a file and name it in DXR_BEARER_TOKEN_FILE; leave DXR_TOKEN_SCOPE and DXR_TOKEN_KEY out.",
    )
