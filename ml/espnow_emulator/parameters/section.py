"""The base of every section of the radio's parameters."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RadioSection(BaseModel):
    """Base of every section: immutable, no unknown keys, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
