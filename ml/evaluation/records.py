"""What a result's folder says of drivers and radios: by name, and by the content of their files."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ml.errors import ConfigError, EvaluationError

POLICY_FAMILY = "policy"
"""Family of the trained policies; other drivers have the name that builds them."""
RadioPosition = Literal["reference", "own"]
"""Whose position decides a packet's fate: the reference ego's, or that of the driver under test."""
Variant = Literal["", "time gap", "no safety layer", "radio off"]
"""How a trained policy may be driven to see what its parts are worth."""


class Record(BaseModel):
    """Base of what is written into a result's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DriverSpec(Record):
    """A driver, by what it is made from."""

    name: str
    """What tables call it; unique in a result."""
    spec: str
    """What makes it again: a controller's specification, or a model's path."""
    family: str
    """Curve of a frontier that it is a point of, such as `cth`; `policy` for trained ones."""
    knows: Literal["radio", "truth", "nothing"]
    """Where its knowledge of the others comes from."""
    standstill_m: float | None = None
    """The gap that it keeps at standstill, m; None where it has no such parameter."""
    time_gap_s: float | None = None
    """The time gap that it keeps beside that, s."""
    file: str = ""
    """Absolute path of the model, or of the parameters of NAME@FILE; empty for others."""
    sha256: str = ""
    """Of that file."""
    variant: Variant = ""
    """What of a trained policy is changed; nothing where it drives as it is meant to."""

    @property
    def is_model(self) -> bool:
        """Whether it was trained."""
        return self.family == POLICY_FAMILY

    @property
    def source(self) -> str:
        """What makes it again in any folder: `spec` with the file's absolute path."""
        if self.is_model:
            return self.file
        law, tuned, _ = self.spec.partition("@")
        return f"{law}@{self.file}" if tuned else self.spec

    def decides(self) -> list[Any]:
        """Return what its driving depends on: not what it is called, nor where its file lies."""
        law = "" if self.is_model else self.spec.partition("@")[0]
        return [law, self.sha256, self.time_gap_s, self.variant]

    def require_same_file(self) -> None:
        """Check that the file is what it was when the result was begun.

        Raises:
            EvaluationError: It has changed, or is gone.
        """
        file = Path(self.file)
        if not self.file or (file.is_file() and sha256_of(file) == self.sha256):
            return
        happened = "has changed since the result was begun" if file.exists() else "is gone"
        raise EvaluationError(
            f"{self.name}: {file} {happened}. Put it back as it was, or evaluate again into "
            "another --out."
        )


class RadioRecord(Record):
    """A radio."""

    name: str
    """Preset, or the file's path as it was given."""
    sha256: str
    """Of the effective parameters as canonical JSON."""
    file: str = ""
    """The file's absolute path; empty for a preset."""


def sha256_of(file: Path) -> str:
    """Return a file's digest.

    Raises:
        OSError: It cannot be read.
    """
    return sha256(file.read_bytes()).hexdigest()


def require_distinct(what: str, values: Sequence[object]) -> None:
    """Refuse what is named twice.

    Raises:
        ConfigError: With `what` and the value.
    """
    double = next((value for value in values if values.count(value) > 1), None)
    if double is not None:
        raise ConfigError(f"{what}: {double} is named twice; name it once")
