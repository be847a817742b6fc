"""What goes over the wire: the request and answer bodies of the contract, section 3."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class SnapshotBody(BaseModel):
    """Asks for a snapshot; whatever is left out is configuration."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dataset: str | None = Field(None, description="default: SNAPSHOT_DATASET", examples=["file_metadata"])
    ingestion_date: str | None = Field(None, description="YYYY-MM-DD; default: today in UTC", examples=["2026-11-22"])
    query: str | None = Field(None, description="KQL filter, for a dataset of its own", examples=["size > 1000"])
    record_cap: int | None = Field(None, ge=1, description="stop after so many rows")
    accept_shrunken: bool = Field(default=False, description="publish even if there are far fewer rows than before")


class ClassificationBody(BaseModel):
    """Asks for a classification of the configured volume."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dataset: str | None = Field(None, description="CLASSIFICATION_DATASET, or left out", examples=["dxr_metadata"])
    prefix: str | None = Field(None, description="only files below this folder", examples=["contracts/2026"])
    full: bool = Field(default=False, description="classify unchanged files too")


class RunError(BaseModel):
    """Why a run failed, and what to do."""

    code: str
    message: str
    hint: str
    retryable: bool


class RunBody(BaseModel):
    """A run."""

    id: str
    kind: Literal["snapshot", "classification"]
    dataset: str
    ingestion_date: str
    query: str | None
    record_cap: int | None
    state: Literal["queued", "running", "landed", "partial", "ingested", "failed", "cancelled"]
    attempt: int
    trigger: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    progress: dict[str, Any]
    counts: dict[str, Any]
    error: RunError | None
    commit: str | None
    receipt: dict[str, Any] | None


class ProblemBody(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = None
