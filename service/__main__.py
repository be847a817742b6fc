"""The command `dxr-ingest`, also as `python -m service`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without the extra `service`, say so."""
    try:
        from service.cli.main import run
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "service":
            raise
        sys.exit(f"dxr-ingest needs its extra `service` ({error.name} is missing): pip install 'dxr-ingest[service]'")
    run()


if __name__ == "__main__":
    main()
