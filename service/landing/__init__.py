"""The landing: where chunks, rejects, commits and receipts lie, whatever stores them. See docs/landing-format.md."""
