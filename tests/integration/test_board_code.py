"""The exported C is Python's board: on this machine, on two RISC-V cores, and whatever it hears.

The rehearsal drives convoys on real SUMO and lets an ego's radio do its worst. Tests that compile
carry the marker `board`, and skip where Debian's packages for them are not installed.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.board_code import WITHOUT_FIX, first_difference, needs, records, shift_clocks
from support.untrained import untrained_model

from ml.envs.policy_interface import PolicyInterface
from ml.export.fixed_point import in_whole_numbers, rounding
from ml.export.folder import SOURCE, TOLERANCE_MPS2, export
from ml.export.host import HostBrain
from ml.export.network import network_of
from ml.export.rehearsal import RADIOS, Rehearsal
from ml.export.toolchain import CORES, FLAGS, compiler_version, measure, run, run_on
from ml.export.weights import weights_header
from ml.parameters import load_parameters
from ml.training.checkpoints import load_model

MODEL = Path(__file__).parents[2] / "ml" / "models" / "convoy.zip"
CROSS = "riscv64-unknown-elf-"
LIMITS = {
    "float": {"rv32imc": 8_000_000, "rv32imafc": 400_000},
    "int16": {"rv32imc": 1_500_000, "rv32imafc": 1_500_000},
}
WHOLE_MPS2 = 0.05
"""What whole numbers may cost of a command."""
STACK_BYTES, RAM_BYTES, FLASH_BYTES = 2048, 16 * 1024, 96 * 1024
GROWTH = 1.02
WARNINGS = (
    *("-Wall", "-Wextra", "-Werror", "-Wdouble-promotion", "-Wconversion", "-Wshadow"),
    *("-pedantic", "-Wstack-usage=2048"),
)
SOFT_FLOAT = {"add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge"}

pytestmark = [pytest.mark.board, needs("gcc")]
on_cores = needs(f"{CROSS}gcc", "qemu-system-riscv32")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The shipped model, exported with either kind of network."""
    outs = {net: tmp_path_factory.mktemp("board") / net for net in LIMITS}
    for net, out in outs.items():
        export(MODEL, out, "clean", net=net, check=False)
    return outs


@pytest.fixture(scope="module")
def folder(folders):
    """With a network in float."""
    return folders["float"]


@pytest.fixture(scope="module", params=LIMITS)
def either(request, folders):
    """With a network in float, and in whole numbers."""
    return folders[request.param]


def golden_of(folder):
    """All golden episodes, one behind the other."""
    return b"".join(file.read_bytes() for file in sorted((folder / "golden").iterdir()))


@pytest.fixture(scope="module")
def host_of(tmp_path_factory):
    """The code of a folder on this machine."""
    return lambda folder: HostBrain(folder, tmp_path_factory.mktemp("host") / "libbrain.so")


@pytest.fixture(scope="module")
def golden(folder):
    """Those of a network in float."""
    return golden_of(folder)


@pytest.fixture(scope="module")
def host(folder, host_of):
    """That with a network in float."""
    return host_of(folder)


@pytest.fixture(scope="module")
def rehearsed():
    """More than 20,000 ticks in all of `RADIOS`, as Python drove them."""
    model = load_model(MODEL)
    rehearsal = Rehearsal(model, model.interface, load_parameters("clean"), num_envs=32, seed=1)
    return rehearsal.run(640)


@pytest.fixture(scope="module")
def on_core(either):
    """The golden episodes on each core."""
    return {core: run_on(core, either, golden_of(either)) for core in CORES}


@pytest.mark.sumo
@pytest.mark.slow
def test_every_command_is_pythons(rehearsed, host):
    """|Δ command| ≤ 1e-3 m/s² over 20,000 ticks of silence, nobody, reboots and broken frames."""
    differences = [
        first_difference(episode, host.replay(bytes(episode.content))) for episode in rehearsed
    ]
    assert not any(differences), "\n".join(filter(None, differences))
    assert sum(len(episode.ticks) for episode in rehearsed) >= 20_000
    assert {episode.radio for episode in rehearsed} == {radio.name for radio in RADIOS}


