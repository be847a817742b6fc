"""What a partner over HTTP may answer or break with: every error is mapped, every `Retry-After` is bounded."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.databricks.workspace import DATABRICKS
from service.dxr.body import DXR
from service.errors import DxrIngestError, UpstreamError, exit_code
from service.retrying import Retrying
from service.upstream import Partner, mapped_errors, retry_after_s

YEAR_S = 366 * 24 * 3600


def below(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*map(below, kind.__subclasses__()))


@pytest.mark.parametrize("partner", [DXR, DATABRICKS], ids=lambda partner: partner.name)
@pytest.mark.parametrize("kind", sorted(below(aiohttp.ClientError), key=lambda kind: kind.__name__))
def test_every_error_of_aiohttp_becomes_one_of_ours(kind: type[BaseException], partner: Partner) -> None:
    error = kind.__new__(kind)
    for name, value in {"status": 502, "message": "x", "headers": None, "args": ("x",)}.items():
        setattr(error, name, value)
    with pytest.raises(DxrIngestError) as caught, mapped_errors(partner):
        raise error
    assert caught.value.hint
    assert caught.value.code.startswith((f"{partner.codes}_", partner.cut, "CONFIGURATION"))
    assert exit_code(caught.value.code) in {3, 5}


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "x"), BrokenPipeError(32, "x"), socket.gaierror(-2, "x"), ssl.SSLError(1, "x")]
)
def test_errors_of_the_system_do_too(error: OSError) -> None:
    with pytest.raises(UpstreamError) as caught, mapped_errors(DXR):
        raise error
    assert caught.value.code == "DXR_UNREACHABLE"


@given(st.none() | st.text() | st.integers().map(str) | st.floats().map(str))
def test_any_retry_after_is_none_or_a_bounded_number(header: str | None) -> None:
    wait_s = retry_after_s(header)
    assert wait_s is None or 0 <= wait_s <= YEAR_S


DATES = st.tuples(
    st.integers(0, 40).map(str),
    st.sampled_from(["Jan", "Feb", "Foo", "13"]),
    st.integers(0, 100_000).map(str),
    st.sampled_from(["00:00:00", "23:59:60", "99:99", ""]),
    st.sampled_from(["GMT", "+9999", "-0000", "", "CET"]),
).map(" ".join)


@given(DATES)
def test_any_date_is_none_or_a_bounded_number(date: str) -> None:
    wait_s = retry_after_s(f"Wed, {date}")
    assert wait_s is None or 0 <= wait_s <= YEAR_S


def waits(retry_after: float | None, wait_s_max: float) -> set[Any]:
    retrying = Retrying(5, wait_s_max, lambda _: None)
    error = UpstreamError("DXR_THROTTLED", "slow down", retry_after_s=retry_after)
    return {retrying.decide(error) for _ in range(100)}


def test_a_pause_that_is_asked_for_is_kept_with_jitter_so_that_lanes_do_not_come_back_together() -> None:
    found = waits(7.0, 60.0)
    assert len(found) > 50
    assert all(7 <= wait_s <= 8 for wait_s in found)


def test_a_pause_that_is_asked_for_is_capped() -> None:
    assert waits(86_400.0, 60.0) == {60.0}
    assert all(wait_s <= 7.2 for wait_s in waits(7.0, 7.2))


def test_no_pause_or_none_at_all_waits_longer_from_try_to_try() -> None:
    assert waits(None, 60.0) == waits(0.0, 60.0) == {True}
