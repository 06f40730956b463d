"""Compilers and the emulated cores that the board's code is run on: Debian's packages alone."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import numpy as np

from ml.arrays import Ints
from ml.errors import ExportError

FLAGS: Final = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
CORES: Final = {"rv32imc": "ilp32", "rv32imafc": "ilp32f"}
"""Without FPU as the ESP32-C3, C6 and H2, and with one: its ABI."""
PACKAGES: Final = "gcc gcc-riscv64-unknown-elf qemu-system-misc"
_CROSS: Final = "riscv64-unknown-elf-"
_QEMU: Final = "qemu-system-riscv32"
_BARE: Final = (
    *("-ffreestanding", "-nostdlib", "-nostartfiles", "-ffunction-sections", "-fdata-sections"),
    *("-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"),
)
_MACHINE: Final = (
    *("-M", "virt", "-cpu", "rv32", "-bios", "none", "-display", "none", "-monitor", "none"),
    *("-serial", "stdio", "-icount", "shift=0", "-kernel"),
)
_DEADLINE_S: Final = 600.0
_HZ: Final = 160e6
_SHOWN_ALL: Final = 8


class CoreRun(NamedTuple):
    """Episodes on a core; (ticks,) int64.

    Attributes:
        digest: Of all that came of each tick.
        command: The bits of its command.
        num_rows: Peers in its observation.
        instructions: That it took, frames and beacon included.
        stack_bytes: The deepest use of the stack.
    """

    digest: Ints
    command: Ints
    num_rows: Ints
    instructions: Ints
    stack_bytes: int


class Budget(NamedTuple):
    """What the brain takes of a core.

    Attributes:
        instructions: The most that a tick with eight peers took.
        ms_at_160_mhz: The same at one instruction a cycle; code in flash takes up to twice that.
        stack_bytes: The deepest use of the stack.
        ram_bytes: Of `struct brain`.
        flash_bytes: Code and constants, weights included.
    """

    instructions: int
    ms_at_160_mhz: float
    stack_bytes: int
    ram_bytes: int
    flash_bytes: int


def missing_tools() -> list[str]:
    """Return the programs that are not installed here."""
    return [name for name in ("gcc", f"{_CROSS}gcc", _QEMU) if which(name) is None]


def run(command: Sequence[str]) -> str:
    """Run a program to its end; return what it printed.

    Raises:
        ExportError: It is not there, fails, or takes longer than ten minutes.
    """
    try:
        ran = subprocess.run(  # noqa: S603 (our own arguments)
            command, capture_output=True, text=True, check=False, timeout=_DEADLINE_S
        )
    except FileNotFoundError as error:
        raise ExportError(f"{command[0]} is not here: apt-get install {PACKAGES}") from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{command[0]} took more than {_DEADLINE_S:g} s and was ended") from error
    if ran.returncode:
        raise ExportError(f"{' '.join(command)}: exit code {ran.returncode}. {ran.stderr.strip()}")
    return ran.stdout


def run_on(core: str, folder: Path, episode: bytes) -> CoreRun:
    """Compile an exported folder for a bare core, and replay an episode on it under QEMU.

    Raises:
        ExportError: A tool is missing, or fails.
    """
    with TemporaryDirectory() as room:
        image, content = Path(room) / "brain.elf", Path(room) / "episode"
        content.write_bytes(episode)
        parts = ("replay/qemu/start.S", "replay/qemu/main.c", "replay/replay.c", "brain.c")
        sources = [folder / part for part in parts]
        options = (f'-DEPISODES="{content}"', f"-I{folder}", f"-I{folder / 'replay'}")
        compile_bare(core, sources, options, folder / "replay/qemu/virt.ld", image)
        *lines, stack = run(machine(image)).split("\n")[:-1]
    columns = np.array([[int(word, 16) for word in line.split()] for line in lines]).T
    digest, command, num_rows, instructions = columns
    return CoreRun(digest, command, num_rows, instructions, int(stack, 16))


def compile_bare(
    core: str, sources: Sequence[Path], options: Sequence[str], script: Path, image: Path
) -> None:
    """Compile a program for a bare core.

    Args:
        core: One of `CORES`.
        sources: Its files.
        options: More of the compiler's, as where headers are.
        script: Of the linker.
        image: Is written.

    Raises:
        ExportError: A tool is missing, or fails.
    """
    run(
        [
            *(f"{_CROSS}gcc", *FLAGS, *_core_flags(core), *_BARE, *options),
            *("-T", str(script), *map(str, sources), "-lgcc", "-o", str(image)),
        ]
    )


def machine(image: Path) -> list[str]:
    """Return the command that runs a program of `compile_bare`, its serial port at stdio."""
    return [_QEMU, *_MACHINE, str(image)]


def measure(core: str, folder: Path, ran: CoreRun) -> Budget:
    """Say what the brain takes of a core, by a run on it.

    Raises:
        ExportError: A tool is missing or fails, or no tick of the run had eight peers.
    """
    full = ran.instructions[ran.num_rows == _SHOWN_ALL]
    if not full.size:
        raise ExportError("no tick of the episodes had eight peers: nothing to measure a tick by")
    with TemporaryDirectory() as room:
        code, memory = Path(room) / "brain.o", Path(room) / "memory.o"
        source = Path(room) / "memory.c"
        source.write_text('#include "brain.h"\nstruct brain memory;\n', encoding="ascii")
        flags = (*FLAGS, *_core_flags(core), "-ffreestanding", f"-I{folder}", "-c")
        compiler = (f"{_CROSS}gcc", *flags)
        run([*compiler, str(folder / "brain.c"), "-o", str(code)])
        run([*compiler, str(source), "-o", str(memory)])
        flash = run([f"{_CROSS}size", str(code)]).split("\n")[1].split()[0]
        ram = run([f"{_CROSS}nm", "-S", str(memory)]).split()[1]
    most = int(full.max())
    return Budget(most, round(1e3 * most / _HZ, 2), ran.stack_bytes, int(ram, 16), int(flash))


def compiler_version() -> str:
    """Return the version of the cross compiler: another one counts otherwise."""
    return run([f"{_CROSS}gcc", "-dumpversion"]).strip()


def budget_json(net: str, budgets: dict[str, Budget]) -> str:
    """Return the content of `budget.json`: of a kind of network, what it takes of each core."""
    cores = {core: budget._asdict() for core, budget in budgets.items()}
    content = {
        "compiler": f"gcc {compiler_version()}",
        "tick_of": "8 peers",
        "nets": {net: cores},
    }
    return json.dumps(content, indent=2) + "\n"


def _core_flags(core: str) -> tuple[str, str]:
    return f"-march={core}", f"-mabi={CORES[core]}"
