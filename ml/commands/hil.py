"""`roadsense hil`: a board in the loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ml.commands.checks import require_counts, require_file, require_seeds
from ml.console import counted, make_console, plain_lines
from ml.errors import BoardError, ConfigError, did_you_mean
from ml.evaluation.seeds import TEST_SEED
from ml.installation import model_file
from ml.options import read_options
from ml.progress import Parts

if TYPE_CHECKING:
    from rich.console import Console

    from ml.evaluation.drivers import Driver
    from ml.evaluation.recording import Recording
    from ml.evaluation.result import EpisodeRow
    from ml.evaluation.suites.suite import Suite
    from ml.hil.build import Code
    from ml.hil.port import Port
    from ml.hil.protocol import Hello
    from ml.hil.session import Session

SHIPPED = model_file("convoy")
_HOST, _QEMU = "host", "qemu"
_MOST_DEADLINE_MS = 60_000


@dataclass(frozen=True)
class HilOptions:
    """Run a board in the loop: SUMO moves the cars, the board decides, tick by tick.

    Each tick of 0.1 s the board is handed what a board on the road would get (frames off the air,
    fixes, samples of its sensors), and answers with a command. Simulated time waits for it. An
    answer that is late or broken is counted, and the vehicle does what a safe one would: no
    acceleration, and from 0.3 s without an answer on braking by 1.5 m/s². A board that is
    unplugged, silent for a second or of another version ends the command with an error.

    All that was said is recorded, with the truth beside it (firmware/hil/README.md); --replay puts
    a record to a board again, without SUMO, and says where it answers otherwise: exit code 1. With
    --page it asks no board: it drives the record's worst episode again, as its vehicle was
    commanded, and writes the page of it.

    The figures that are printed are those of `roadsense evaluate`, of the board and, beside it, of
    the model in Python in the same episodes, with the same packets lost. Of the worst episode (a
    crash, else the smallest time to collision) a page as of `roadsense watch` shows what the board
    knew in each moment, and what it answered.
    """

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """A model of `roadsense train` (.zip) or a folder of `roadsense export`; default: the shipped
    model. With a device, what it must have been flashed with; default: whatever that is."""
    board: str = _HOST
    """host: the board's code on this machine. qemu: on a bare RISC-V core. Or a serial port, as
    /dev/ttyUSB0, with a board that runs firmware/convoy in its mode for this."""
    core: Literal["rv32imc", "rv32imafc"] = "rv32imc"
    """Of qemu: without FPU, as the ESP32-C3, or with one."""
    suite: str = "convoy"
    """Suite of `roadsense evaluate`."""
    radio: str = "bursty"
    """Radio preset, or a parameter file."""
    episodes: int = 10
    """Episodes, spread over the suite's cases. A tick of qemu takes about 10 ms."""
    seed: int = TEST_SEED
    """Seed of the cases; default: the test seed."""
    deadline_ms: int = 100
    """By when the board must have answered; of host and qemu by their own clock alone, which counts
    an instruction of qemu as a cycle at 160 MHz."""
    beside: bool = True
    """Drive the same episodes with the model in Python, too."""
    out: Path | None = None
    """The record to write; default: hil/, the time and the board."""
    page: Path | None = None
    """The page of the worst episode (.html); default: beside the record."""
    replay: Path | None = None
    """A record to put to the board again, in the place of driving; with --page, to make one of."""


def main(arguments: Sequence[str]) -> int:
    """Run `roadsense hil`; return 0, or 1 where a replay differs."""
    options = read_options(HilOptions, "roadsense hil", arguments)
    require_counts(options, "episodes", "deadline_ms")
    require_seeds(options, "seed")
    if options.deadline_ms > _MOST_DEADLINE_MS:
        raise ConfigError(f"--deadline-ms must be ≤ {_MOST_DEADLINE_MS}, got {options.deadline_ms}")
    require_file("--page", options.page, ".html")
    console = make_console()
    if options.replay is None:
        return _drive(options, console)
    if options.page is None:
        return _replay(options, console)
    return _page_of_record(options.replay, options.page, console)


def _page_of_record(file: Path, page: Path, console: Console) -> int:
    """Write the page of a record's worst episode; it is driven again, without the board."""
    from ml.hil.record import read_record  # noqa: PLC0415 (numba is slow to import)
    from ml.hil.redrive import redrive, worst_episode  # noqa: PLC0415

    _require_new("--page", page)
    header, messages = read_record(file)
    episode = worst_episode(file, messages)
    total = len(episode.commands_mps2)
    with Parts(console, "driving it again", total=total, unit="ticks") as parts:
        recording = redrive(file, header, episode, lambda *_: parts.advance())
    _write_page(page, episode.row, recording, episode.hello)
    plain_lines(console)(f"page: {page} (the worst of {file}: episode {episode.row.case})")
    return 0


