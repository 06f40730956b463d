"""What a batch asks of whoever decides what its episodes are like."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from ml.arrays import Floats, Ints, Words
from ml.envs.config import EnvConfig, EpisodeKind
from ml.envs.episodes.drawn import EpisodePlan
from ml.sumo.protocol import Placement
from ml.sumo.road import Road


class EpisodeSupply(Protocol):
    """Plans episodes and places their cars, before their first tick and whatever the ego does."""

    def draw(
        self, keys: Words, env_indices: Ints, forced_kind: EpisodeKind | None, cases: Ints
    ) -> tuple[EpisodePlan, Placement]:
        """Return the plan and the placement of some episodes.

        Args:
            keys: (n,) uint64, the episodes' keys.
            env_indices: (n,) int64, places in the batch that they are for.
            forced_kind: Overrides the kind.
            cases: (n,) int64, numbers of the convoys whose episodes they are.
        """

    def script_mps(self, cases: Ints) -> Floats:
        """Speeds that cars shall have at the end of each tick.

        Returns:
            (n, num_slots, ticks) float64 m/s; NaN where the plan or SUMO drives. No ticks where
            nothing is scripted; the same number in all episodes.
        """


SupplyMaker: TypeAlias = Callable[[EnvConfig, Road], EpisodeSupply]
