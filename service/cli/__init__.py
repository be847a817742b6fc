"""The command line `dxr-ingest`."""
