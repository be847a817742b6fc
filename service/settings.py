"""Every setting of the service, once: typed, frozen, secrets masked. No other module reads the environment.

Order: flags > environment > `.env` > `dxr-ingest.yaml` > default; each variable also as `NAME_FILE`. The Spark job has
its own page, `spark_jobs/settings.py`.
"""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - pydantic reads the annotations at run time
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, cast

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource
from yarl import URL

from service import __version__
from service.errors import ConfigurationError
from service.landing.layout import DATASET_PATTERN, RESERVED_DATASETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

YAML_FILE: Final = "dxr-ingest.yaml"
TOKEN_CHARS_MIN: Final = 32
# Where Databricks itself shows volumes.
VOLUMES: Final = Path("/Volumes")

_SIZE: Final = re.compile(r"^(\d+)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?$")
_UNITS: Final = {
    None: 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}


def _size(value: object) -> object:
    if isinstance(value, str):
        match = _SIZE.match(value.strip())
        if not match:
            raise ValueError("write a size in bytes, or with a unit: 64MiB (2^20) or 30MB (10^6)")
        return int(match[1]) * _UNITS[match[2]]
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _http_url(value: str) -> str:
    try:
        url = URL(value)
    except ValueError as error:
        raise ValueError("write it as https://host[:port]") from error
    if url.scheme not in {"http", "https"} or not url.host or url.user or url.query_string:
        raise ValueError("write it as https://host[:port], without credentials or query")
    return value.rstrip("/")


def _existing_file(value: Path) -> Path:
    if not value.is_file():
        raise ValueError("no such file")
    return value


_VOLUME: Final = re.compile(r"/Volumes(/(?!\.\.?(/|$))[^/\x00-\x1f]{1,255}){3,}")
_DRIVERS: Final = {
    "postgresql://": "postgresql+asyncpg://",
    "postgres://": "postgresql+asyncpg://",
    "sqlite:///": "sqlite+aiosqlite:///",
}
# The Spark job refuses stored chunks above this size; a row is held in memory.
SIZE_MAX: Final = 512 * 2**20

