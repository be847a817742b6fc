"""What DXR and Databricks have in common as partners over HTTP: proxies, `Retry-After`, and what aiohttp raises."""

from __future__ import annotations

import contextlib
import email.utils
import re
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp

from service.errors import ConfigurationError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Generator

    from yarl import URL

CONNECT_TIMEOUT_S: Final = 30.0
# Whoever asks for more than a year means "never"; the number is only shown.
_RETRY_AFTER_S_MAX: Final = 366 * 24 * 3600.0
_SECONDS: Final = re.compile(r"\s*[0-9]+(\.[0-9]+)?\s*")


@dataclass(frozen=True, slots=True)
class Partner:
    """How messages name the other side, and which settings a person has to look at."""

    name: str
    codes: str
    address: str
    trust: str
    cut: str


def proxy_of(url: URL) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY mean. Not `trust_env`, which would read ~/.netrc too."""
    if not url.host or urllib.request.proxy_bypass(url.host):
        return None
    return urllib.request.getproxies().get(url.scheme)


def retry_after_s(header: str | None) -> float | None:
    """Seconds of a `Retry-After` header, a number or a date (RFC 9110); None when there is none that makes sense."""
    if header is None:
        return None
    if _SECONDS.fullmatch(header):
        return min(float(header), _RETRY_AFTER_S_MAX)
    try:
        moment = email.utils.parsedate_to_datetime(header)
        wait_s = (moment - email.utils.localtime()).total_seconds() if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return None if wait_s is None else min(max(0.0, wait_s), _RETRY_AFTER_S_MAX)


@contextlib.contextmanager
def mapped_errors(partner: Partner) -> Generator[None]:
    """The one place where errors of aiohttp become ours; a test holds it to be complete."""
    name, codes, address = partner.name, partner.codes, partner.address
    look = f"Check {address}, the network policy and proxies."
    try:
        yield
    except aiohttp.ClientConnectorDNSError as error:
        raise UpstreamError(
            f"{codes}_DNS",
            f"The host of {address} is not found (DNS).",
            f"Check {address} and the cluster's name service.",
        ) from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
        raise ConfigurationError(
            f"The TLS certificate of {name} is not trusted or the TLS handshake failed.",
            partner.trust,
            code=f"{codes}_TLS",
        ) from error
    except aiohttp.ClientHttpProxyError as error:
        raise UpstreamError(
            f"{codes}_UNREACHABLE", f"The proxy does not connect to {name} (status {error.status}).", look
        ) from error
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
        raise UpstreamError(f"{codes}_UNREACHABLE", f"{name} cannot be reached.", look) from error
    except aiohttp.InvalidURL as error:
        raise ConfigurationError(f"{address} is not an address.", "Write it as https://host[:port].") from error
    except aiohttp.ClientError as error:
        raise UpstreamError(
            partner.cut,
            f"The answer of {name} broke off or is malformed ({type(error).__name__}).",
            "Look for what breaks connections (a proxy, a restart), then start it again.",
        ) from error
    except (ConnectionError, OSError) as error:
        raise UpstreamError(f"{codes}_UNREACHABLE", f"The connection to {name} failed.", look) from error
