"""Settings: flags before environment before nothing, and an error that says which, what and what instead."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from spark_jobs.batch import IngestBatch
from spark_jobs.errors import ConfigurationError
from spark_jobs.ingest import main
from spark_jobs.settings import argument_parser, load_settings
from spark_jobs.sources import auto_loader_options

LOCAL = {"LANDING_PATH": "/data/landing", "CHECKPOINT_PATH": "/data/checkpoint", "DXR_DELTA_PATH": "/data/t/files"}


def test_defaults_beside_a_path():
    settings = load_settings({}, LOCAL)
    assert (settings.trigger, settings.source, settings.snapshot_dataset) == ("available-now", "files", "file_metadata")
    assert settings.quarantine.label == "/data/t/dxr_quarantine"
    assert settings.ingest_log.label == "/data/t/dxr_ingest_log"
    assert settings.table_of("contracts").label == "/data/t/contracts"
    assert settings.table_of("dxr_metadata").label == settings.classifications.label == "/data/t/dxr_metadata"


def test_defaults_beside_a_name_on_databricks():
    environ = {k: v for k, v in LOCAL.items() if k != "DXR_DELTA_PATH"} | {"DXR_DELTA_TABLE": "main.dxr.file_metadata"}
    settings = load_settings(
        {}, environ | {"DATABRICKS_RUNTIME_VERSION": "17.3", "LANDING_PATH": "dbfs:/Volumes/a/b/c"}
    )
    assert (settings.source, settings.landing_path, settings.on_databricks) == ("auto-loader", "/Volumes/a/b/c", True)
    assert settings.quarantine.sql == "`main`.`dxr`.`dxr_quarantine`"
    assert settings.table_of("contracts").label == "main.dxr.contracts"


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"METADATA_CATALOG": "main", "METADATA_SCHEMA": "gov", "METADATA_TABLE": "labels"}, "main.gov.labels"),
        ({"METADATA_SCHEMA": "gov", "METADATA_TABLE": "labels"}, "gov.labels"),
        ({"METADATA_CATALOG": "main", "METADATA_SCHEMA": "gov"}, "main.gov.news"),
        ({"METADATA_TABLE": "main.gov.labels"}, "main.gov.labels"),
        ({"METADATA_TABLE": "labels"}, "labels"),
        ({"METADATA_PATH": "/elsewhere/labels"}, "/elsewhere/labels"),
        ({}, "/data/t/news"),
    ],
)
def test_the_table_of_classifications_has_the_names_of_the_seed(changes, label):
    settings = load_settings({}, LOCAL | {"CLASSIFICATION_DATASET": "news"} | changes)
    assert settings.table_of("news").label == label
    assert settings.quarantine.label == "/data/t/dxr_quarantine"


def test_a_job_for_classifications_alone_puts_the_other_tables_beside_theirs():
    named = {"METADATA_CATALOG": "main", "METADATA_SCHEMA": "gov", "METADATA_TABLE": "labels"}
    settings = load_settings({}, {k: v for k, v in LOCAL.items() if k != "DXR_DELTA_PATH"} | named)
    tables = (settings.snapshots, settings.classifications, settings.quarantine, settings.ingest_log)
    assert [table.label.removeprefix("main.gov.") for table in tables] == [
        "file_metadata",
        "labels",
        "dxr_quarantine",
        "dxr_ingest_log",
    ]


def test_a_flag_comes_before_the_environment_and_a_file_holds_a_value(tmp_path):
    (tmp_path / "landing").write_text("/from/file\n")
    environ = {k: v for k, v in LOCAL.items() if k != "LANDING_PATH"} | {"LANDING_PATH_FILE": str(tmp_path / "landing")}
    assert load_settings({}, environ).landing_path == "/from/file"
    flags = vars(argument_parser().parse_args(["--landing-path", "/from/flag"]))
    assert load_settings(flags, environ).landing_path == "/from/flag"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"LANDING_PATH": ""}, ["LANDING_PATH", "nothing", "--landing-path"]),
        ({"CHECKPOINT_PATH": ""}, ["CHECKPOINT_PATH"]),
        ({"DXR_DELTA_PATH": ""}, ["DXR_DELTA_TABLE", "DXR_DELTA_PATH", "neither"]),
        ({"LANDING_PATH_FILE": "/x"}, ["LANDING_PATH and LANDING_PATH_FILE", "both"]),
        ({"QUARANTINE_PATH_FILE": "/nowhere"}, ["QUARANTINE_PATH_FILE", "/nowhere"]),
        ({"LANDING_PATH": "s3://bucket/x"}, ["LANDING_PATH", "s3://bucket/x", "local folder"]),
        ({"LANDING_PATH": "/data/[x]"}, ["LANDING_PATH", "without"]),
        ({"CHECKPOINT_PATH": "/data/landing/commits/cp"}, ["CHECKPOINT_PATH", "commits/"]),
        ({"INGEST_TRIGGER": "sometimes"}, ["INGEST_TRIGGER", "sometimes", "available-now", "continuous"]),
        ({"INGEST_SOURCE": "auto-loader"}, ["INGEST_SOURCE", "only on Databricks"]),
        ({"SNAPSHOT_DATASET": "dxr_quarantine"}, ["SNAPSHOT_DATASET", "dxr_quarantine"]),
        ({"SNAPSHOT_DATASET": "dxr_metadata"}, ["SNAPSHOT_DATASET", "dxr_metadata"]),
        ({"SNAPSHOT_DATASET": "Files"}, ["SNAPSHOT_DATASET", "Files"]),
        ({"DXR_DELTA_TABLE": "a.b.c.d"}, ["DXR_DELTA_TABLE", "a.b.c.d"]),
        ({"DXR_DELTA_TABLE": "a.b; drop"}, ["DXR_DELTA_TABLE"]),
        ({"DXR_DELTA_TABLE": "a.b", "DXR_DELTA_PATH": "dbfs:/x"}, ["DXR_DELTA_PATH", "dbfs:/x", "LOCATION"]),
        ({"DXR_DELTA_TABLE": "a.b", "DXR_DELTA_PATH": "/Volumes/a/b/c"}, ["DXR_DELTA_PATH", "Unity Catalog"]),
        ({"QUARANTINE_PATH": "/data/t/files"}, ["different tables", "QUARANTINE"]),
        ({"METADATA_PATH": "/data/t/files"}, ["different tables", "METADATA"]),
        ({"METADATA_CATALOG": "main", "METADATA_TABLE": "labels"}, ["METADATA_SCHEMA", "METADATA_CATALOG"]),
        ({"METADATA_SCHEMA": "gov", "METADATA_TABLE": "main.gov.labels"}, ["METADATA_TABLE", "main.gov.labels"]),
        ({"METADATA_TABLE": "a b"}, ["METADATA_TABLE", "a b"]),
        ({"METADATA_SCHEMA": "gov", "METADATA_PATH": "dbfs:/x"}, ["METADATA_PATH", "dbfs:/x", "LOCATION"]),
        ({"METADATA_TABLE": "a.b", "METADATA_PATH": "/Volumes/a/b/c"}, ["METADATA_PATH", "Unity Catalog"]),
        (
            {"INGEST_TRIGGER": "continuous", "DATABRICKS_RUNTIME_VERSION": "client.4.1"},
            ["INGEST_TRIGGER", "serverless", "available-now"],
        ),
        ({"INGEST_TRIGGER": "continuous", "IS_SERVERLESS": "TRUE"}, ["serverless"]),
    ],
)
def test_an_error_names_the_variable_what_was_found_and_what_is_allowed(changes, words, monkeypatch, capsys):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, LOCAL | changes)
    assert [word for word in words if word not in str(caught.value)] == []
    for name, value in (LOCAL | changes).items():
        monkeypatch.setenv(name, value)
    assert main([]) == 3
    assert capsys.readouterr().err == f"dxr-ingest-tables: {caught.value}\n"


@pytest.mark.parametrize("path", ["dbfs:/tables/files", "/Volumes/a/b/c/files"])
def test_such_a_path_works_alone(path):
    settings = load_settings({}, LOCAL | {"DXR_DELTA_PATH": path})
    assert settings.quarantine.path == path.replace("files", "dxr_quarantine")


def test_a_wrong_flag_is_a_usage_error():
    with pytest.raises(SystemExit) as caught:
        main(["--landing", "x", "--nonsense"])
    assert caught.value.code == 2


def test_help_needs_no_spark():
    script = (
        "import sys\nfrom spark_jobs.ingest import main\ntry: main(['--help'])\n"
        "except SystemExit: sys.exit('pyspark' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, check=False, capture_output=True, text=True)
    assert (done.returncode, "INGEST_TRIGGER" in done.stdout or "--ingest-trigger" in done.stdout) == (0, True)


def test_the_options_of_auto_loader_are_the_agreed_ones():
    golden = Path(__file__).parent / "golden" / "auto_loader_options.json"
    assert auto_loader_options() == json.loads(golden.read_text())


def test_the_batch_function_can_be_sent_elsewhere():
    batch = IngestBatch(load_settings({}, LOCAL))
    assert pickle.loads(pickle.dumps(batch)) == batch
