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
    "QUARANTINE_TABLE": "name of the quarantine table (default: dxr_quarantine beside the first table)",
    "QUARANTINE_PATH": "its path",
    "INGEST_LOG_TABLE": "name of the ingest log (default: dxr_ingest_log beside the first table)",
    "INGEST_LOG_PATH": "its path",
    "INGEST_TRIGGER": "available-now (default): handle what is there, then end; continuous: go on until stopped",
    "INGEST_SOURCE": "auto-loader (default on Databricks) or files (default elsewhere)",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run of the job needs to know; picklable, because the batch function carries it along."""

    landing_path: str
    checkpoint_path: str
    snapshot_dataset: str
    classification_dataset: str
    snapshots: Table
    quarantine: Table
    ingest_log: Table
    trigger: Trigger
    source: Source
    on_databricks: bool

    def table_of(self, dataset: str) -> Table:
        """The table of a snapshot dataset: the named one for `SNAPSHOT_DATASET`, else the one of its name beside it."""
        return self.snapshots if dataset == self.snapshot_dataset else self.snapshots.beside(dataset)


def argument_parser() -> argparse.ArgumentParser:
    """One flag for each variable, `--debug`, and nothing else."""
    parser = argparse.ArgumentParser(
        prog="dxr-ingest-tables",
        description="Turns the commits of a landing folder into Delta tables.",
        epilog="Each flag is also an environment variable (--landing-path: LANDING_PATH) or a file named by "
        "LANDING_PATH_FILE. Exit codes: 0 done, also when commits were refused; 1 failed; 2 usage; 3 configuration.",
    )
    for name, text in VARIABLES.items():
        parser.add_argument(_flag(name), dest=name, help=text, metavar="VALUE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def load_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """Settings from flags and environment.

    Raises:
        ConfigurationError: names the variable, what was found and what is allowed.
    """
    found = {name: _value(name, flags, environ) for name in VARIABLES}
    runtime = environ.get("DATABRICKS_RUNTIME_VERSION", "")
    snapshots = _first_table(found["DXR_DELTA_TABLE"], found["DXR_DELTA_PATH"])
    landing = _landing(_required(found, "LANDING_PATH"))
    classification = _dataset(found, "CLASSIFICATION_DATASET", "dxr_metadata", RESERVED_DATASETS)
    settings = Settings(
        landing_path=landing,
        checkpoint_path=_checkpoint(_required(found, "CHECKPOINT_PATH"), landing),
        snapshot_dataset=_dataset(found, "SNAPSHOT_DATASET", "file_metadata", RESERVED_DATASETS | {classification}),
        classification_dataset=classification,
        snapshots=snapshots,
        quarantine=_side_table(found, "QUARANTINE", snapshots.beside("dxr_quarantine")),
        ingest_log=_side_table(found, "INGEST_LOG", snapshots.beside("dxr_ingest_log")),
        trigger=cast("Trigger", _choice(found, "INGEST_TRIGGER", ("available-now", "continuous"))),
        source=cast("Source", _choice(found, "INGEST_SOURCE", ("auto-loader", "files") if runtime else ("files",))),
        on_databricks=bool(runtime),
    )
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


def _first_table(name: str | None, path: str | None) -> Table:
    if name is None and path is None:
        raise ConfigurationError(
            "DXR_DELTA_TABLE, DXR_DELTA_PATH: found neither; set the table's name, its path, or both"
        )
    if name and path and path.startswith(("dbfs:/", "/Volumes/")):
        raise ConfigurationError(
            f"DXR_DELTA_PATH: found {path!r} together with DXR_DELTA_TABLE; Unity Catalog forbids a table whose "
            "LOCATION is dbfs:/ or a volume (UC_FILE_SCHEME_FOR_TABLE_CREATION_NOT_SUPPORTED): "
            "set only one of the two, or the path of an external location"
        )
    return _table("DXR_DELTA", name, path)


def _side_table(found: Mapping[str, str | None], prefix: str, default: Table) -> Table:
    name, path = found[f"{prefix}_TABLE"], found[f"{prefix}_PATH"]
    return _table(prefix, name, path) if name or path else default


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


def _check_distinct(settings: Settings) -> None:
    tables = [settings.snapshots, settings.quarantine, settings.ingest_log]
    if len({table.label for table in tables}) < len(tables):
        raise ConfigurationError(
            "DXR_DELTA_TABLE/_PATH, QUARANTINE_TABLE/_PATH and INGEST_LOG_TABLE/_PATH must be three different tables; "
            f"found {', '.join(table.label for table in tables)}"
        )
