"""`dxr-ingest-tables`: arguments → settings → stream → exit code. On Databricks a python wheel task calls `main`."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

from spark_jobs.errors import ConfigurationError, IngestError
from spark_jobs.settings import Settings, argument_parser, load_settings, runtime_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from spark_jobs.landing import Landing

DONE: Final = 0
FAILED: Final = 1
CONFIGURATION: Final = 3
# How often a running stream is asked whether it has ended; a signal is answered at the latest then.
WATCH_SECONDS: Final = 1.0
STOP_PATIENCE_LOOKS: Final = 20
CONTINUOUS_INTERVAL: Final = "2 seconds"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit code: 0 done (also when commits were refused), 1 failed, 2 usage, 3 configuration.

    Raises:
        SystemExit: on Databricks, for every code but 0: a wheel task ignores what its entry point returns, so a failure
            would be a success. Nothing is raised for 0, since a notebook's shell takes any SystemExit for an error.
    """
    code = _exit_code(argv)
    if code and runtime_of(os.environ):
        raise SystemExit(code)
    return code


def _exit_code(argv: Sequence[str] | None) -> int:
    flags = vars(argument_parser().parse_args(argv))
    debug = bool(flags.pop("debug"))
    try:
        return run(load_settings(cast("dict[str, str | None]", flags), os.environ))
    except KeyboardInterrupt:  # while the session starts; later a signal stops the stream
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 (the command's edge: every error becomes a sentence and a code)
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"dxr-ingest-tables: {explain(error)}\n")
        return CONFIGURATION if isinstance(error, ConfigurationError) else FAILED


def run(settings: Settings) -> int:
    """Stream the commits of the landing into the tables until nothing is left, or until a signal."""
    from spark_jobs.landing import Landing
    from spark_jobs.session import open_session

    landing = Landing(settings.landing_path)
    try:
        landing.prepare()
    except OSError as error:
        raise ConfigurationError(
            f"LANDING_PATH: cannot use {settings.landing_path!r} ({type(error).__name__}); "
            "allowed is a folder that this job may read and write"
        ) from error
    before = {file.name for file in landing.receipts.iterdir()}
    spark = open_session(given=settings.given_session)
    # After the session, because pyspark puts its own handler of Ctrl-C, which breaks off whatever is at work.
    with _stop_on_signals() as stop:
        # A continuous run has no end at which to make them.
        views_made = settings.trigger == "available-now" or _make_views(spark, settings, landing)
        ended = _stream(spark, settings, stop)
        if ended:
            views_made = _make_views(spark, settings, landing)
    _summarize(settings, before)
    if not ended and settings.trigger == "available-now":
        return 128 + stop.signal
    return DONE if views_made else FAILED


def explain(error: Exception) -> str:
    """One sentence: what happened, and what to do. The text of the job's own errors survives the stream's wrapping."""
    if isinstance(error, IngestError):
        return str(error)
    inner = re.search(r"spark_jobs\.errors\.\w+: (.+)", str(error))
    if inner:
        return inner[1]
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:500]
    return (
        f"{type(error).__name__}: {first_line}; commits without a receipt stay pending, so run the job again "
        "(--debug shows the traceback)"
    )


class _Stop:
    """Notes SIGTERM or Ctrl-C, so that the stream is stopped between its steps."""

    def __init__(self) -> None:
        self.signal = 0

    def ask(self, number: int, _frame: object) -> None:
        """Be asked: a signal handler."""
        self.signal = number


@contextmanager
def _stop_on_signals() -> Generator[_Stop, None, None]:
    """Handle signals within; Python allows that in the main thread alone, and elsewhere leaves them to who runs it."""
    stop = _Stop()
    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop.ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _stream(spark: SparkSession, settings: Settings, stop: _Stop) -> bool:
    """True when the stream ended by itself; False when it was stopped."""
    from spark_jobs.batch import IngestBatch, ingest_commits
    from spark_jobs.sources import commit_stream

    available_now = settings.trigger == "available-now"
    if not available_now:
        # What an earlier run left pending is not delivered again.
        ingest_commits(spark, settings)
    writer = commit_stream(spark, settings).writeStream.foreachBatch(IngestBatch(settings))
    writer = writer.option("checkpointLocation", settings.checkpoint_path)
    trigger = writer.trigger(availableNow=True) if available_now else writer.trigger(processingTime=CONTINUOUS_INTERVAL)
    ended = _watch(trigger.start(), stop)
    if ended:
        ingest_commits(spark, settings)
    return ended


def _watch(query: StreamingQuery, stop: _Stop) -> bool:
    while not query.awaitTermination(WATCH_SECONDS):  # pyright: ignore[reportArgumentType]  (seconds may be a float)
        if stop.signal:
            _finish_batch(query)
            query.stop()
            return False
    return True


def _finish_batch(query: StreamingQuery) -> None:
    """Let a batch that is at work come to its end: breaking it off is safe, but loud, and its work is done twice."""
    for _ in range(STOP_PATIENCE_LOOKS):
        if not query.status["isTriggerActive"] or query.awaitTermination(WATCH_SECONDS):  # pyright: ignore[reportArgumentType]
            return


def _make_views(spark: SparkSession, settings: Settings, landing: Landing) -> bool:
    """Whether there is none that was asked for and could not be made; each of those is told at once."""
    from spark_jobs.views import create_views

    problems = create_views(spark, settings, landing) if settings.create_views else []
    for problem in problems:
        sys.stderr.write(f"dxr-ingest-tables: {problem}\n")
    return not problems


def _summarize(settings: Settings, before: set[str]) -> None:
    from collections import Counter

    from spark_jobs.ingest_log import say
    from spark_jobs.landing import Landing
    from spark_jobs.receipts import read_receipt

    landing = Landing(settings.landing_path)
    new = [read_receipt(landing, file.stem) for file in landing.receipts.glob("*.json") if file.name not in before]
    states = Counter(receipt.state for receipt in new if receipt)
    rows = sum(receipt.table_rows for receipt in new if receipt)
    quarantined = sum(receipt.quarantined_rows for receipt in new if receipt)
    say(
        f"done: {states['ingested']} ingested, {states['superseded']} superseded, {states['refused']} refused; "
        f"{rows} rows, {quarantined} quarantined, {len(landing.pending())} commits pending"
    )


if __name__ == "__main__":
    sys.exit(main())
