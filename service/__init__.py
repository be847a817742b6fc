"""The ingestion service: lands what Data X-Ray serves, and promises a commit only for what is proven whole."""

__version__ = "0.1.0"