Size = Annotated[int, BeforeValidator(_size), Field(gt=0, le=SIZE_MAX)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
UcName = Annotated[str, Field(pattern=r"^[^/\x00-\x1f]{1,255}$")]
DatasetName = Annotated[str, Field(pattern=DATASET_PATTERN)]


class Dataset(BaseModel):
    """A snapshot dataset of the YAML file: its own query gives it its own table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str | None = None


class StoreSettings(BaseSettings):
    """What is needed to read the run store."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_file=".env",
        env_ignore_empty=True,
        yaml_file=YAML_FILE,
        hide_input_in_errors=True,
    )

    state_dir: Annotated[Path, Field(description="folder of the run store and its lock")] = Path(".dxr-ingest")
    database_url: Annotated[SecretStr | None, Field(description="run store; default: SQLite in STATE_DIR")] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(_lower), Field(description="how much is logged")
    ] = "info"

    @property
    def store_url(self) -> str:
        """The SQLAlchemy address of the run store, with the driver that is installed."""
        if not self.database_url:
            return f"sqlite+aiosqlite:///{self.state_dir / 'runs.sqlite'}"
        url = self.database_url.get_secret_value()
        for given, driver in _DRIVERS.items():
            if url.startswith(given):
                # libpq's name of the setting, which people copy from elsewhere, is not that of asyncpg
                return (driver + url.removeprefix(given)).replace("sslmode=", "ssl=")
        return url

    @property
    def sqlite_folder(self) -> Path | None:
        """Where SQLite's file lies, which belongs to one executing process; None for PostgreSQL."""
        if not self.store_url.startswith("sqlite"):
            return None
        return Path(self.store_url.partition("///")[2].partition("?")[0]).parent

    @property
    def has_store(self) -> bool:
        """Whether there has been a run: SQLite's file is made by the first one."""
        return self.database_url is not None or (self.state_dir / "runs.sqlite").exists()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - given by pydantic-settings
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of docs/configuration.md."""
        yaml = YamlConfigSettingsSource(settings_cls)
        return (
            init_settings,
            env_settings,
            _FileVariables(settings_cls),
            _KnownOnly(settings_cls, dotenv_settings),
            yaml,
        )


class ClientSettings(StoreSettings):
    """What the command line needs to work through a running service (`--server`)."""

    service_url: Annotated[HttpUrl | None, Field(description="address of a running service, for --server")] = None
    service_token: Annotated[SecretStr | None, Field(description="its API token")] = None


class Settings(ClientSettings):
    """Everything that `serve`, `snapshot` and `classify` need."""

    model_config = SettingsConfigDict(extra="forbid")

    dxr_base_url: Annotated[HttpUrl, Field(description="address of the Data X-Ray tenant")]
    dxr_bearer_token: Annotated[SecretStr | None, Field(description="DXR token")] = None
    dxr_bearer_token_file: Annotated[
        Path | None, Field(description="file with the DXR token; read again when DXR answers 401 or 403")
    ] = None
    dxr_token_scope: Annotated[str | None, Field(description="Databricks secret scope with the DXR token")] = None
    dxr_token_key: Annotated[str | None, Field(description="key of the DXR token in that scope")] = None
    dxr_secret_scope: Annotated[str | None, Field(description="another name of DXR_TOKEN_SCOPE")] = None
    dxr_secret_key: Annotated[str | None, Field(description="another name of DXR_TOKEN_KEY")] = None
    dxr_verify_ssl: Annotated[bool, Field(description="verify DXR's certificate; false is for tests only")] = True
    dxr_ca_bundle_path: Annotated[
        Annotated[Path, AfterValidator(_existing_file)] | None, Field(description="CA bundle for DXR's certificate")
    ] = None
    dxr_http_timeout: Annotated[
        float, Field(gt=0, description="seconds without a whole row, then the attempt ends")
    ] = 120
    dxr_user_agent: Annotated[str, Field(min_length=1, pattern=r"^[ -~]+$", description="User-Agent header")] = (
        f"dxr-ingest/{__version__}"
    )
    dxr_retry_attempts: Annotated[int, Field(ge=1, le=100, description="attempts of a run in all")] = 5
    dxr_retry_max_wait_seconds: Annotated[float, Field(ge=0, description="longest wait between two attempts")] = 60
    dxr_max_row_bytes: Annotated[Size, Field(description="a longer line is rejected, with its hash")] = 64 * 2**20
    dxr_accept_unproven_streams: Annotated[
        bool, Field(description="land answers whose end cannot be told from a cut, flagged")
    ] = False

    snapshot_dataset: Annotated[DatasetName, Field(description="dataset of a snapshot without a name")] = (
        "file_metadata"
    )
    dxr_query: Annotated[str | None, Field(description="KQL filter of SNAPSHOT_DATASET")] = None
    dxr_record_cap: Annotated[int | None, Field(ge=1, description="stop after so many rows")] = None
    dxr_ingestion_date: Annotated[
        dt.date | None, Field(description="date of the snapshot; default: the UTC date of the trigger")
    ] = None
    snapshot_allow_empty: Annotated[bool, Field(description="let 0 rows replace a snapshot that had some")] = False
    snapshot_min_rows_ratio: Annotated[
        float, Field(ge=0, le=1, description="fewer rows than this share of the snapshot before are held back")
    ] = 0.5
    datasets: Annotated[dict[DatasetName, Dataset], Field(description="more snapshot datasets")] = {}
    classification_dataset: Annotated[DatasetName, Field(description="dataset of the classifications")] = "dxr_metadata"
    volume_catalog: Annotated[UcName | None, Field(description="catalog of the volume to classify")] = None
    volume_schema: Annotated[UcName | None, Field(description="schema of the volume to classify")] = None
    volume_name: Annotated[UcName | None, Field(description="volume to classify")] = None
    volume_prefix: Annotated[str, Field(description="only files below this folder of the volume")] = ""
    volume_base_path: Annotated[Path, Field(description="where volumes are mounted")] = VOLUMES
    dxr_datasource_id: Annotated[
        str | None,
        Field(
            pattern=r"^\s*[\w-]+(\s*,\s*[\w-]+)*\s*$",
            description="classifier datasources, comma-separated",
        ),
    ] = None
    dxr_api_prefix: Annotated[str, Field(description="prefix of the classifier's API; empty for the root")] = "/api"
    dxr_poll_interval_seconds: Annotated[float, Field(gt=0, description="time between two looks at a job")] = 10
    dxr_job_timeout_seconds: Annotated[float, Field(gt=0, description="deadline of a job")] = 3600
    dxr_settle_seconds: Annotated[float, Field(ge=0, description="how long the index may lag behind a job")] = 60
    dxr_max_bytes_per_job: Annotated[Size, Field(description="bytes of files in one job")] = 30_000_000
    dxr_max_files_per_job: Annotated[int, Field(ge=1, le=10_000, description="files in one job")] = 25

    landing_path: Annotated[
        Path, Field(description="root of the landing: a folder, or /Volumes/<catalog>/<schema>/<volume>[/…]")
    ]
    landing_chunk_bytes: Annotated[Size, Field(description="raw bytes of a chunk")] = 64 * 2**20
    landing_retention_days: Annotated[
        int, Field(ge=0, le=36_500, description="days that chunks stay after their receipt, or when nobody knows them")
    ] = 30

    databricks_host: Annotated[str | None, Field(description="address of the Databricks workspace")] = None
    databricks_token: Annotated[SecretStr | None, Field(description="personal access token, for trials")] = None
    databricks_client_id: Annotated[str | None, Field(description="application id of the service principal")] = None
    databricks_client_secret: Annotated[SecretStr | None, Field(description="its OAuth secret")] = None

    service_host: Annotated[str, Field(description="address that `serve` listens on")] = "127.0.0.1"
    service_port: Annotated[int, Field(ge=0, le=65535, description="port that `serve` listens on; 0: a free one")] = (
        8080
    )
    service_api_tokens: Annotated[
        SecretStr | None, Field(description="API tokens, name:token[:read|:read,trigger], separated by ';'")
    ] = None
    service_api_tokens_file: Annotated[Path | None, Field(description="file with API tokens, one a line")] = None
    service_open_pages: Annotated[bool, Field(description="metrics and API description without a token")] = False
    service_drain_seconds: Annotated[float, Field(ge=0, description="time for the shutdown on SIGTERM")] = 15
    service_lease_seconds: Annotated[
        float, Field(gt=0, description="how long a run stays a process's that is not heard of any more")
    ] = 15
    runs_active_max: Annotated[
        int, Field(ge=1, description="queued and running runs that triggers over HTTP may make")
    ] = 100
    run_takeovers_max: Annotated[
        int, Field(ge=0, description="how often a run goes on after its process ended, then it fails")
    ] = 50
    run_history_days: Annotated[int, Field(ge=1, description="days that ended runs are kept in the store")] = 90
    receipt_poll_seconds: Annotated[float, Field(gt=0, description="how often receipts are looked for")] = 30

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        _one_of(self.dxr_bearer_token, self.dxr_bearer_token_file, "DXR_BEARER_TOKEN")
        _one_of(self.service_api_tokens, self.service_api_tokens_file, "SERVICE_API_TOKENS")
        reserved = RESERVED_DATASETS | {self.classification_dataset}
        for name in [self.snapshot_dataset, *self.datasets]:
            if name in reserved:
                raise ConfigurationError(
                    f"{name} cannot be a snapshot dataset: it is the name of another table.", "Choose another name."
                )
        if self.dxr_query and self.datasets.get(self.snapshot_dataset, Dataset()).query:
            raise ConfigurationError(
                f"The query of {self.snapshot_dataset} is set twice: DXR_QUERY and datasets in {YAML_FILE}.",
                "Keep one of them.",
            )
        if self.landing_volume and not _VOLUME.fullmatch(self.landing_volume):
            raise ConfigurationError(
                f"LANDING_PATH is {self.landing_path}, which is no place in a Unity Catalog volume.",
                "Write it as /Volumes/<catalog>/<schema>/<volume>, with folders behind it if you like.",
            )
        self.dxr_secret  # noqa: B018 - raises when it is said in two ways
        return self

    @property
    def has_dxr_token(self) -> bool:
        """Whether a snapshot can be asked for."""
        return bool(self.dxr_bearer_token or self.dxr_bearer_token_file or self.dxr_secret)

    @property
    def dxr_secret(self) -> tuple[str, str] | None:
        """Scope and key of the Databricks secret with the DXR token."""
        pairs = {
            "DXR_TOKEN": (self.dxr_token_scope, self.dxr_token_key),
            "DXR_SECRET": (self.dxr_secret_scope, self.dxr_secret_key),
        }
        for name, (scope, key) in pairs.items():
            if bool(scope) != bool(key):
                missing = "KEY" if scope else "SCOPE"
                raise ConfigurationError(f"{name}_{missing} is not set.", f"{name}_SCOPE and {name}_KEY go together.")
        said = {(scope, key) for scope, key in pairs.values() if scope and key}
        if len(said) > 1:
            raise ConfigurationError(
                "DXR_TOKEN_SCOPE/_KEY and DXR_SECRET_SCOPE/_KEY name different secrets.", "Keep one pair."
            )
        return said.pop() if said else None

    @property
    def landing_volume(self) -> str | None:
        """The landing's root in a volume; None when it is a local folder."""
        root = str(self.landing_path).removeprefix("dbfs:")
        return root if root == "/Volumes" or root.startswith("/Volumes/") else None

    @property
    def datasource_ids(self) -> list[str]:
        """The lanes of a classification, each once."""
        return list(dict.fromkeys(part.strip() for part in (self.dxr_datasource_id or "").split(",") if part.strip()))

    @property
    def missing_for_classification(self) -> list[str]:
        """The variables without which no classification can be asked for."""
        needed = {
            "DXR_BEARER_TOKEN_FILE (or DXR_BEARER_TOKEN, or DXR_TOKEN_SCOPE and DXR_TOKEN_KEY)": self.has_dxr_token,
            "VOLUME_CATALOG": self.volume_catalog,
            "VOLUME_SCHEMA": self.volume_schema,
            "VOLUME_NAME": self.volume_name,
            "DXR_DATASOURCE_ID": self.datasource_ids,
        }
        return [name for name, value in needed.items() if not value]

    def query_of(self, dataset: str) -> str | None:
        """The dataset's own query; None for the whole tenant."""
        own = self.datasets.get(dataset)
        if own and own.query:
            return own.query
        return self.dxr_query if dataset == self.snapshot_dataset else None

    def knows(self, dataset: str) -> bool:
        """Whether the dataset is configured."""
        return dataset == self.snapshot_dataset or dataset in self.datasets


