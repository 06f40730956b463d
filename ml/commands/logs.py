"""`roadsense logs`: synthetic logs of any radio, and maps for logs in other formats."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ml.atomic_files import check_writable, write_atomically
from ml.commands.checks import require_file, require_new, require_seeds
from ml.commands.logs_check import CheckOptions, check
from ml.console import make_console, plain_lines
from ml.errors import ConfigError
from ml.options import read_subcommand
from ml.progress import Parts

_SHORTEST_MIN, _LONGEST_MIN = 1.0, 240.0


@dataclass(frozen=True)
class SynthOptions:
    """Write the logs of a drive that never was, on the radio and sensors of a preset.

    Two cars: TX and RX logs of both, and the RTT log of one that pings the other. Three cars: TX
    and RX logs, with relays. `truth.json` says what they were made with. The same seed, the same
    files.
    """

    out: Path
    """Folder for the logs; it is made, and must be empty."""
    preset: str = "clean"
    """Radio preset, or a parameter file."""
    cars: Literal[2, 3] = 2
    """How many cars drive."""
    minutes: float = 30.0
    """How long they drive."""
    seed: int = 0
    """Of everything that is drawn."""
    parked: bool = False
    """Nobody moves: shows how GPS wanders."""
    hard_brakings: int = 0
    """How often the leader brakes hard, and the cars behind it a second later each; fewer where
    the drive has no room for so many."""
    artefacts: bool = True
    """With duplicates, glitches, missing fixes, relayed rows in TX logs, stalls of the loggers and
    a board that is mounted backwards, as real logs have them."""


@dataclass(frozen=True)
class MapOptions:
    """Propose a map, so that a log in another format can be read.

    It is found by the names of the file's columns and by its values, and tried: what still stands
    against reading the file so is said at its end. Correct it, and give it to the commands that
    read logs as --map. docs/logs.md explains what can stand in a map.
    """

    file: tyro.conf.Positional[Path]
    """A log: text with one row per line."""
    out: Path | None = None
    """The map to write (TOML); printed by default."""
    force: bool = False
    """Replace a map that is there, perhaps with your corrections."""


def main(arguments: Sequence[str]) -> int:
    """Run `roadsense logs`; return the exit code."""
    options = read_subcommand(
        {"synth": SynthOptions, "map": MapOptions, "check": CheckOptions},
        "roadsense logs",
        arguments,
    )
    if isinstance(options, CheckOptions):
        return check(options)
    return _map(options) if isinstance(options, MapOptions) else _synth(options)


def _map(options: MapOptions) -> int:
    require_file("--out", options.out, ".toml")
    if options.out is not None:
        require_new("--out", options.out, force=options.force)
    from ml.calibration.logs.proposal import propose  # noqa: PLC0415 (scipy is slow)

    proposal = propose(options.file)
    text = proposal.toml(options.file.name)
    if options.out is None:
        sys.stdout.write(text)
        return 0
    write_atomically(options.out, text)
    make_console().print(
        f"next: read {options.out}, correct it, and run\n"
        f"roadsense calibrate {options.file} --map {options.out}",
        highlight=False,
    )
    return 0


def _synth(options: SynthOptions) -> int:
    require_seeds(options, "seed")
    if not _SHORTEST_MIN <= options.minutes <= _LONGEST_MIN:
        allowed = f"from {_SHORTEST_MIN:g} to {_LONGEST_MIN:g}"
        raise ConfigError(f"--minutes must be {allowed}, got {options.minutes:g}")
    out = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out must be a folder that is empty, or not there yet, got {out}")
    from ml.parameters import load_parameters  # noqa: PLC0415 (slow to import)

    parameters = load_parameters(options.preset)
    from ml.calibration.synthetic.logs import write_logs  # noqa: PLC0415
    from ml.calibration.synthetic.recording import record  # noqa: PLC0415

    console = make_console()
    check_writable(out, "--out")
    with Parts(console, "driving") as parts:
        (recording,) = record(
            parameters,
            num_cars=options.cars,
            duration_s=60.0 * options.minutes,
            seeds=[options.seed],
            echo=options.cars == 2,  # noqa: PLR2004 - a pair
            stalls=options.artefacts,
            parked=options.parked,
            hard_brakings=options.hard_brakings,
            on_tick=lambda k, n: parts.at("driving", k / n),
        )
        parts.at("writing", 1.0)
        files = write_logs(
            recording, parameters, out, seed=options.seed, artefacts=options.artefacts
        )
    for file in files:
        console.print(str(file), highlight=False)
    tell = plain_lines(console)
    tell(f"next: roadsense calibrate {out}/*.csv --out params.json")
    if options.hard_brakings:
        tell(f"or:   roadsense judge-drive {out}/*.csv --model ml/models/convoy.zip")
    else:
        tell(f"or:   roadsense logs check {out}/*.csv")
    return 0
