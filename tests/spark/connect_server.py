"""A Spark Connect server in a process of its own, as shared and serverless compute are one: `sc://` and nothing else.

It has Delta and none of the job's own settings; its session is not in UTC.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pyspark

from spark_jobs.session import DELTA_JARS, LOCAL_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SPARK_SUBMIT = Path(pyspark.__file__).parent / "bin" / "spark-submit"
CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
DELTA = ("spark.sql.extensions", "spark.sql.catalog.spark_catalog")
STARTED = re.compile(r"Spark Connect server started at: \S*:(\d+)")
START_SECONDS_MAX = 120


@dataclass(frozen=True)
class ConnectServer:
    """A server that is running, or still starting, in a folder of its own."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def warehouse(self) -> Path:
        """Where the tables of its catalog are."""
        return self.folder / "warehouse"

    def log(self) -> str:
        """What it and its Python workers have said so far."""
        return (self.folder / "log").read_text()

    def url(self) -> str:
        """Its address, waiting until it has one."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while (found := STARTED.search(self.log())) is None:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.2)
        return f"sc://127.0.0.1:{found[1]}"


@contextmanager
def serving(folder: Path) -> Iterator[ConnectServer]:
    """A server that is killed at the end with everything that it started."""
    settings = {
        **{name: LOCAL_SETTINGS[name] for name in DELTA},
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": "0",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.session.timeZone": "Asia/Kathmandu",
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
    }
    command = [str(SPARK_SUBMIT), "--class", CLASS, "--master", "local[2]"]
    command += ["--jars", ",".join(map(str, sorted(DELTA_JARS.glob("*.jar"))))]
    command += ["--driver-java-options", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"]
    command += [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    # Its workers have the package because it is installed for them, not because a client has it.
    environ = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield ConnectServer(process, folder)
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()
