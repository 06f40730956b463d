"""What an environment is made of, as one typed and validated object."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.envs.prices import EPISODE_TICKS, PRICES

EpisodeKind = Literal["hazard", "benign", "free"]
"""`hazard`: a peer brakes so hard and long that an ego holding its speed hits the car in front.
`benign`: a peer slows by at most 2 m/s² and 30 % of its speed, then recovers. `free`: nobody
brakes beyond ordinary car-following."""

KINDS: tuple[EpisodeKind, ...] = ("hazard", "benign", "free")


_MAX_CONVOY_PEERS = 20

Share = Annotated[float, Field(ge=0.0, le=1.0)]
_Peers = Annotated[int, Field(ge=1, le=_MAX_CONVOY_PEERS)]
_StartMps = Annotated[float, Field(ge=3.0, le=45.0)]
_StartGapS = Annotated[float, Field(ge=0.5, le=5.0)]
_TimeGapS = Annotated[float, Field(ge=0.0, le=5.0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EpisodeMix(_Model):
    """How often each kind of episode is drawn; the shares sum to 1."""

    hazard: Share = 0.5
    benign: Share = 0.25
    free: Share = 0.25

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.hazard + self.benign + self.free
        if abs(total - 1.0) > 1e-9:  # noqa: PLR2004 (rounding of decimal fractions)
            raise ValueError(f"hazard + benign + free = {total:g}; the shares must sum to 1")
        return self


class RewardWeights(_Model):
    """What each bounded reward term is multiplied by, per tick (`collision`, `overreaction`: once).

    The defaults follow `ml.envs.prices`. At them an episode of 50 s is charged for a crash, quiet
    braking and an overreaction just what they cost in the safety score. `headway`, `comfort` and
    `false_braking` stand in, tick by tick, for a gap, a jerk and events that only an episode has:
    near their prices, but for `false_braking`, which begins sooner and counts by its length.
    `safety` and `restraint` have no price: they teach.
    """

    headway: Annotated[float, Field(ge=0.0)] = 0.1
    """Reward at the set gap, halved at a deviation of 5 m + 0.5 s. At 0.3 s off, further deviation
    costs about the price of a second of headway per second."""
    safety: Annotated[float, Field(ge=0.0)] = 0.2
    """Penalty where avoiding a crash needs more than 2 m/s², or the gap is below 0.5 s."""
    collision: Annotated[float, Field(ge=0.0)] = PRICES["crash"]
    """Penalty of a crash that the reference ego would have avoided: its price."""
    comfort: Annotated[float, Field(ge=0.0)] = 0.25
    """Penalty of jerk beyond 0.8 m/s³ and braking beyond 1.5 m/s², as their squares: about the
    price of jerk on a bad radio."""
    false_braking: Annotated[float, Field(ge=0.0)] = PRICES["false_brakes"] / 12
    """Penalty of braking beyond 1.5 m/s² without cause; about 12 ticks of it cost the price of one
    event."""
    restraint: Annotated[float, Field(ge=0.0)] = 0.25
    """Penalty of actions beyond the bounds of the safety layer."""
    braking: Annotated[float, Field(ge=0.0)] = PRICES["braking_share"] / EPISODE_TICKS
    """Penalty of braking in episodes without a hazard: its price, spread over 50 s."""
    overreaction: Annotated[float, Field(ge=0.0)] = PRICES["overreaction"]
    """Penalty of overreaction in a benign episode: its price."""


class EnvConfig(_Model):
    """Everything that decides what an episode is like."""

    scenario: str = "highway"
    """Name of a scenario in sumo-configs/, or the path of a sumocfg."""
    backend: Literal["libsumo", "traci"] = "libsumo"
    """libsumo runs SUMO in this process; traci starts a separate SUMO, or connects to a server."""
    num_peers: tuple[_Peers, _Peers] = (1, 8)
    """Range of the number of cars ahead of the ego; drawn uniformly per episode."""
    radio: str = "clean"
    """Name of a radio preset, or the path of a parameter file; FILE:at-large selects other boards
    than those that logged, in a calibrated file."""
    domain_randomisation: bool = False
    """Draw the parameters of radio and sensors per episode from the file's ranges."""
    episode_s: Annotated[float, Field(ge=1.0, le=3600.0)] = 50.0
    """Time limit of an episode, s."""
    episode_mix: EpisodeMix = EpisodeMix()
    """Shares of hazard, benign and free episodes."""
    initial_speed_mps: tuple[_StartMps, _StartMps] = (8.0, 33.0)
    """Range of the convoy's initial speed, m/s; the road's limit caps it."""
    ego_time_gap_s: tuple[_StartGapS, _StartGapS] = (1.0, 2.5)
    """Range of the ego's initial time gap, s (beside a standstill distance of 5 m)."""
    time_gap_s: tuple[_TimeGapS, _TimeGapS] = (1.0, 1.0)
    """Range of the time gap that the driver sets, s (the gap is never less than 10 m). Drawn per
    episode, observed by the policy, and the target of the reward's headway term."""
    action_lag_s: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Time constant of the low-pass between the policy's action and the command, s; 0: none."""
    safety_layer: bool = False
    """Bound the ego's acceleration by what the newest messages demand (ml.onboard.safety_layer)."""
    position_common_share: Share = 0.28
    """Share of the variance of position errors that the ego's board assumes to be common to the
    convoy, 0 to 1; common errors cancel in distances. 0 is cautious: all errors are independent,
    and the safety layer keeps more distance. The default is less than the sensors' actual share
    (position.common_share of the radio's file, 0.5), so that the layer's margin is 2.4 standard
    deviations of the actual error (ADR 37)."""
    ego_receives: bool = True
    """Whether the ego's board receives messages. False: its peer table stays empty."""
    reward: RewardWeights = RewardWeights()
    """Weights of the reward terms."""
    ego_control: Literal["policy", "sumo"] = "policy"
    """Who drives the ego: the actions, or SUMO's own car-following (a baseline; actions unused)."""
    radio_position: Literal["own", "reference"] = "own"
    """Position that decides which packets the ego receives: its own, as on the road, or that of the
    reference ego, so that every driver receives the same packets."""
    reference_gap: _StartGapS | Literal["own"] = 1.5
    """Initial time headway of the reference ego, s; `own`: it starts where the ego does."""
    stop_at_collision: bool = True
    """End an episode when the ego crashes. False (evaluation): the ego stays where it crashed, the
    peers drive on, and the case is recorded to its end."""
    cases: str = ""
    """Critical cases to replay: `clean`, `bursty`, or a file that `roadsense cases find` wrote for
    the same environment."""
    cases_share: Share = 0.0
    """Share of training episodes that are cases of the training half of `cases`."""
    episodes_from: str = ""
    """Folder of recorded convoys (docs/drives.md) that replace a share of the training episodes;
    only the training half of the files is used (split by content)."""
    episodes_from_share: Share = 0.3
    """Share of recorded episodes, if `episodes_from` is set."""
    audit_causality: bool = False
    """Check at run time that no observation contains a message from the future."""

    @model_validator(mode="after")
    def _ordered_ranges(self) -> Self:
        for name in ("num_peers", "initial_speed_mps", "ego_time_gap_s", "time_gap_s"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} = ({low}, {high}): the first must not exceed the second")
        return self

    @model_validator(mode="after")
    def _cases_and_their_share(self) -> Self:
        if bool(self.cases) != (self.cases_share > 0.0):
            raise ValueError(
                f"cases = {self.cases!r} with cases_share = {self.cases_share:g}: give both, as "
                "cases = clean and cases_share = 0.3, or neither"
            )
        return self

    @property
    def max_convoy_peers(self) -> int:
        """Peers for which arrays are allocated."""
        return self.num_peers[1]
