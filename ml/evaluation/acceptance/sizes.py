"""What is asked of the acceptance tests: parts, cases, baselines; light, for options."""

from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, Self, get_args

from pydantic import ConfigDict

from ml.evaluation.seeds import TEST_SEED

PartName = Literal["convoy", "r157", "ncap", "plexe", "peers", "road", "radios"]
PARTS: tuple[PartName, ...] = get_args(PartName)


@dataclass(frozen=True)
class Sizes:
    """How many cases."""

    hazards: int = 21_000
    """Hazards of convoy on clean, 1 to 8 cars ahead. 0.05 % takes 7,680 avoidable ones without a
    crash, 14,582 with up to 2 crashes, or 20,568 with up to 4."""
    bursty_hazards: int = 15_500
    """The same on bursty, where 98 % are avoidable. 0.06 % takes 6,399 without a crash, or 14,698
    with up to 3 crashes."""
    shadowed_hazards: int = 3_000
    """The same on shadowed."""
    others: int = 1_500
    """Benign and free cases of convoy on each of these three radios."""
    beyond_hazards: int = 4_000
    """Hazards on each road, radio and number of cars beyond training. 0.1 % takes 3,838 without a
    crash."""
    beyond_others: int = 500
    """Benign and free cases beyond training."""
    ncap_draws: int = 200
    """Draws of the sensors' errors for each of the 21 cases CCRb and CCRm; 183 can show 99.9 %."""
    plexe_draws: int = 100
    """The same for the car in front with a sinusoidal speed."""
    quick: bool = False
    """Take a few cases of each part, whatever the other numbers: too few for any conclusion."""

    @property
    def r157_each(self) -> int:
        """Every how many cases of the grid are taken; 1 for all."""
        return 60 if self.quick else 1

    def reduced(self) -> Self:
        """Return it with a few cases of everything where `quick` is set."""
        if not self.quick:
            return self
        return replace(
            self,
            hazards=12,
            bursty_hazards=12,
            shadowed_hazards=12,
            others=8,
            beyond_hazards=6,
            beyond_others=4,
            ncap_draws=1,
            plexe_draws=2,
        )


@dataclass(frozen=True, kw_only=True)
class Asked(Sizes):
    """All that decides the cases and who drives them, beside the models; a submission holds it."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    controllers: tuple[str, ...] = ("predictive:0.3", "predictive:0.5")
    """Baselines, as NAME:TIME-GAP or NAME for all its time gaps; `none` for none."""
    clean_controllers: tuple[str, ...] = ()
    """Further baselines on clean, where crashes are compared if the mean headways differ by at
    most 0.05 s; cth:0.6, idm:0.3 and ploeg:0.65 keep 1.27 to 1.29 s there."""
    shadowed_controllers: tuple[str, ...] = ("idm:1.1",)
    """Further baselines on shadowed, where the frontier is compared up to 3 s of headway."""
    clean_gaps: tuple[float, ...] = ()
    """Further time gaps of each model on clean, s; baselines are compared with the nearest."""
    bursty_gaps: tuple[float, ...] = ()
    """Further time gaps on bursty, s; not tested."""
    shadowed_gaps: tuple[float, ...] = ()
    """Further time gaps on shadowed, s: points of its frontier."""
    only: tuple[PartName, ...] = ()
    """Parts to measure; default: all."""
    seed: int = TEST_SEED
    """Seed of the cases; default: the test seed. To choose between models, use the validation
    seed, 3000017, so that the cases of the test seed stay unseen."""


COUNTS = tuple(field.name for field in fields(Sizes) if field.name != "quick")
"""Numbers that must be 1 or more."""
