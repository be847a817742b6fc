"""Every variable of the job, once: read, checked, frozen.

A flag comes before the environment; each variable may also be given as `NAME_FILE`, the path of a file that holds it.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn, cast

from spark_jobs.commits import DATASET_NAME
from spark_jobs.errors import ConfigurationError
from spark_jobs.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Trigger = Literal["available-now", "continuous"]
Source = Literal["auto-loader", "files"]

RESERVED_DATASETS: Final = frozenset({"dxr_quarantine", "dxr_ingest_log"})

VARIABLES: Final = {
    "LANDING_PATH": "the landing folder: a local folder or /Volumes/<catalog>/<schema>/<volume>/… (required)",
    "CHECKPOINT_PATH": "where the stream keeps its progress, outside the landing's commits/ (required)",
    "DXR_DELTA_TABLE": "name of the table of SNAPSHOT_DATASET, e.g. main.dxr.file_metadata",
    "DXR_DELTA_PATH": "path of that table, instead of or beside its name",
    "SNAPSHOT_DATASET": "dataset whose table that is (default: file_metadata)",
    "CLASSIFICATION_DATASET": "dataset of the classifications (default: dxr_metadata)",
    "METADATA_TABLE": "name of the table of CLASSIFICATION_DATASET (default: dxr_metadata beside the first table)",
    "METADATA_SCHEMA": "schema of that table, beside a METADATA_TABLE without one",
    "METADATA_CATALOG": "catalog of that schema",
    "METADATA_PATH": "path of that table, instead of or beside its name",
    "QUARANTINE_TABLE": "name of the quarantine table (default: dxr_quarantine beside the first table)",
    "QUARANTINE_PATH": "its path",
    "INGEST_LOG_TABLE": "name of the ingest log (default: dxr_ingest_log beside the first table)",
    "INGEST_LOG_PATH": "its path",
    "INGEST_TRIGGER": "available-now (default): handle what is there, then end; continuous: go on until stopped",
    "INGEST_SOURCE": "auto-loader (default on Databricks) or files (default elsewhere)",
    "CREATE_VIEWS": "true: make views for people beside the tables, which must have names (default: false)",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run of the job needs to know; picklable, because the batch function carries it along."""

    landing_path: str
    checkpoint_path: str
    snapshot_dataset: str
    classification_dataset: str
    snapshots: Table
    classifications: Table
    quarantine: Table
    ingest_log: Table
    trigger: Trigger
    source: Source
    create_views: bool
    given_session: bool

    def table_of(self, dataset: str) -> Table:
        """The table of a dataset: a named one, else the one of its name beside that of `SNAPSHOT_DATASET`."""
        if dataset == self.classification_dataset:
            return self.classifications
        return self.snapshots if dataset == self.snapshot_dataset else self.snapshots.beside(dataset)


def argument_parser() -> argparse.ArgumentParser:
    """One flag for each variable, `--debug`, and nothing else."""
    parser = argparse.ArgumentParser(
        prog="dxr-ingest-tables",
        description="Turns the commits of a landing folder into Delta tables.",
        epilog="Each flag is also an environment variable (--landing-path: LANDING_PATH) or a file named by "
        "LANDING_PATH_FILE. With SPARK_REMOTE=sc://<host>:<port> that Spark Connect server does the work; "
        "it needs Delta and this package, and must see the same paths. "
        "Exit codes: 0 done, also when commits were refused; 1 failed; 2 usage; 3 configuration.",
    )
    for name, text in VARIABLES.items():
        # The flag alone switches on.
        nargs, const = ("?", "true") if name == "CREATE_VIEWS" else (None, None)
        parser.add_argument(_flag(name), dest=name, help=text, metavar="VALUE", nargs=nargs, const=const)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def runtime_of(environ: Mapping[str, str]) -> str:
    """The version of the Databricks runtime that this process is on; empty elsewhere."""
    return environ.get("DATABRICKS_RUNTIME_VERSION", "")


