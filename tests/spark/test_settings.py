"""Settings: flags before environment before nothing, and an error that says which, what and what instead."""

from __future__ import annotations

import gzip
import json
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from pyspark import cloudpickle

from spark_jobs import ingest
from spark_jobs.batch import IngestBatch
from spark_jobs.chunks import BLOCK_BYTES, measurer
from spark_jobs.errors import ConfigurationError
from spark_jobs.ingest import main
from spark_jobs.settings import argument_parser, load_settings
from spark_jobs.sources import auto_loader_options

CLUSTER = {"DATABRICKS_RUNTIME_VERSION": "17.3"}
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
    settings = load_settings({}, environ | CLUSTER | {"LANDING_PATH": "dbfs:/Volumes/a/b/c"})
    assert (settings.source, settings.landing_path, settings.given_session) == ("auto-loader", "/Volumes/a/b/c", True)
    assert settings.quarantine.sql == "`main`.`dxr`.`dxr_quarantine`"
    assert settings.table_of("contracts").label == "main.dxr.contracts"


def test_a_session_is_given_by_databricks_or_by_a_spark_connect_server():
    server = {"SPARK_REMOTE": "sc://127.0.0.1:15002"}
    # On Databricks that variable is its own business.
    socket = CLUSTER | {"SPARK_REMOTE": "unix:///somewhere"}
    found = [load_settings({}, LOCAL | more) for more in ({}, server, CLUSTER, socket)]
    assert [settings.given_session for settings in found] == [False, True, True, True]
    assert [settings.source for settings in found] == ["files", "files", "auto-loader", "auto-loader"]


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


def test_views_are_made_only_on_request():
    environ = LOCAL | {"DXR_DELTA_TABLE": "main.dxr.files"}
    asked = [[], ["--create-views"], ["--create-views=true"], ["--create-views", "--dxr-delta-path", "/x/files"]]
    flags = [vars(argument_parser().parse_args(words)) for words in asked]
    assert [load_settings(some, environ).create_views for some in flags] == [False, True, True, True]
    assert load_settings({}, environ | {"CREATE_VIEWS": "true"}).create_views


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
        ({"CREATE_VIEWS": "yes"}, ["CREATE_VIEWS", "yes", "false or true"]),
        ({"CREATE_VIEWS": "true"}, ["CREATE_VIEWS", "only a path, /data/t/files", "DXR_DELTA_TABLE"]),
        (
            {"CREATE_VIEWS": "true", "DXR_DELTA_TABLE": "a.b", "DXR_DELTA_PATH": "", "METADATA_PATH": "/data/t/m"},
            ["CREATE_VIEWS", "/data/t/m", "METADATA_TABLE"],
        ),
        ({"SPARK_REMOTE": "local[2]"}, ["SPARK_REMOTE", "local[2]", "sc://"]),
    ],
)
def test_an_error_names_the_variable_what_was_found_and_what_is_allowed(changes, words, monkeypatch, capsys):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, LOCAL | changes)
    assert [word for word in words if word not in str(caught.value)] == []
    for name, value in (LOCAL | changes).items():
        monkeypatch.setenv(name, value)
    assert outcome([]) == 3
    assert capsys.readouterr().err == f"dxr-ingest-tables: {caught.value}\n"


def outcome(argv: list[str]) -> object:
    try:
        return main(argv)
    except SystemExit as ended:
        return ended.code


def interrupted(_settings):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("run", "code"), [(lambda _: 0, 0), (lambda _: 143, 143), (lambda _: 1 / 0, 1), (interrupted, 130)]
)
def test_on_databricks_a_failure_fails_the_task_and_success_raises_nothing(run, code, monkeypatch):
    monkeypatch.setattr(ingest, "run", run)
    monkeypatch.setenv("DXR_DELTA_PATH", "/t")
    flags = ["--landing-path=/l", "--checkpoint-path=/c"]
    assert main(flags) == code
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    with pytest.raises(SystemExit) if code else nullcontext() as ended:
        assert main(flags) == 0
    assert code == (ended.value.code if ended else 0)


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


def test_what_measures_a_chunk_needs_nothing_of_this_package_where_it_runs():
    stored = gzip.compress(b"a\nb\n", mtime=0)
    assert measurer()(stored)[1:] == (2, 4, True)
    script = (
        "import sys\nsys.modules['spark_jobs'] = None\nfrom pyspark import cloudpickle\n"
        "print(cloudpickle.loads(sys.stdin.buffer.read())(bytes.fromhex(sys.argv[1]))[1:])"
    )
    command = [sys.executable, "-c", script, stored.hex()]
    done = subprocess.run(command, input=cloudpickle.dumps(measurer()), check=True, capture_output=True)
    assert done.stdout == b"(2, 4, True)\n"


@pytest.mark.parametrize(
    ("raw", "is_utf8"),
    [
        (b"x" * (BLOCK_BYTES - 1) + "é\n".encode(), True),
        (b"x" * (BLOCK_BYTES - 1) + b"\xc3\n", False),
        (b"\xff\n" + b"x" * BLOCK_BYTES, False),
        ("é".encode()[:1], False),
        (b"\xed\xa0\x80\n", False),
    ],
)
def test_a_byte_that_is_no_utf8_is_seen_wherever_blocks_end(raw, is_utf8):
    assert measurer()(gzip.compress(raw))[3] is is_utf8


def test_signals_are_handled_in_the_main_thread_alone_and_only_while_the_stream_runs():
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    for number in numbers:
        with ingest._stop_on_signals() as stop:
            signal.raise_signal(number)
        assert stop.signal == number
    assert [signal.getsignal(number) for number in numbers] == before

    def elsewhere() -> list[object]:
        with ingest._stop_on_signals():
            return [signal.getsignal(number) for number in numbers]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(elsewhere).result() == before