@pytest.mark.sumo
@pytest.mark.slow
def test_the_rehearsal_meets_what_it_is_for(rehearsed, host):
    """Bounds of all kinds decide, frames are refused, peers fall silent, come back and reboot.

    What a convoy without peers would show by itself is not counted there.
    """
    reasons, refused, relayed, stale, shown = Counter(), 0, 0, 0, Counter()
    reboots = 0
    for episode in rehearsed:
        if episode.radio == "no peer":
            continue
        ticks = host.replay(bytes(episode.content))
        reasons.update(ticks["reason"].tolist())
        refused += int(ticks["num_refused"].sum())
        relayed += int(ticks["num_relayed"].sum())
        stale += int((ticks["ego_row"][:, 7] * 2.0 > 1.0).sum())
        shown.update(ticks["num_rows"].tolist())
        newest: dict[bytes, int] = {}
        for record in records(bytes(episode.content)):
            if record[0] == 2:
                source, (sent_ms,) = bytes(record[-6:]), struct.unpack_from("<I", record, 14)
                reboots += sent_ms < newest.get(source, 0) - 10_000
                newest[source] = sent_ms
    assert all(reasons[reason] > 100 for reason in range(5)), reasons
    assert reboots > 20
    assert min(refused, relayed, stale, shown[0], shown[8]) > 100


@pytest.mark.sumo
@pytest.mark.slow
def test_in_whole_numbers_it_is_its_twin_to_the_bit_and_near_pythons_float(
    rehearsed, folders, host_of, tmp_path
):
    """Over the same 20,000 ticks; by the observations that the C code itself made."""
    golden = [tick for episode in rehearsed[:8] for tick in episode.ticks]
    model = load_model(MODEL)
    network = in_whole_numbers(
        network_of(model), np.concatenate([tick.peer_rows for tick in golden])
    )
    copy = tmp_path / "brain"
    shutil.copytree(folders["int16"], copy)
    header = weights_header(network, model.interface, load_parameters("clean"), "rehearsed")
    (copy / "weights.h").write_text(header)
    host = host_of(copy)
    for episode in rehearsed:
        ticks = host.replay(bytes(episode.content))
        shown = np.arange(ticks["peer_rows"].shape[1]) < ticks["num_rows"][:, None]
        action = network.outcome(ticks["ego_row"], ticks["peer_rows"], shown).action
        factor = np.where(action < 0.0, np.float32(8.0), np.float32(2.6)).astype(np.float32)
        began = ticks["reason"] != WITHOUT_FIX
        differs = np.flatnonzero(began & (action * factor != ticks["wish_mps2"]))
        assert not differs.size, f"{episode.radio}: tick {differs[0]}"
        apart = np.abs(ticks["accel_mps2"] - ticks["recorded_mps2"])
        assert apart.max() < WHOLE_MPS2, f"{episode.radio}: tick {apart.argmax()}"
    cost = rounding(network, model, [episode.seen() for episode in rehearsed])
    assert cost.mean_mps2 < 3e-3
    assert cost.max_mps2 < WHOLE_MPS2
    assert cost.saturated == 0


@pytest.mark.sumo
def test_golden_episodes_in_whole_numbers_hold_its_own_commands(folders, host_of):
    """They were driven by it, and the float network on the way would command otherwise."""
    whole, of_float = (host_of(folders[net]) for net in ("int16", "float"))
    apart = 0.0
    for file in (folders["int16"] / "golden").iterdir():
        ticks, others = (host.replay(file.read_bytes()) for host in (whole, of_float))
        assert np.abs(ticks["accel_mps2"] - ticks["recorded_mps2"]).max() <= TOLERANCE_MPS2
        apart = max(apart, np.abs(others["accel_mps2"] - others["recorded_mps2"]).max())
    assert apart > TOLERANCE_MPS2


@pytest.fixture(scope="module")
def crowded():
    """Convoys of more cars than are shown, up to as many as a board holds."""
    model = load_model(MODEL)
    rehearsal = Rehearsal(
        model, model.interface, load_parameters("clean"), num_envs=8, num_peers=(10, 14), seed=2
    )
    return rehearsal.run(150)


@pytest.mark.sumo
@pytest.mark.slow
def test_of_many_cars_the_nearest_are_shown_as_python_shows_them(crowded, host):
    """Ten to fourteen ahead."""
    for episode in crowded:
        assert first_difference(episode, host.replay(bytes(episode.content))) == ""
    assert max(len(tick.peer_rows) for episode in crowded for tick in episode.ticks) == 8