def load_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """Settings from flags and environment.

    Raises:
        ConfigurationError: names the variable, what was found and what is allowed.
    """
    found = {name: _value(name, flags, environ) for name in VARIABLES}
    runtime = runtime_of(environ)
    landing = _landing(_required(found, "LANDING_PATH"))
    classification = _dataset(found, "CLASSIFICATION_DATASET", "dxr_metadata", RESERVED_DATASETS)
    dataset = _dataset(found, "SNAPSHOT_DATASET", "file_metadata", RESERVED_DATASETS | {classification})
    snapshots, classifications = _main_tables(found, dataset, classification)
    settings = Settings(
        landing_path=landing,
        checkpoint_path=_checkpoint(_required(found, "CHECKPOINT_PATH"), landing),
        snapshot_dataset=dataset,
        classification_dataset=classification,
        snapshots=snapshots,
        classifications=classifications,
        quarantine=_side_table(found, "QUARANTINE", snapshots.beside("dxr_quarantine")),
        ingest_log=_side_table(found, "INGEST_LOG", snapshots.beside("dxr_ingest_log")),
        trigger=cast("Trigger", _choice(found, "INGEST_TRIGGER", ("available-now", "continuous"))),
        source=cast("Source", _choice(found, "INGEST_SOURCE", ("auto-loader", "files") if runtime else ("files",))),
        create_views=_choice(found, "CREATE_VIEWS", ("false", "true")) == "true",
        given_session=bool(runtime) or _is_remote(environ),
    )
    _check_views(settings)
    _check_serverless(settings, runtime, environ)
    _check_distinct(settings)
    return settings


def _flag(name: str) -> str:
    return f"--{name.lower().replace('_', '-')}"


def _value(name: str, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> str | None:
    flag = flags.get(name)
    plain, file = environ.get(name) or None, environ.get(f"{name}_FILE") or None
    if flag is not None:
        return flag
    if plain and file:
        raise ConfigurationError(f"{name} and {name}_FILE are both set: set only one of them")
    if file is None:
        return plain
    try:
        return Path(file).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name}_FILE: cannot read {file!r} ({type(error).__name__})") from error


def _required(found: Mapping[str, str | None], name: str) -> str:
    return found[name] or _invalid(name, "nothing", f"a value: set {name} or {_flag(name)}")


def _invalid(name: str, found: str, allowed: str) -> NoReturn:
    raise ConfigurationError(f"{name}: found {found}; allowed is {allowed}")


def _choice(found: Mapping[str, str | None], name: str, allowed: Sequence[str]) -> str:
    value = found[name] or allowed[0]
    if value == "auto-loader" and value not in allowed:
        _invalid(name, repr(value), "'files' here: Auto Loader exists only on Databricks")
    return value if value in allowed else _invalid(name, repr(value), " or ".join(allowed))


def _is_remote(environ: Mapping[str, str]) -> bool:
    # pyspark's own variable; its other form, local, would start a server without Delta.
    remote = environ.get("SPARK_REMOTE", "")
    if remote and not remote.startswith("sc://"):
        _invalid("SPARK_REMOTE", repr(remote), "sc://<host>:<port>, or nothing for a local session")
    return bool(remote)


def _dataset(found: Mapping[str, str | None], name: str, default: str, taken: frozenset[str]) -> str:
    value = found[name] or default
    if DATASET_NAME.fullmatch(value) is None:
        _invalid(name, repr(value), "a lower-case letter, then at most 62 of a-z, 0-9 and _")
    return value if value not in taken else _invalid(name, repr(value), f"any name but {', '.join(sorted(taken))}")


def _landing(value: str) -> str:
    value = value.removeprefix("dbfs:") if value.startswith("dbfs:/Volumes/") else value
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", value):
        _invalid("LANDING_PATH", repr(value), "a local folder or /Volumes/<catalog>/<schema>/<volume>/…")
    if set(value) & set("*?[]{}\\"):
        # Spark reads these as patterns in every path that it is given.
        _invalid("LANDING_PATH", repr(value), r"a path without * ? [ ] { } \ ")
    return str(Path(value).absolute())


def _checkpoint(value: str, landing: str) -> str:
    path = _absolute(value)
    if Path(path).is_relative_to(Path(landing) / "commits"):
        _invalid("CHECKPOINT_PATH", repr(value), "a folder outside the commits/ that the stream reads")
    return path


