"""The family of episodes that policies are trained on, on seeds of its own, and balanced.

Hazards 60 %, benign and free 20 % each. Nine in ten episodes have 1 to 8 peers, as many of each
number; within a number the hazard comes from each rank equally often, and the ego's initial time
gap is drawn from each third of its range equally often. One in ten has 9 to 12 peers, more than
the observation has rows: an extrapolation, with a label of its own (`stratum`).
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from ml.envs.config import KINDS, EnvConfig, EpisodeKind
from ml.envs.episodes.drawn import EpisodePlan, EpisodeSource, Strata
from ml.evaluation.suites.suite import Label, Suite
from ml.onboard.observation.spec import MAX_PEERS
from ml.sumo.protocol import Placement
from ml.sumo.road import Road

TRAINED, EXTRAPOLATED = range(1, MAX_PEERS + 1), range(MAX_PEERS + 1, 13)
_PATTERN: tuple[EpisodeKind, ...] = ("hazard", "benign", "hazard", "free", "hazard")
_EXTRAPOLATE_EACH = 10
_GAP_BANDS = 3


def balanced(episodes: int, config: EnvConfig) -> Strata:
    """Lay out the strata of a number of episodes; the first n of more are the same n."""
    seen: Counter[tuple[bool, str]] = Counter()
    rows = []
    for case in range(episodes):
        beyond = case % _EXTRAPOLATE_EACH == _EXTRAPOLATE_EACH - 1
        sizes = EXTRAPOLATED if beyond else TRAINED
        order = case // _EXTRAPOLATE_EACH if beyond else case - case // _EXTRAPOLATE_EACH
        kind = _PATTERN[order % len(_PATTERN)]
        count = seen[beyond, kind]
        seen[beyond, kind] += 1
        peers = sizes[count % len(sizes)]
        turn = count // len(sizes)
        # Every rank meets every band: their turns must not stay in step.
        band = (turn + (turn // peers if peers % _GAP_BANDS == 0 else 0)) % _GAP_BANDS
        rows.append((KINDS.index(kind), peers, 1 + turn % peers, band))
    kinds, peers_of, rank, band_of = np.array(rows, dtype=np.int64).T
    low, high = config.ego_time_gap_s
    edges = np.linspace(low, high, _GAP_BANDS + 1)
    return Strata(kinds, peers_of, rank, np.stack([edges[band_of], edges[band_of + 1]], axis=1))


class BalancedSupply:
    """Draws episodes whose strata are given; convoy number c is case c, modulo their number."""

    def __init__(self, strata: Strata, config: EnvConfig, road: Road) -> None:
        self._strata = strata
        self._source = EpisodeSource(config, road)

    def draw(
        self,
        keys: NDArray[np.uint64],
        env_indices: NDArray[np.int64],
        forced_kind: EpisodeKind | None,
        cases: NDArray[np.int64],
    ) -> tuple[EpisodePlan, Placement]:
        """Return the plan and the placement of some cases; see `EpisodeSupply.draw`."""
        number = cases % self._strata.kind.size
        strata = Strata(*(getattr(self._strata, name)[number] for name in Strata.__slots__))
        return self._source.draw(keys, env_indices, forced_kind, strata=strata)

    def script_mps(self, cases: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return nothing: plans say all."""
        return self._source.script_mps(cases)


def convoy(name: str, episodes: int) -> Suite:
    """Build the suite of at least one episode; `name` is its specification."""
    config = EnvConfig(num_peers=(1, EXTRAPOLATED[-1]), stop_at_collision=False)
    strata = balanced(episodes, config)

    def labels(case: int) -> dict[str, Label]:
        low_s, high_s = strata.ego_time_gap_s[case % episodes].tolist()
        beyond = strata.num_peers[case % episodes] > MAX_PEERS
        return {
            "stratum": "extrapolation" if beyond else "trained",
            "gap_band": f"{low_s:.1f}-{high_s:.1f} s",
        }

    def supply(config: EnvConfig, road: Road) -> BalancedSupply:
        return BalancedSupply(strata, config, road)

    return Suite(name, config, episodes, supply, labels)
