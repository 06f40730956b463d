"""`roadsense replay`: one episode of a result again, as a page, a picture or in sumo-gui."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ml.atomic_files import check_writable
from ml.commands.checks import require_seeds
from ml.commands.watch import open_page
from ml.console import make_console
from ml.errors import ConfigError
from ml.evaluation.result import EpisodeRow, Manifest, read_part, slug
from ml.options import read_options
from ml.progress import Parts

_MOST_LISTED = 8
_ENDINGS = (".html", ".json", ".npz", ".gif")  # of ml.reports.episode.files, slow to import


@dataclass(frozen=True)
class ReplayOptions:
    """Repeat one episode of a result, bit for bit, and draw it.

    Defaults are the result's first model, suite, radio and seed.
    """

    result: Annotated[Path, tyro.conf.Positional]
    """Folder that `roadsense evaluate` has written."""
    episode: int
    """Number of the case, as in the result's rows and on its safety card."""
    controller: str | None = None
    """Driver; default: the first model, or the first controller."""
    suite: str | None = None
    """Suite of the case; default: the result's first."""
    radio: str | None = None
    """Radio of the case; default: the suite's first."""
    seed: int | None = None
    """Seed of the case; default: the result's first."""
    out: Path | None = None
    """File to write: .html for the page that shows what the driver knew, .json for its data, .npz
    for arrays, .gif for an animated picture; default: a page in the folder `replays` of the
    result."""
    open: bool = False
    """Open the page in a browser."""
    gui: bool = False
    """Show the episode in sumo-gui, in real time, instead of drawing it."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0."""
    options = read_options(ReplayOptions, "roadsense replay", arguments)
    require_seeds(options, "seed")
    if not (options.result / Manifest.FILE).is_file():
        raise ConfigError(
            f"{options.result} holds no result (it has no {Manifest.FILE}). Name a folder that "
            "`roadsense evaluate` has written."
        )
    if options.gui and not os.environ.get("DISPLAY"):
        raise ConfigError(
            "--gui needs a display, and the environment variable DISPLAY is not set. Run it in a "
            "desktop session, or leave out --gui for a page."
        )
    if options.out is not None and options.out.suffix.lower() not in _ENDINGS:
        raise ConfigError(f"--out must end in {' or '.join(_ENDINGS)}, got {options.out}")
    manifest = Manifest.read(options.result)
    row = find_episode(options, manifest)
    parts = (row.suite, row.radio, row.controller, f"s{row.seed}", f"e{row.case}")
    file = options.out or options.result / "replays" / f"{'__'.join(map(slug, parts))}.html"
    if not options.gui:
        check_writable(file.parent, "--out")
    from ml.evaluation.rerun import episode_name, job_of, rerun  # noqa: PLC0415
    from ml.reports.episode.files import (  # noqa: PLC0415 (slow to import)
        drive_of,
        title_of,
        write_episode,
    )
    from ml.reports.episode.words import tell  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    console = make_console()
    console.print(f"{episode_name(row)}\n{tell(row)}", markup=False, highlight=False)
    with Parts(console, "driving") as shown:
        recording = rerun(
            job_of(manifest, row),
            load_model,
            gui=options.gui,
            on_tick=lambda tick, ticks: shown.at("driving", tick / ticks),
        )
        if not options.gui:
            write_episode(
                file,
                title_of(row),
                [drive_of(row, recording)],
                lambda frame, of: shown.at("drawing", frame / of),
            )
    console.print("the episode is the result's, bit for bit")
    if not options.gui:
        console.print(f"written: {file}", markup=False, soft_wrap=True)
        if options.open and file.suffix.lower() == ".html":
            open_page(file)
    return 0


def find_episode(options: ReplayOptions, manifest: Manifest) -> EpisodeRow:
    """Find the episode that is meant.

    Raises:
        ConfigError: There is none, with what there is.
        EvaluationError: Its file cannot be read.
    """
    names = [manifest.first_policy, *(c.name for c in manifest.controllers)]
    controller = _chosen("controller", options.controller, names)
    parts = [part for part in manifest.parts if part.controller == controller]
    suite = _chosen("suite", options.suite, [part.suite for part in parts])
    radio = _chosen("radio", options.radio, [part.radio for part in parts if part.suite == suite])
    seed = int(_chosen("seed", options.seed, [str(seed) for seed in manifest.seeds]))
    rows = [
        row
        for part in parts
        if (part.suite, part.radio, part.seed) == (suite, radio, seed)
        for row in read_part(options.result / part.file)
    ]
    for row in rows:
        if row.case == options.episode:
            return row
    raise ConfigError(
        f"--episode {options.episode}: {suite} on {radio} has the episodes 0 … {len(rows) - 1}"
    )


def _chosen(name: str, asked: str | int | None, named: Sequence[str]) -> str:
    """Return what is asked for; by default the first that has a name."""
    known = [one for one in dict.fromkeys(named) if one]
    if asked is None and known:
        return known[0]
    if str(asked) not in known:
        shown = ", ".join(known[:_MOST_LISTED]) + (", …" if len(known) > _MOST_LISTED else "")
        raise ConfigError(f"--{name} {asked}: the result has {shown or 'none'}")
    return str(asked)