def _absolute(path: str) -> str:
    return path if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", path) else str(Path(path).absolute())


def _table(prefix: str, name: str | None, path: str | None) -> Table:
    try:
        return Table.of(name, _absolute(path) if path else None)
    except ValueError as error:
        return _invalid(f"{prefix}_TABLE", repr(name), str(error))


def _main_tables(found: Mapping[str, str | None], snapshots: str, classifications: str) -> tuple[Table, Table]:
    """The tables of the two datasets; one that is not named lies beside the other."""
    files = _located("DXR_DELTA", found["DXR_DELTA_TABLE"], found["DXR_DELTA_PATH"])
    metadata = _located("METADATA", _metadata_name(found, classifications), found["METADATA_PATH"])
    if files:
        return files, metadata or files.beside(classifications)
    if metadata:
        return metadata.beside(snapshots), metadata
    raise ConfigurationError(
        "DXR_DELTA_TABLE, DXR_DELTA_PATH: found neither; set the table's name, its path, or both "
        "(for classifications alone: METADATA_CATALOG, METADATA_SCHEMA and METADATA_TABLE, or METADATA_PATH)"
    )


def _metadata_name(found: Mapping[str, str | None], default: str) -> str | None:
    catalog, schema, table = (found[f"METADATA_{part}"] for part in ("CATALOG", "SCHEMA", "TABLE"))
    if catalog and not schema:
        _invalid("METADATA_SCHEMA", "nothing beside METADATA_CATALOG", "the name of its schema")
    if schema and table and "." in table:
        _invalid("METADATA_TABLE", repr(table), "a name without dots beside METADATA_SCHEMA")
    return ".".join(part for part in (catalog, schema, table or default) if part) if schema else table


def _located(prefix: str, name: str | None, path: str | None) -> Table | None:
    if name and path and path.startswith(("dbfs:/", "/Volumes/")):
        raise ConfigurationError(
            f"{prefix}_PATH: found {path!r} together with {prefix}_TABLE; Unity Catalog forbids a table whose "
            "LOCATION is dbfs:/ or a volume (UC_FILE_SCHEME_FOR_TABLE_CREATION_NOT_SUPPORTED): "
            "set only one of the two, or the path of an external location"
        )
    return _table(prefix, name, path) if name or path else None


def _side_table(found: Mapping[str, str | None], prefix: str, default: Table) -> Table:
    return _located(prefix, found[f"{prefix}_TABLE"], found[f"{prefix}_PATH"]) or default


def _check_serverless(settings: Settings, runtime: str, environ: Mapping[str, str]) -> None:
    # Serverless names its runtime client.<n>; IS_SERVERLESS is set in its newer environments.
    serverless = runtime.startswith("client.") or environ.get("IS_SERVERLESS", "").lower() == "true"
    if serverless and settings.trigger == "continuous":
        _invalid(
            "INGEST_TRIGGER",
            "'continuous' on serverless compute",
            "available-now there (INFINITE_STREAMING_TRIGGER_NOT_SUPPORTED): let the job's own schedule, file-arrival "
            "or continuous trigger start it again",
        )


def _check_views(settings: Settings) -> None:
    unnamed = [table.label for table in (settings.snapshots, settings.classifications) if table.name is None]
    if settings.create_views and unnamed:
        _invalid(
            "CREATE_VIEWS",
            f"'true' beside a table that has only a path, {unnamed[0]}",
            "tables with names (DXR_DELTA_TABLE, METADATA_TABLE), since views are made in their catalog; "
            "or leave CREATE_VIEWS out",
        )


def _check_distinct(settings: Settings) -> None:
    tables = [settings.snapshots, settings.classifications, settings.quarantine, settings.ingest_log]
    if len({table.label for table in tables}) < len(tables):
        raise ConfigurationError(
            "DXR_DELTA_, METADATA_, QUARANTINE_ and INGEST_LOG_TABLE/_PATH must be four different tables; "
            f"found {', '.join(table.label for table in tables)}"
        )
