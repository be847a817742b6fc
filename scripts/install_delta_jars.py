"""Puts Delta's jars beside the virtual environment, so that no later Spark start needs the network.

The jars are the ones that delta-spark names for the installed pyspark; Ivy resolves them from Maven Central once.
Those that Spark itself ships (in whatever version) are left out: two versions on one class path are a trap.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

import pyspark
from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession

TARGET = Path(sys.prefix) / "share" / "dxr-ingest" / "delta-jars"


def artifact(jar: Path) -> str:
    """`io.delta_delta-storage-4.4.0.jar` and `delta-storage-4.4.0.jar` are both `delta-storage`."""
    name = jar.name.rpartition("_")[2] if jar.name.count("_") == 1 else jar.name.partition("_")[2] or jar.name
    return re.sub(r"-\d[\w.]*\.jar$", "", name)


def main() -> int:
    """Resolve once into a temporary Ivy cache, then keep only what Spark lacks."""
    if any(TARGET.glob("*delta-spark*.jar")):
        return 0
    shipped = {artifact(jar) for jar in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    with tempfile.TemporaryDirectory() as ivy:
        builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
        session = configure_spark_with_delta_pip(builder.config("spark.jars.ivy", ivy)).getOrCreate()
        session.stop()
        TARGET.mkdir(parents=True, exist_ok=True)
        for jar in sorted((Path(ivy) / "jars").glob("*.jar")):
            if artifact(jar) not in shipped:
                shutil.copy2(jar, TARGET / jar.name)
    print(f"Delta jars: {', '.join(sorted(jar.name for jar in TARGET.glob('*.jar')))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
