"""Runs the real command and kills it and its JVM after one of its steps: `python -m tests.spark.killed STEP …`."""

from __future__ import annotations

import os
import signal
import sys

import psutil

from spark_jobs import batch, days
from spark_jobs.ingest import main


def die_after(step: str) -> None:
    room = days if hasattr(days, step) else batch
    done = getattr(room, step)

    def last_step(*arguments, **named):
        done(*arguments, **named)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(room, step, last_step)


if __name__ == "__main__":
    die_after(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
