"""What can go wrong in the Spark job, sorted by what happens next.

    IngestError
    ├── ConfigurationError   nothing was started: the operator corrects a setting (exit code 3)
    ├── TableMismatch        a table is not what the job can write: the operator repairs it (exit code 1)
    └── Unbalanced           written and counted rows differ: nobody is told that all went well (exit code 1)
    CommitRefused            no error of the job: the commit gets its receipt, later ones go on

Anything else (a lost executor, a full disk) ends the run without a receipt; the next run takes the commit up again.
"""

from __future__ import annotations


class IngestError(Exception):
    """Ends the run; its text says what, where and what to do."""


class ConfigurationError(IngestError):
    """A setting is missing, invalid or contradicts another one."""


class TableMismatch(IngestError):  # noqa: N818 (named for the thing)
    """An existing table has a column of another type."""


class Unbalanced(IngestError):  # noqa: N818
    """Rows of the commit and rows of the tables do not add up."""


class CommitRefused(Exception):  # noqa: N818
    """This commit changes no table; `reason` goes into its receipt and never holds the content of a row."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.reason = f"{code}: {text}"
