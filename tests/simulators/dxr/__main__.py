"""Serve a simulated tenant until SIGTERM or Ctrl-C: `python -m tests.simulators.dxr --rows 100000 --seed 1`."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from tests.simulators.dxr import BadLines, Classifier, DxrSimulator, FolderFiles, GeneratedFiles, Source, Together


def source_from(arguments: argparse.Namespace) -> Source:
    """Put together the rows that the command line asks for."""
    generated = GeneratedFiles(arguments.rows, seed=arguments.seed, mean_bytes=arguments.mean_bytes)
    source: Source = Together(FolderFiles(arguments.folder), generated) if arguments.folder else generated
    return BadLines(source, every=arguments.bad_every, seed=arguments.seed) if arguments.bad_every else source


async def serve(arguments: argparse.Namespace) -> None:
    """Run the tenant until a signal asks it to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    classifier = Classifier(datasources=tuple(filter(None, arguments.datasources.split(","))))
    source = source_from(arguments)
    async with DxrSimulator(source, tokens=(arguments.token,), port=arguments.port, classifier=classifier) as dxr:
        sys.stdout.write(f"listening on {dxr.url}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulators.dxr", description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="generated rows (after those of --folder)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mean-bytes", type=int, default=2500, help="mean length of a generated row")
    parser.add_argument("--folder", type=Path, help="serve the files of this folder too")
    parser.add_argument("--bad-every", type=int, default=0, metavar="N", help="about one line that is no row in N")
    parser.add_argument("--datasources", default="", metavar="ID,ID", help="datasources of the on-demand classifier")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="simulated-token-" + "0" * 24)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