@pytest.mark.sumo
@pytest.mark.slow
@pytest.mark.parametrize(
    ("constant", "changed", "field"),
    [
        ("#define SILENT_S 0.3f", "#define SILENT_S 0.5f", "needed_braking"),
        ("#define RELEASE_MPS3 2.5f", "#define RELEASE_MPS3 3.5f", "hard_mps2"),
        ("#define REBOOT_MS 1000", "#define REBOOT_MS 2000000000", "reboot: tick"),
        ("#define ORDER_SHARE 0.1f", "#define ORDER_SHARE 0.0f", "tick"),
    ],
)
def test_a_difference_is_named_with_tick_and_field(
    folder, rehearsed, tmp_path, constant, changed, field
):
    """One constant of the code is changed."""
    copy = tmp_path / "brain"
    shutil.copytree(folder, copy)
    text = (copy / "brain.c").read_text()
    assert constant in text
    (copy / "brain.c").write_text(text.replace(constant, changed))
    host = HostBrain(copy, tmp_path / "libbrain.so")
    found = [
        first_difference(episode, host.replay(bytes(episode.content))) for episode in rehearsed
    ]
    assert any(field in line for line in found), found


@on_cores
@pytest.mark.slow
def test_three_cores_agree_to_the_bit(host_of, either, on_core):
    """RV32IMC, RV32IMAFC and this machine: commands, observations, and all frames they send."""
    ticks = host_of(either).replay(golden_of(either))
    for core, ran in on_core.items():
        differs = np.flatnonzero(ran.digest != ticks["digest"])
        assert not differs.size, f"{core} differs from tick {differs[0]} on"
        assert (ran.command == ticks["accel_mps2"].view(np.uint32)).all()


@on_cores
@pytest.mark.slow
def test_the_budget_holds(either, on_core):
    """A tick with eight peers, stack, RAM and flash; and none grows unseen (budget.json)."""
    pinned = json.loads((SOURCE / "budget.json").read_text())
    is_comparable = pinned["compiler"] == f"gcc {compiler_version()}"
    for core, ran in on_core.items():
        budget = measure(core, either, ran)
        assert budget.instructions <= LIMITS[either.name][core]
        assert budget.stack_bytes <= STACK_BYTES
        assert budget.ram_bytes <= RAM_BYTES
        assert budget.flash_bytes <= FLASH_BYTES
        for name in ("instructions", "stack_bytes", "ram_bytes", "flash_bytes"):
            grown = getattr(budget, name) / pinned["nets"][either.name][core][name]
            assert not is_comparable or grown <= GROWTH, (
                f"{core}: {name} grew by {grown - 1:.1%}. If it is worth it, `make board "
                f'ARGS="--net {either.name}"` and copy the figures of build/board/budget.json '
                "to firmware/brain/budget.json."
            )


@pytest.mark.sumo
def test_another_network_without_a_safety_layer(folder, tmp_path):
    """Wider embeddings, no low-pass, no bounds: the same agreement."""
    model = untrained_model(4, peer_embed_dim=64, swing=30.0)
    interface, parameters = PolicyInterface(), load_parameters("clean")
    copy = tmp_path / "brain"
    shutil.copytree(folder, copy)
    header = weights_header(network_of(model), interface, parameters, "untrained")
    (copy / "weights.h").write_text(header)
    host = HostBrain(copy, tmp_path / "libbrain.so")
    for episode in Rehearsal(model, interface, parameters, num_envs=4, seed=5).run(60):
        ticks = host.replay(bytes(episode.content))
        assert first_difference(episode, ticks) == ""
        assert np.ptp(ticks["wish_mps2"]) > 0.02
        assert set(ticks["reason"].tolist()) <= {0, WITHOUT_FIX}


def test_fused_multiplication_changes_no_bit(either, host_of, tmp_path):
    """Compiled for a core that has it, and told to use it."""
    if "fma" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this machine has no fused multiplication")
    flags = ("-O3", "-march=haswell", "-ffp-contract=fast")
    other, golden = HostBrain(either, tmp_path / "fma.so", flags), golden_of(either)
    assert (other.replay(golden)["digest"] == host_of(either).replay(golden)["digest"]).all()