_Loadable = TypeVar("_Loadable", bound=StoreSettings)


def load(kind: type[_Loadable], flags: Mapping[str, Any] | None = None, config: Path | None = None) -> _Loadable:
    """Read settings; `flags` without None win. Raises `ConfigurationError` naming each variable that is wrong."""
    if config is not None and not config.is_file():
        raise ConfigurationError(f"--config names {config}, which is no file.", "Name the YAML file with the settings.")
    wanted = {name: value for name, value in (flags or {}).items() if value is not None}
    if "dxr_bearer_token" in wanted:
        wanted["dxr_bearer_token_file"] = None  # the flag comes before the environment's file
    if os.environ.get("DXR_API_PREFIX") == "":  # here, and only here, empty has a meaning
        wanted.setdefault("dxr_api_prefix", "")
    source = type(kind.__name__, (kind,), {"model_config": SettingsConfigDict(yaml_file=config or YAML_FILE)})
    try:
        return cast("_Loadable", source(**wanted))
    except ValidationError as error:
        raise ConfigurationError(*_explain(kind, error)) from None
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"{config or YAML_FILE} or .env cannot be read ({type(error).__name__}).", "Check its syntax (YAML, UTF-8)."
        ) from None


def masked(settings: StoreSettings) -> dict[str, Any]:
    """The settings under their variables' names, for people: secrets show only that they are set."""
    return {name.upper(): value for name, value in settings.model_dump(mode="json").items()}