def _require_new(option: str, file: Path) -> None:
    if file.exists():
        raise ConfigError(f"{option} = {file} exists. Name another file, or remove it.")


def _replay(options: HilOptions, console: Console) -> int:
    from ml.hil.protocol import Hello, Kind  # noqa: PLC0415 (torch and numba are slow to import)
    from ml.hil.record import is_whole, read_record  # noqa: PLC0415
    from ml.hil.replay import count_ticks, replay  # noqa: PLC0415
    from ml.hil.session import Session  # noqa: PLC0415

    assert options.replay is not None  # noqa: S101 (for the type checker)
    header, messages = read_record(options.replay)
    kept = list(messages)
    total = count_ticks(kept)
    if not total:
        raise ConfigError(f"{options.replay} has no tick: its board never drove.")
    tell = plain_lines(console)
    said = (Hello.of(message.body) for message in kept if message.kind == Kind.IS_HELLO)
    with _board(options, str(header.get("source", ""))) as (port, code):
        session = Session(port, deadline_s=options.deadline_ms / 1e3)
        _require_model(options, session, code)
        tell(f"recorded: {_called(next(said, None))}; now: {_called(session.hello)}")
        with Parts(console, "replaying", total=total, unit="ticks") as parts:
            compared = replay(kept, session, parts.advance)
        session.end()
    for difference in compared.first:
        tell(str(difference))
    ticks = f"{counted(compared.ticks, 'tick')} of {counted(compared.episodes, 'episode')}"
    if compared.unanswered:
        tell(
            f"{counted(compared.unanswered, 'tick')} without an answer, then or now: a board from "
            "which something was lost on the way remembers otherwise from then on"
        )
    if compared.differing:
        tell(f"{compared.differing:,} of {ticks} differ")
        return 1
    if not is_whole(options.replay):
        tell(f"{options.replay} is cut: what came after these ticks is missing")
    tell(f"{ticks}: the same bits")
    return 0


def _drive(options: HilOptions, console: Console) -> int:
    from ml.evaluation.console import tables  # noqa: PLC0415 (torch and numba are slow to import)
    from ml.evaluation.selection import badness  # noqa: PLC0415
    from ml.evaluation.summary import summarise  # noqa: PLC0415
    from ml.hil.loop import drive  # noqa: PLC0415
    from ml.hil.record import Record  # noqa: PLC0415
    from ml.hil.session import Session  # noqa: PLC0415
    from ml.parameters import load_parameters  # noqa: PLC0415

    tell = plain_lines(console)
    suite, cases = _suite(options)
    load_parameters(options.radio)  # now, so that a wrong name is told before a board is asked
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    file = options.out or Path("hil") / f"{now}-{Path(options.board).name}.hil"
    page = options.page or file.with_suffix(".html")
    if page == file:
        raise ConfigError(f"--page = {page} is the record. Name another file.")
    _require_new("--out", file)
    _require_new("--page", page)
    deadline_s = options.deadline_ms / 1e3
    rows: list[EpisodeRow] = []
    worst: EpisodeRow | None = None
    with _board(options) as (port, code):
        source = _source(options)
        header = {
            "source": "" if source is None else str(source.absolute()),
            "board": options.board,
            "core": options.core if options.board == _QEMU else "",
            "suite": suite.name,
            "scenario": str(suite.config.scenario),
            "radio": options.radio,
            "seed": options.seed,
            "cases": cases,
            "began": now,
        }
        with Record(file, header) as record:
            session = None
            try:
                session = Session(
                    port,
                    deadline_s=deadline_s,
                    on_message=record.write,
                    on_rubbish=record.note_rubbish,
                )
                _require_model(options, session, code)
                tell(f"board: {_called(session.hello)}   record: {file}")
                with Parts(console, "driving", total=len(cases), unit="episodes") as parts:
                    for row, recording in drive(
                        session,
                        record,
                        suite,
                        cases,
                        radio=options.radio,
                        seed=options.seed,
                        deadline_s=deadline_s,
                        name=f"board {session.hello.name}",
                        on_tick=lambda k, tick: parts.say(f"episode {k + 1}, {tick / 10:.0f} s"),
                    ):
                        rows.append(row)
                        if worst is None or badness(row) < badness(worst):
                            worst = row
                            _write_page(page, row, recording, session.hello)
                        parts.advance()
            except BoardError as error:
                if session is None or session.tick == 0:
                    file.unlink()
                    raise
                raise BoardError(
                    f"{error} All until then is in {file}: {counted(len(rows), 'whole episode')}, "
                    f"{counted(session.tick, 'tick')}."
                ) from error
    rows += _beside(options, suite, cases, console)
    for table in tables(summarise(rows), {row.controller for row in rows}):
        console.print(table)
    ticks = counted(session.tick, "tick")
    tell(f"on the way, in {ticks}: {session.faults}")
    tell(f"record: {file} ({record.num_bytes / 1e3:,.0f} kB)")
    if worst is not None:
        tell(f"page: {page} (the worst of these episodes: {worst.case})")
    return 0


