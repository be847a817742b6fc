"""Sends the files of a folder as one job, again and again: `python -m bench.senders ours|requests FOLDER ADDRESS JOBS`.

Prints the CPU seconds, seconds and bytes of all jobs but a first one, and the peak memory, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


async def by_this_service(folder: Path, address: str, sent: Callable[[], bool]) -> None:
    """As a lane does: unique names, pieces of the mounted volume, one POST."""
    from service.classification.mounted import MountedVolume
    from service.classification.volume import VolumeFile
    from service.dxr.classifier import Classifier
    from service.dxr.session import DxrSession
    from service.dxr.token import BearerToken
    from service.dxr.uploads import MultipartBody, Upload, upload_name

    async def token() -> str:
        return "x" * 32

    volume = MountedVolume(folder)
    files = [file async for page in volume.scan("").pages() for file in page if isinstance(file, VolumeFile)]
    session = DxrSession(address, BearerToken("DXR_BEARER_TOKEN", token), "bench", tls=True)
    classifier = Classifier(session, "/api")

    try:
        while True:
            uploads = [
                Upload(upload_name(file.relative_path), file.size_bytes, "application/octet-stream") for file in files
            ]
            await classifier.submit("11", MultipartBody(uploads, lambda: volume.contents(files)))
            if sent():
                return
    finally:
        await session.close()


async def by_requests(folder: Path, address: str, sent: Callable[[], bool]) -> None:
    """As the client that this project replaces: `files=` of open files, which reads them all into one body."""
    import requests

    while True:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(path.open("rb")) for path in sorted(folder.iterdir())]
            files = [("files", (Path(file.name).name, file, "application/octet-stream")) for file in opened]
            answer = requests.post(f"{address}/api/on-demand-classifiers/11/jobs", files=files, timeout=300)
            answer.raise_for_status()
        if sent():
            return


SENDERS = {"ours": by_this_service, "requests": by_requests}


def main() -> None:
    """Send, measure, print."""
    name, folder, address, jobs = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    moments: list[tuple[float, float]] = []

    def sent() -> bool:
        used = resource.getrusage(resource.RUSAGE_SELF)
        moments.append((used.ru_utime + used.ru_stime, time.monotonic()))
        return len(moments) > jobs

    asyncio.run(SENDERS[name](folder, address, sent))
    (cpu_before_s, began_s), (cpu_s, ended_s) = moments[0], moments[-1]
    cost = {
        "cpu_s": cpu_s - cpu_before_s,
        "wall_s": ended_s - began_s,
        "bytes": jobs * sum(path.stat().st_size for path in folder.iterdir()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sys.stdout.write(f"{json.dumps(cost)}\n")


if __name__ == "__main__":
    main()
