"""The token: read once, read again when it is refused, never shown, never sent when it cannot be one."""

from __future__ import annotations

import pytest

from service.dxr.token import BearerToken
from service.errors import ConfigurationError


def token(*values: str) -> BearerToken:
    left = iter(values)

    async def fetch() -> str:
        return next(left)

    return BearerToken("DXR_BEARER_TOKEN_FILE", fetch)


async def test_it_is_kept_until_it_is_refused() -> None:
    kept = token(" first\n", "second", "second")
    assert [await kept.read(), await kept.read()] == ["first", "first"]
    assert await kept.reread()
    assert await kept.read() == "second"
    assert not await kept.reread()


@pytest.mark.parametrize("value", ["", " \n", "two words", "a\tb", "a\r\nX-Evil: 1", "a\0", "ä", "\u2028", "\x7f"])
async def test_what_is_no_token_is_named_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigurationError, match="DXR_BEARER_TOKEN_FILE") as caught:
        await token(value).read()
    assert value.strip() == "" or value not in caught.value.message + caught.value.hint