def _write_page(page: Path, row: EpisodeRow, recording: Recording, hello: Hello | None) -> None:
    """Write what the board knew in an episode, over a page of a better one."""
    import numpy as np  # noqa: PLC0415 (slow to import)

    from ml.reports.episode.files import drive_of, title_of  # noqa: PLC0415
    from ml.reports.episode.page import write_page  # noqa: PLC0415

    drive = drive_of(row, recording)
    late = str(int(np.isnan(recording.wish_mps2[:-1]).sum()))
    about = (*drive.about, ("board", _called(hello)), ("answers not in time", late))
    write_page(page, title_of(row), [replace(drive, about=about)])


def _suite(options: HilOptions) -> tuple[Suite, list[int]]:
    """Return the suite, and cases spread over it."""
    from ml.evaluation.suites.registry import make_suite  # noqa: PLC0415

    name, at, road = options.suite.partition("@")
    # Of drawn episodes there are as many as one likes; so few are balanced in themselves.
    spec = f"convoy:{options.episodes}{at}{road}" if name == "convoy" else options.suite
    suite = make_suite(spec)
    count = min(options.episodes, suite.num_cases)
    return suite, [number * suite.num_cases // count for number in range(count)]


def _beside(
    options: HilOptions, suite: Suite, cases: Sequence[int], console: Console
) -> list[EpisodeRow]:
    """Drive the same cases without the wire: the policy in Python, or the folder's code."""
    source = _source(options)
    if source is None or not options.beside:
        return []
    from ml.evaluation.drivers import PolicyDriver, make_driver  # noqa: PLC0415
    from ml.evaluation.episodes import run_suite  # noqa: PLC0415
    from ml.training.checkpoints import load_model  # noqa: PLC0415

    driver: Driver
    if source.is_dir():
        driver = make_driver(f"board@{source}")
    else:
        driver = PolicyDriver(load_model(source), f"{source.stem} in Python")
    with Parts(console, f"beside it: {driver.name}"):
        rows = run_suite(driver, suite, radio=options.radio, seed=options.seed, cases=cases)
    for row in rows:
        row.controller = f"{driver.name}, without a wire" if source.is_dir() else driver.name
    return rows


def _source(options: HilOptions) -> Path | None:
    """Return what drives; None where only the board knows."""
    is_here = options.board in {_HOST, _QEMU}
    return options.model or (SHIPPED if is_here else None)


@contextmanager
def _board(options: HilOptions, recorded: str = "") -> Iterator[tuple[Port, Code | None]]:
    """Reach the board; with the code that it should run, where that is known."""
    from ml.hil.build import code_of, host_board, qemu_board  # noqa: PLC0415
    from ml.hil.port import serial  # noqa: PLC0415

    is_here = options.board in {_HOST, _QEMU}
    if not is_here and "/" not in options.board:
        hint = did_you_mean(options.board, (_HOST, _QEMU))
        raise ConfigError(
            f"--board must be host, qemu or a serial port such as /dev/ttyUSB0, got "
            f"{options.board!r}.{hint}"
        )
    source = options.model or (Path(recorded) if recorded and is_here else _source(options))
    code = None if source is None else code_of(source)
    if code is None or not is_here:
        port = serial(Path(options.board))
    elif options.board == _HOST:
        port = host_board(code)
    else:
        port = qemu_board(code, options.core)
    with port:
        yield port, code


def _require_model(options: HilOptions, session: Session, code: Code | None) -> None:
    """Refuse a board that runs another model than the one that is named."""
    if code is None or session.hello.model == code.digest:
        return
    raise BoardError(
        f"{options.board} runs {_called(session.hello)}, and not {options.model} "
        f"({code.digest:08x}). Flash it with that, name the folder that it was flashed with, or "
        "leave the model out."
    )


def _called(hello: Hello | None) -> str:
    if hello is None:
        return "a board that did not say"
    model = f"model {hello.model:08x}" if hello.model else "a model that does not say which it is"
    return f"{hello.name!r}, {model}, observation {hello.observation_version}"
