"""How a policy is plugged into a vehicle: what it must be shown, and what is done with its action.

A model file carries this beside its weights, so that whoever drives with it later, in an evaluation
or on a board, does as was done in its training.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from ml.envs.config import EnvConfig, Share


class PolicyInterface(BaseModel):
    """What stands between a policy and the vehicle; see `EnvConfig`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    time_gap_s: Annotated[float, Field(ge=0.0, le=5.0)] = 1.0
    """The time gap that the driver usually sets, s."""
    time_gaps_s: tuple[float, float] | None = None
    """Range of settings that it was trained for, s; None where it was trained for one."""
    action_lag_s: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Time constant of the low-pass behind its action, s."""
    safety_layer: bool = False
    """Whether its action is bounded by the safety layer."""
    position_common_share: Share = 0.0
    """Share of a position's error variance that its board takes to be common to the convoy. A file
    that does not say was made when boards took errors for independent: it drives on with 0."""

    @classmethod
    def of(cls, config: EnvConfig, usual_time_gap_s: float | None = None) -> Self:
        """Describe the policies that an environment trains.

        Args:
            config: The environment's.
            usual_time_gap_s: The driver's usual setting; None for the middle of the trained range.
        """
        low_s, high_s = config.time_gap_s
        usual_s = 0.5 * (low_s + high_s) if usual_time_gap_s is None else usual_time_gap_s
        return cls(
            time_gap_s=usual_s,
            time_gaps_s=(low_s, high_s) if low_s < high_s else None,
            action_lag_s=config.action_lag_s,
            safety_layer=config.safety_layer,
            position_common_share=config.position_common_share,
        )

    def config_changes(self) -> dict[str, Any]:
        """Return what an `EnvConfig` must say for such a policy."""
        return {
            "time_gap_s": (self.time_gap_s, self.time_gap_s),
            "action_lag_s": self.action_lag_s,
            "safety_layer": self.safety_layer,
            "position_common_share": self.position_common_share,
        }
