"""What a test may set on a workspace to make it another one; each counts from the next request."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(eq=False, repr=False, slots=True)
class Switches:
    """The ways in which real workspaces differ, and what the one at hand forbids.

    `page_size_max` is also the page size when a client names none. With `ragged_pages` a listing begins with an empty
    page, goes on with pages of one entry and of none, and ends with an empty one. `conflict_status` answers a PUT with
    overwrite=false on a file that exists. `implicit_parents` lets a PUT make the directories above its file.
    `concurrent_max` Files requests are answered at once; each one more gets 429 with `retry_after_s`.
    `read_only` holds volumes, `unreadable` files and directories with all that is below them, as "/Volumes/…".

    `token_lifetime_s` is that of OAuth tokens from now on, `federated_subject_token` the only one that is exchanged.
    `secrets` are by scope and key; `secrets_refused` is what a workspace does outside of its notebooks. Every job
    exists but the `missing_jobs`.
    """

    page_size_max: int = 20
    ragged_pages: bool = False
    conflict_status: Literal[409, 412] = 409
    implicit_parents: bool = False
    concurrent_max: int = 10
    retry_after_s: int = 1
    read_only: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    token_lifetime_s: float = 3600
    federated_subject_token: str = "simulated.federated.token"
    secrets: dict[tuple[str, str], bytes] = field(default_factory=dict)
    secrets_refused: bool = False
    missing_jobs: set[int] = field(default_factory=set)