class _FileVariables(PydanticBaseSettingsSource):
    """`NAME_FILE`: the value is the content of that file, without the white space around it."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = field_name.upper()
        path = os.environ.get(f"{name}_FILE")
        if not path or f"{field_name}_file" in self.settings_cls.model_fields:
            return None, field_name, False
        if os.environ.get(name):
            raise ConfigurationError(f"{name} and {name}_FILE are both set.", "Keep one of them.")
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            # People put the secret itself there.
            what = "something" if _is_secret(field) else f"{path},"
            raise ConfigurationError(
                f"{name}_FILE names {what} which cannot be read ({type(error).__name__}).", "Mount the file there."
            ) from error

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class _KnownOnly(PydanticBaseSettingsSource):
    """A `.env` is shared with other programs: only our names are read from it."""

    def __init__(self, settings_cls: type[BaseSettings], inner: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._inner = inner

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._inner.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in self._inner().items() if name in self.settings_cls.model_fields}


def _one_of(value: object, file: object, name: str) -> None:
    if value is not None and file is not None:
        raise ConfigurationError(f"{name} and {name}_FILE are both set.", "Keep one of them.")


def _explain(kind: type[StoreSettings], error: ValidationError) -> tuple[str, str]:
    problems: list[str] = []
    for detail in error.errors(include_url=False, include_context=False):
        name = str(detail["loc"][0]) if detail["loc"] else "settings"
        field = kind.model_fields.get(name)
        where = ".".join([name.upper() if field else name, *(str(part) for part in detail["loc"][1:])])
        if detail["type"] == "missing":
            problems.append(f"{where} is not set ({field.description if field else ''})")
        elif detail["type"] == "extra_forbidden":
            problems.append(f"{where} is no setting")
        else:
            problems.append(f"{where} is {_found(field, name)}: {detail['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems) + ".", "`dxr-ingest config schema` lists every setting with what is allowed."


def _found(field: FieldInfo | None, name: str) -> str:
    if field is None or _is_secret(field):
        return "not valid"
    value = os.environ.get(name.upper())
    # An address may hold a password.
    return f"{value!r}" if value is not None and "://" not in value else "not valid"


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in getattr(field.annotation, "__args__", ())
