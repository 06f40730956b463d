"""Describe drivers as plain records, from which `drivers.make_driver` builds them anywhere."""

from pathlib import Path

from ml.controllers.registry import make_controller
from ml.envs.policy_interface import PolicyInterface
from ml.errors import CheckpointError
from ml.evaluation.records import POLICY_FAMILY, DriverSpec, Variant, sha256_of

SUMO_SPEC = "sumo"
_WRAPPERS = ("off", "truth")


def model_spec(
    path: str,
    name: str,
    interface: PolicyInterface,
    *,
    time_gap_s: float | None = None,
    variant: Variant = "",
) -> DriverSpec:
    """Describe a trained policy.

    Args:
        path: Of the model's file.
        name: What tables call it.
        interface: How it is plugged in.
        time_gap_s: The time gap that it is told to keep, s; None for its own.
        variant: What else of it is changed.

    Raises:
        CheckpointError: The file cannot be read.
    """
    try:
        digest = sha256_of(Path(path))
    except OSError as error:
        raise CheckpointError(
            f"model {path} cannot be read ({error.strerror}). Name a .zip that `roadsense train` "
            "saved."
        ) from error
    return DriverSpec(
        name=name,
        spec=path,
        family=POLICY_FAMILY,
        knows="nothing" if variant == "radio off" else "radio",
        time_gap_s=interface.time_gap_s if time_gap_s is None else time_gap_s,
        file=str(Path(path).absolute()),
        sha256=digest,
        variant=variant,
    )


def controller_spec(spec: str) -> DriverSpec:
    """Describe a classical controller, or SUMO's car-following.

    Args:
        spec: "sumo", or as `make_controller` takes it.

    Raises:
        ConfigError: There is no such controller, or its file cannot be read.
    """
    if spec == SUMO_SPEC:
        return DriverSpec(name="SUMO's car-following", spec=spec, family=spec, knows="truth")
    controller = make_controller(spec)
    law, tuned, file = spec.partition("@")
    first, *more = law.split(":")
    family = f"{first}:{more[0]}" if first in _WRAPPERS else first
    return DriverSpec(
        name=controller.name,
        spec=spec,
        family=family + (f", {Path(file).stem}" if tuned else ""),
        knows=controller.knows,
        standstill_m=controller.standstill_m,
        time_gap_s=controller.time_gap_s,
        file=str(Path(file).absolute()) if tuned else "",
        sha256=sha256_of(Path(file)) if tuned else "",
    )
