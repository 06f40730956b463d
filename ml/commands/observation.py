"""`roadsense observation`: the table of the observation's features."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ml.console import markdown_table
from ml.options import read_options


@dataclass(frozen=True)
class ObservationOptions:
    """Print the table of the observation's features, as on the site."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0."""
    read_options(ObservationOptions, "roadsense observation", arguments)
    sys.stdout.write(observation_table())
    return 0


def observation_table() -> str:
    """Render the specification as Markdown."""
    from ml.onboard.observation import spec  # noqa: PLC0415 (slow to import)

    text = (
        f"Observation version {spec.OBSERVATION_VERSION}.\n"
        "A value is divided by its scale, then held to its bounds; clipping is counted.\n"
    )
    for title, features in (
        (f"`ego` ({len(spec.EGO_FEATURES)},)", spec.EGO_FEATURES),
        (
            f"`peers` ({spec.MAX_PEERS}, {len(spec.PEER_FEATURES)}), one row a peer",
            spec.PEER_FEATURES,
        ),
    ):
        rows = (
            (str(i), f"`{f.name}`", f.unit, f"{f.scale:g}", f"[{f.low:g}, {f.high:g}]", f.meaning)
            for i, f in enumerate(features)
        )
        columns = ("#", "name", "unit", "scale", "bounds", "meaning")
        text += f"\n## {title}\n\n{markdown_table(columns, rows)}"
    return (
        f"{text}\n## `peer_mask` ({spec.MAX_PEERS},)\n\n"
        "1 where the row of `peers` holds a peer, 0 where it is padding (a row of zeros).\n"
    )