@pytest.mark.parametrize("name", ["00-clean", "05-duplicate-and-out-of-order"])
def test_clocks_begin_anew_and_nothing_changes(host, folder, name):
    """`millis()` wraps amid an episode, the own one and those of all sources, each in its turn."""
    episode = (folder / "golden" / f"{name}.episode").read_bytes()
    ticks = host.replay(episode)
    half = len(records(episode)) // 2
    (now_ms,) = struct.unpack_from("<I", records(episode)[0], 1)
    newest = {}
    for record in records(episode)[: half + 1]:
        if record[0] == 2:
            newest[bytes(record[-6:])] = struct.unpack_from("<I", record, 14)[0]
    own_ms = 2**32 - now_ms - 5000
    for ahead_own, is_moved in ((own_ms, False), (0, True), (own_ms, True)):
        moved = shift_clocks(
            episode,
            ahead_own,
            lambda source, is_moved=is_moved: (2**32 - newest.get(source, 0)) * is_moved,
        )
        again = host.replay(moved)
        for field in ("accel_mps2", "ego_row", "peer_rows", "own_um"):
            assert (again[field] == ticks[field]).all(), field


@pytest.mark.slow
def test_nothing_on_the_air_brings_it_to_report(either, tmp_path):
    """A million frames, sound, broken and rubbish, under ASan and UBSan."""
    program = tmp_path / "fuzz"
    sanitizers = "address,undefined,float-cast-overflow,float-divide-by-zero"
    run(
        [
            *("gcc", *FLAGS, "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"),
            *(f"-I{either}", str(SOURCE / "fuzz.c"), str(either / "brain.c"), "-o", str(program)),
        ]
    )
    ran = subprocess.run([program, "1000000", "7"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert ran.stderr == ""
    taken = int(ran.stdout.split()[2])
    assert 200_000 < taken < 900_000


def test_the_compiler_has_nothing_to_say(either, tmp_path):
    """Warnings of all kinds, a double among them, and no function with more than 2 kB of stack."""
    for name, level in (("brain.c", "-O2"), ("brain.c", "-O0"), ("replay/replay.c", "-O2")):
        run(
            [
                *("gcc", "-std=c99", level, *WARNINGS, f"-I{either}", "-c", str(either / name)),
                *("-o", str(tmp_path / "out.o")),
            ]
        )


@needs("cppcheck")
def test_cppcheck_has_nothing_to_say(either):
    """Of the code and of what drives it."""
    files = [either / "brain.c", either / "replay" / "replay.c", SOURCE / "fuzz.c"]
    run(
        [
            *("cppcheck", "--quiet", "--enable=warning,style,performance,portability"),
            *("--std=c99", "--error-exitcode=1", f"-I{either}", *map(str, files)),
        ]
    )


@needs(f"{CROSS}gcc")
def test_no_library_no_double_no_allocation(either, tmp_path):
    """What a core without FPU must be given: float, 64-bit whole numbers, and copies of memory."""
    code = tmp_path / "brain.o"
    run(
        [
            *(f"{CROSS}gcc", *FLAGS, "-march=rv32imc", "-mabi=ilp32", "-ffreestanding"),
            *(f"-I{either}", "-c", str(either / "brain.c"), "-o", str(code)),
        ]
    )
    wanted = {line.split()[-1] for line in run([f"{CROSS}nm", "-u", str(code)]).splitlines()}
    single = {f"__{name}sf{k}" for name in SOFT_FLOAT for k in (2, 3)}
    whole = {
        "__divdi3",
        "__moddi3",
        "__ashrdi3",
        "__fixsfdi",
        "__fixsfsi",
        "__floatdisf",
        "__floatsisf",
    }
    assert wanted <= single | whole | {"__floatunsisf", "memset", "memcpy", "memmove"}


def test_no_function_calls_itself(either, tmp_path):
    """By the compiler's own graph of calls, without inlining."""
    code = tmp_path / "brain.o"
    run(
        [
            *("gcc", "-std=c99", "-O0", "-fcallgraph-info", f"-I{either}", "-c"),
            *(str(either / "brain.c"), "-o", str(code)),
        ]
    )
    calls: dict[str, set[str]] = {}
    for line in code.with_suffix(".ci").read_text().splitlines():
        if line.startswith("edge:"):
            _, source, _, target, *_ = line.split('"')
            calls.setdefault(source, set()).add(target)
    assert len(calls) > 40
    while leaves := {name for name in calls if not calls[name] & calls.keys()}:
        for name in leaves:
            del calls[name]
    assert not calls
