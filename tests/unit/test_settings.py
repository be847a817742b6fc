"""Settings: one order of sources, errors that name the variable, secrets that never show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.settings import ClientSettings, Settings, StoreSettings, load, masked

NEEDED = {"DXR_BASE_URL": "https://dxr.example", "LANDING_PATH": "/landing"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_all(**values: str) -> None:
        for name, value in (NEEDED | values).items():
            monkeypatch.setenv(name, value)

    return set_all


def test_defaults_are_those_of_the_contract(environment: Any) -> None:
    environment()
    settings = load(Settings)
    assert settings.dxr_http_timeout == 120
    assert settings.dxr_retry_attempts == 5
    assert settings.dxr_max_row_bytes == settings.landing_chunk_bytes == 64 * 2**20
    assert (settings.service_host, settings.service_port) == ("127.0.0.1", 8080)
    assert settings.snapshot_dataset == "file_metadata"
    assert settings.store_url == "sqlite+aiosqlite:///.dxr-ingest/runs.sqlite"


def test_flags_come_before_the_environment_before_dotenv_before_yaml(environment: Any) -> None:
    Path("dxr-ingest.yaml").write_text("dxr_query: yaml\nservice_port: 1\nlog_level: error\ndxr_record_cap: 1\n")
    # pragma: allowlist nextline secret
    Path(".env").write_text("DXR_QUERY=dotenv\nSERVICE_PORT=2\nLOG_LEVEL=warning\nSOMEBODY_ELSES=1\n")
    environment(DXR_QUERY="environment", SERVICE_PORT="3")
    settings = load(Settings, {"dxr_query": "flag", "service_port": None})
    found = (settings.dxr_query, settings.service_port, settings.log_level, settings.dxr_record_cap)
    assert found == ("flag", 3, "warning", 1)


def test_every_missing_or_wrong_variable_is_named_with_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDING_CHUNK_BYTES", "12 parsecs")
    monkeypatch.setenv("DXR_RETRY_ATTEMPTS", "0")
    with pytest.raises(ConfigurationError) as caught:
        load(Settings)
    message = caught.value.message
    for part in ("DXR_BASE_URL is not set", "LANDING_PATH is not set", "LANDING_CHUNK_BYTES is '12 parsecs'", "64MiB"):
        assert part in message
    assert "DXR_RETRY_ATTEMPTS is '0': Input should be greater than or equal to 1" in message


@pytest.mark.parametrize(
    ("text", "size"), [("10", 10), ("30MB", 30_000_000), ("64MiB", 64 * 2**20), ("1 MiB", 2**20), ("5kB", 5000)]
)
def test_sizes(environment: Any, text: str, size: int) -> None:
    environment(LANDING_CHUNK_BYTES=text)
    assert load(Settings).landing_chunk_bytes == size


def test_name_file_is_read_and_never_beside_the_name(environment: Any, tmp_path: Path) -> None:
    file = tmp_path / "query"
    file.write_text("size > 1\n")
    environment(DXR_QUERY_FILE=str(file))
    assert load(Settings).dxr_query == "size > 1"
    environment(DXR_QUERY="other")
    with pytest.raises(ConfigurationError, match="DXR_QUERY and DXR_QUERY_FILE are both set"):
        load(Settings)


def test_the_token_comes_from_its_value_or_its_file(environment: Any) -> None:
    environment(DXR_BEARER_TOKEN="a", DXR_BEARER_TOKEN_FILE="b")
    with pytest.raises(ConfigurationError, match="DXR_BEARER_TOKEN and DXR_BEARER_TOKEN_FILE are both set"):
        load(Settings)


def test_a_file_that_is_missing_is_named(environment: Any) -> None:
    environment(DXR_QUERY_FILE="/nowhere/query")
    with pytest.raises(ConfigurationError, match=r"DXR_QUERY_FILE names /nowhere/query"):
        load(Settings)


def test_unknown_keys_of_the_yaml_file_are_refused(environment: Any) -> None:
    environment()
    Path("dxr-ingest.yaml").write_text("dxr_qery: x\n")
    with pytest.raises(ConfigurationError, match="dxr_qery is no setting"):
        load(Settings)


def test_another_yaml_file_can_be_named(environment: Any, tmp_path: Path) -> None:
    environment()
    file = tmp_path / "other.yaml"
    file.write_text("datasets:\n  pii: {query: 'annotators.domain.name:\"PII\"'}\n")
    settings = load(Settings, config=file)
    assert settings.query_of("pii") == 'annotators.domain.name:"PII"'
    assert settings.knows("pii")
    assert not settings.knows("other")
    with pytest.raises(ConfigurationError, match="which is no file"):
        load(Settings, config=tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["datasets: [", "\x00"])
def test_a_yaml_file_that_is_none_is_an_error(environment: Any, text: str) -> None:
    environment()
    Path("dxr-ingest.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(Settings)


@pytest.mark.parametrize("name", ["dxr_quarantine", "dxr_ingest_log", "dxr_metadata"])
def test_names_of_other_tables_are_no_datasets(environment: Any, name: str) -> None:
    environment(SNAPSHOT_DATASET=name)
    with pytest.raises(ConfigurationError, match="name of another table"):
        load(Settings)


# pragma: allowlist nextline secret
@pytest.mark.parametrize("url", ["dxr.example", "ftp://x", "https://user:pass@x", "https://x?q=1"])
def test_the_base_address_is_checked(environment: Any, url: str) -> None:
    environment(DXR_BASE_URL=url)
    with pytest.raises(ConfigurationError, match="DXR_BASE_URL"):
        load(Settings)


def test_secrets_never_show(environment: Any) -> None:
    environment(DXR_BEARER_TOKEN="hush-1", SERVICE_API_TOKENS="ops:hush-2", DATABASE_URL="sqlite+aiosqlite:///hush-3")
    settings = load(Settings)
    for shown in (repr(settings), str(settings), json.dumps(masked(settings))):
        assert "hush" not in shown
    environment(SERVICE_API_TOKENS_FILE="x")
    with pytest.raises(ConfigurationError) as caught:
        load(Settings)
    assert "hush" not in caught.value.message + caught.value.hint


def test_reading_commands_need_no_tenant(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIR", "/state")
    assert load(StoreSettings).state_dir == Path("/state")
    assert load(ClientSettings, {"service_url": "http://x/"}).service_url == "http://x"


@pytest.mark.parametrize(
    ("given", "used", "file_based"),
    [
        ("postgresql://u@h/db?sslmode=require", "postgresql+asyncpg://u@h/db?ssl=require", False),
        ("postgres://u@h/db", "postgresql+asyncpg://u@h/db", False),
        ("postgresql+asyncpg://u@h/db", "postgresql+asyncpg://u@h/db", False),
        ("sqlite:////var/lib/x/runs.sqlite", "sqlite+aiosqlite:////var/lib/x/runs.sqlite", True),
    ],
)
def test_the_store_is_reached_by_the_driver_that_is_installed(
    environment: Any, given: str, used: str, file_based: bool
) -> None:
    environment(DATABASE_URL=given)
    settings = load(Settings)
    assert settings.store_url == used
    assert settings.sqlite_folder == (Path("/var/lib/x") if file_based else None)


@pytest.mark.parametrize(
    ("path", "volume"),
    [
        ("/Volumes/main/dxr/landing", "/Volumes/main/dxr/landing"),
        ("dbfs:/Volumes/main/dxr/landing/below", "/Volumes/main/dxr/landing/below"),
        ("/Volumes-of-mine/a", None),
        ("landing", None),
    ],
)
def test_a_landing_below_volumes_is_one(environment: Any, path: str, volume: str | None) -> None:
    environment(LANDING_PATH=path)
    assert load(Settings).landing_volume == volume


@pytest.mark.parametrize("path", ["/Volumes", "/Volumes/main/dxr", "/Volumes/main/../x/y", "dbfs:/Volumes/a/b"])
def test_a_place_that_is_in_no_volume_is_refused(environment: Any, path: str) -> None:
    environment(LANDING_PATH=path)
    with pytest.raises(ConfigurationError, match="no place in a Unity Catalog volume"):
        load(Settings)


def test_the_secret_with_the_dxr_token_has_two_names(environment: Any) -> None:
    environment(DXR_SECRET_SCOPE="scope", DXR_SECRET_KEY="key")  # pragma: allowlist secret
    assert load(Settings).dxr_secret == ("scope", "key")
    environment(DXR_TOKEN_SCOPE="scope", DXR_TOKEN_KEY="key")
    assert load(Settings).dxr_secret == ("scope", "key")
    environment(DXR_TOKEN_KEY="another")
    with pytest.raises(ConfigurationError, match="name different secrets"):
        load(Settings)
    environment(DXR_TOKEN_KEY="")
    with pytest.raises(ConfigurationError, match="DXR_TOKEN_KEY is not set"):
        load(Settings)
