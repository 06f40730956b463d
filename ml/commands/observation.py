"""`roadsense observation`: the table of the observation's features."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro


@dataclass(frozen=True)
class ObservationOptions:
    """Print the table of the observation's features, as in docs/observation.md."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0."""
    tyro.cli(ObservationOptions, prog="roadsense observation", args=arguments)
    from ml.onboard.observation.spec import observation_table  # noqa: PLC0415 (slow to import)

    sys.stdout.write(observation_table())
    return 0
