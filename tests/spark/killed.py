"""Runs the real command and kills it and its JVM after one of its steps: `python -m tests.spark.killed STEP …`."""

from __future__ import annotations

import os
import signal
import sys

import psutil

from spark_jobs import batch
from spark_jobs.ingest import main


def die_after(step: str) -> None:
    done = getattr(batch, step)

    def last_step(*arguments):
        done(*arguments)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(batch, step, last_step)


if __name__ == "__main__":
    die_after(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
