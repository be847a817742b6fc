"""Run `dxr-ingest` with a witness: `python -m tests.e2e.hooked FILE serve …` notes every address that is asked for."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    noted = os.open(Path(sys.argv.pop(1)), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(event: str, arguments: tuple[object, ...]) -> None:
        # Before any import of ours, and below every library: each of them goes through Python's sockets.
        if event == "socket.getaddrinfo":
            os.write(noted, f"name {arguments[0]}\n".encode())
        elif event in {"socket.connect", "socket.sendto"}:
            os.write(noted, f"connect {arguments[1]}\n".encode())

    sys.addaudithook(note)
    from service.__main__ import main

    main()
