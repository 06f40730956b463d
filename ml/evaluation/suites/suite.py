"""What a suite is: a configuration, a supply of episodes, and what to say of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ml.envs.config import EnvConfig
from ml.envs.episodes.scripted import ManoeuvreCase, ManoeuvreSupply
from ml.envs.episodes.source import EpisodeSupply, SupplyMaker
from ml.sumo.road import Road
from ml.vehicle import DT_S

Label = float | int | str
KMH = 1.0 / 3.6
"""m/s in a km/h."""
G_MPS2 = 9.81
LEAD_IN_TICKS = 10
"""A second of steady driving before a scripted braking, so that peers are heard before it, as
on the road; the grids themselves begin at the braking."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A set of cases.

    Attributes:
        name: What made it: its specification, such as `r157` or `r157:2`.
        config: Scenario, duration, number of peers and the reference ego's gap.
        num_cases: Cases per radio and seed.
        supply: Makes the source of episodes; case c is convoy c's episode 0.
        labels: What is said of a case.
        options: Figures that distinguish this suite from one of the same name.
    """

    name: str
    config: EnvConfig
    num_cases: int
    supply: SupplyMaker
    labels: Callable[[int], dict[str, Label]]
    options: dict[str, Label] = field(default_factory=dict)


def scripted_suite(
    name: str,
    cases: Sequence[ManoeuvreCase],
    *,
    ticks: int,
    reference_gap: float | Literal["own"],
    scenario: str = "highway",
    repeats: int = 1,
) -> Suite:
    """Build a suite of manoeuvres of `ticks` each; `name` is its specification.

    Each is run `repeats` times, with other sensors' errors and packets' fates each time: case c is
    manoeuvre c modulo their number. The reference ego keeps the time headway `reference_gap`, s,
    or each case's own gap.
    """

    def supply(config: EnvConfig, road: Road) -> EpisodeSupply:
        return ManoeuvreSupply(cases, config, road)

    def labels(case: int) -> dict[str, Label]:
        return dict(cases[case % len(cases)].labels)

    most = max(len(case.gaps_m) for case in cases)
    config = EnvConfig(
        scenario=scenario,
        num_peers=(1, most),
        episode_s=ticks * DT_S,
        reference_gap=reference_gap,
        stop_at_collision=False,
    )
    return Suite(name, config, len(cases) * repeats, supply, labels, {"repeats": repeats})
