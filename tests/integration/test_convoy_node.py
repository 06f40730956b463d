"""The convoy's sketch, run on this machine: the real brain, and a board's calls that a test feeds.

A car drives north at 10 m/s behind another one that sends its beacons, until something happens.
"""

from __future__ import annotations

import itertools
import math
import struct
from pathlib import Path

import pytest
from support.board_code import needs
from support.nodes import (
    CHIPS,
    FIRMWARE,
    GRAVITY_MPS2,
    NODE,
    POWER_ON,
    TASK_WATCHDOG,
    TICK_US,
    Board,
    build_board,
    build_changed,
    c_library,
    compile_sketch,
    place,
    rmc,
)

from ml.controllers.board import digest_in, stamped
from ml.envs.policy_interface import PolicyInterface
from ml.espnow_emulator.messages import V2VMessage
from ml.espnow_emulator.wire import GeoReference, mac_of_name, pack, unpack
from ml.export.host import HostBrain
from ml.export.network import network_of
from ml.export.sketch import write_sketch
from ml.export.toolchain import run
from ml.export.weights import weights_header
from ml.hil.protocol import BEGIN, FIX, FRAME, TICK, Kind, Message
from ml.hil.session import Faults, Session
from ml.parameters import load_parameters
from ml.training.checkpoints import load_model

MODEL = FIRMWARE.parent / "ml" / "models" / "convoy.zip"
BRAKE, ACCEL, STATE = 25, 26, 27
PURE = ("axis.c", "gps.c", "imu.c", "report.c", "safe.c", "tick.c")
"""What needs no board."""
SAFE_MPS2 = -1.5
SAFE_LEVEL = int(255 * 1.5 / 8.0)
SPEED_MPS = 10.0
AHEAD_M = 20.0
SWING_MPS, SWING_S = 3.0, 3.0
REFERENCE = GeoReference.at(32.8, 35.0)

pytestmark = [pytest.mark.board, needs("gcc", "g++")]


@pytest.fixture(scope="module")
def sketch(tmp_path_factory):
    """The folder that `roadsense export` writes for the Arduino IDE, of the shipped model."""
    folder = tmp_path_factory.mktemp("exported")
    model = load_model(MODEL)
    header = weights_header(
        network_of(model), model.interface or PolicyInterface(), load_parameters("clean"), "convoy"
    )
    for name in ("brain/brain.c", "brain/brain.h", "hil/hil.c", "hil/hil.h"):
        (folder / Path(name).name).write_bytes((FIRMWARE / name).read_bytes())
    (folder / "weights.h").write_text(stamped(header, "code"))
    write_sketch(folder)
    return folder / "convoy"


@pytest.fixture(scope="module")
def library(sketch, tmp_path_factory):
    """The sketch for this machine."""
    return build_board(sketch / "convoy.ino", (sketch,), tmp_path_factory.mktemp("convoy"))


@pytest.fixture
def with_settings(sketch, library, tmp_path):
    """Build the sketch with other settings."""

    def build(*changes):
        copy = tmp_path / "changed"
        copy.mkdir()
        text = (sketch / "settings.h").read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (copy / "settings.h").write_text(text)
        (copy / "convoy.ino").write_bytes((sketch / "convoy.ino").read_bytes())
        return build_changed(
            copy / "convoy.ino", (copy, sketch), library.parent, tmp_path / "built"
        )

    return build


class Drive:
    """A node on the road, and the car ahead of it."""

    def __init__(self, library, folder, at_us=0, reason=POWER_ON):
        self.board = Board(library, folder, "v0", at_us, reason)
        self.start_us = at_us
        self.ahead = True
        self.fixes = True
        self.ahead_mps2 = 0.0
        self.others = ()
        self.stopped = False
        self.swings = 0.0  # sign and size of what its accelerometer says of its swinging speed

    @property
    def now_s(self):
        """Since the board began."""
        return (self.board.now_us - self.start_us) * 1e-6

    def drive(self, seconds):
        """Feed it: a beacon of the car ahead in each tick, and a fix a second, 150 ms late."""
        first = (self.board.now_us - self.start_us) // TICK_US
        for tick in range(first, first + round(seconds * 10)):
            self.board.run(self.start_us + tick * TICK_US + 40_000)
            if self.swings:
                accel_mps2 = SWING_MPS / SWING_S * math.cos(self.now_s / SWING_S)
                self.board.imu((self.swings * accel_mps2, 0.0, GRAVITY_MPS2))
            if self.ahead:
                self.board.hear(self.beacon("lead", self.north_m(0.0) + AHEAD_M, self.ahead_mps2))
            for frame in self.others:
                self.board.hear(frame)
            if self.fixes and tick % 10 == 0:
                speed_mps = 0.0 if self.stopped else self.speed_mps(0.15)
                self.board.gps(rmc(*place(0.0, self.north_m(0.15)), speed_mps, 0.0))
            self.board.run(self.start_us + (tick + 1) * TICK_US + 10_000)  # the tick is over

    def speed_mps(self, before_s):
        """How fast the car was."""
        swing = SWING_MPS * math.sin((self.now_s - before_s) / SWING_S) if self.swings else 0.0
        return SPEED_MPS + swing

    def north_m(self, before_s):
        """Where the car was."""
        return SPEED_MPS * (self.now_s - before_s)

    def beacon(self, name, north_m, accel_mps2=0.0, **fields):
        """Return another car's frame of now."""
        usual = {
            "vehicle_id": name,
            "source_id": name,
            "timestamp_ms": int(self.now_s * 1000),
            "x_m": 0.0,
            "y_m": north_m,
            "speed_mps": SPEED_MPS,
            "heading_deg": 0.0,
            "accel_mps2": accel_mps2,
            "hop_count": 0,
            "position_sd_m": 1.0,
        }
        return pack(V2VMessage(**(usual | fields)), REFERENCE)

    def last(self, kind="CMD"):
        """Return its last line of a kind, by column."""
        return self.board.rows(kind)[-1]

    def states(self):
        """Return its states in the order in which they came."""
        return [state for state, _ in itertools.groupby(row["state"] for row in self.rows())]

    def rows(self):
        """Return what it wrote of each tick."""
        return self.board.rows("CMD")


@pytest.fixture
def drive(library, tmp_path):
    """A node that has driven for five seconds."""
    drive = Drive(library, tmp_path)
    drive.drive(5.0)
    assert drive.last()["state"] == "DRIVING"
    return drive


@pytest.mark.parametrize("chip", CHIPS)
def test_the_exported_sketch_compiles_for_each_chip(sketch, tmp_path, chip):
    """All that it includes lies in its own folder; every warning is an error."""
    compile_sketch(sketch / "convoy.ino", (sketch,), chip, tmp_path / "convoy.o")


@pytest.mark.parametrize("chip", CHIPS)
def test_the_logger_compiles_for_each_chip(tmp_path, chip):
    """With the same library; as the pinger, as the one who echoes, and without an IMU."""
    text = (FIRMWARE / "logger" / "logger.ino").read_text()
    for old, new in (
        ("", ""),
        ("IS_PINGER 1", "IS_PINGER 0"),
        ("IMU_ADDRESS 0x68", "IMU_ADDRESS 0"),
    ):
        assert old in text
        source = tmp_path / "logger.ino"
        source.write_text(text.replace(old, new, 1) if old else text)
        compile_sketch(source, (NODE,), chip, tmp_path / "logger.o")


def test_the_compiler_has_nothing_to_say_of_what_needs_no_board(sketch, tmp_path):
    """Conversions, shadows and what is not C99 included."""
    sources = [sketch / name for name in PURE]
    c_library(sources, tmp_path / "all.so", f"-I{sketch}")


@needs("cppcheck")
def test_cppcheck_has_nothing_to_say(sketch):
    """Of the same files."""
    sources = [sketch / name for name in PURE]
    run(
        [
            *("cppcheck", "--quiet", "--enable=warning,style,performance,portability"),
            *("--std=c99", "--error-exitcode=1", f"-I{sketch}", *map(str, sources)),
        ]
    )


@pytest.mark.parametrize("chip", CHIPS)
def test_the_pins_of_a_chip_are_its_own(tmp_path, chip):
    """No pin is taken twice, and none of the C3 is one of its flash's."""
    names = "GPS_RX_PIN, GPS_TX_PIN, SDA_PIN, SCL_PIN, BRAKE_PIN, ACCEL_PIN, STATE_PIN"
    source = tmp_path / "pins.ino"
    source.write_text(f"""#include "pins.h"
constexpr int pins[] = {{{names}}};
constexpr bool are_good(bool is_c3) {{
  for (int i = 0; i < 7; i++) {{
    if (is_c3 && pins[i] >= 12 && pins[i] <= 17) return false;
    for (int k = 0; k < i; k++) if (pins[i] == pins[k]) return false;
  }}
  return true;
}}
static_assert(are_good({str(chip == "ESP32C3").lower()}), "a pin is taken twice, or the flash's");
""")
    compile_sketch(source, (NODE,), chip, tmp_path / "pins.o")


def test_it_waits_until_it_knows_what_a_command_needs(library, tmp_path):
    """No fix, nobody heard, no heading: the driver drives, and the LED blinks slowly."""
    drive = Drive(library, tmp_path)
    drive.fixes = drive.ahead = False
    drive.drive(1.5)
    assert drive.last()["causes"] == "silence+no-fix"
    assert drive.board.sent() == []
    drive.fixes = drive.stopped = True
    drive.drive(2.0)
    assert drive.last()["causes"] == "silence+no-fix", "a car that stands has no heading"
    drive.stopped = False
    drive.drive(2.0)
    assert drive.last()["causes"] == "silence"
    assert len(drive.board.sent()) >= 8, "others hear it as soon as it knows its place"
    assert {row["accel_mps2"] for row in drive.rows()} == {"0.000"}
    assert drive.board.led(BRAKE) == drive.board.led(ACCEL) == 0
    blinks = []
    for _ in range(20):
        drive.drive(0.1)
        blinks.append(drive.board.led(STATE))
    assert len(list(itertools.groupby(blinks))) in (4, 5)
    drive.ahead = True
    drive.drive(1.0)
    assert drive.states() == ["WAITING", "DRIVING"]


def test_while_it_waits_the_brain_commands_nothing(library, tmp_path):
    """It decides all the same, and would brake; but the accelerometer has never answered."""
    drive = Drive(library, tmp_path)
    drive.board.imu(answers=False)
    drive.ahead_mps2 = -7.0
    drive.drive(3.0)
    assert drive.last()["state"] == "WAITING"
    assert float(drive.last()["hard_mps2"]) < -2.0
    assert drive.last()["accel_mps2"] == "0.000"
    assert drive.board.led(BRAKE) == 0


def test_it_sends_ten_beacons_a_second_of_where_it_is(drive):
    """In its slot, to the millisecond; what the frames say is what the car does."""
    drive.board.sent()
    drive.drive(3.0)
    sent = drive.board.beacons()
    assert len(sent) == 30
    assert all(b[0] - a[0] == pytest.approx(TICK_US, abs=1500) for a, b in itertools.pairwise(sent))
    message = unpack(sent[-1][1], REFERENCE)
    assert message.vehicle_id == "a"
    assert message.source_id == "v0"
    assert message.speed_mps == pytest.approx(SPEED_MPS, abs=0.1)
    assert message.heading_deg == pytest.approx(0.0, abs=0.5)
    assert message.y_m == pytest.approx(SPEED_MPS * sent[-1][0] * 1e-6, abs=1.0)
    assert message.timestamp_ms == sent[-1][0] // 1000


def test_the_delay_of_the_receiver_is_taken_off(with_settings, drive, tmp_path):
    """A fix 150 ms late says where the car was then; a board told of no delay lags by 1.5 m."""
    late = Drive(with_settings(("GPS_DELAY_MS 150", "GPS_DELAY_MS 0")), tmp_path)
    late.drive(5.0)
    errors = []
    for one in (drive, late):
        at_us, frame = one.board.beacons()[-1]
        errors.append(unpack(frame, REFERENCE).y_m - SPEED_MPS * at_us * 1e-6)
    assert errors[0] - errors[1] == pytest.approx(1.5, abs=0.5)
    assert abs(errors[0]) < 0.6


def test_it_relays_in_its_own_slot_behind_its_own_beacon(drive):
    """Once, with a hop more; not what lies behind it, nor what was heard before."""
    drive.board.sent()
    frames = [drive.beacon("far", drive.north_m(0.0) + 60.0), drive.beacon("back", -50.0)]
    drive.others = frames * 2
    drive.drive(0.1)
    drive.others = ()
    drive.drive(0.3)
    sent = [(at_us, unpack(frame, REFERENCE)) for at_us, frame in drive.board.sent()]
    relayed = [(at_us, message) for at_us, message in sent if message.source_id == "far"]
    assert len(relayed) == 1
    at_us, message = relayed[0]
    assert message.hop_count == 1
    assert message.vehicle_id == "a"
    assert next(one for at, one in sent if at == at_us).source_id == "v0"
    assert not [one for _, one in sent if one.source_id == "back"]
    assert int(drive.last()["relayed"]) > 0


def test_it_says_what_it_knew_of_whom(drive):
    """A line per car that it shows, with its gap; and counts of what it refused."""
    before = int(drive.last()["refused"])
    drive.others = (bytes(90), drive.beacon("next", drive.north_m(0.0) + 45.0))
    drive.drive(0.1)
    peers = drive.board.rows("PEER")[-2:]
    macs = [mac_of_name(name).hex(":") for name in ("lead", "next")]
    assert sorted(row["mac"] for row in peers) == sorted(macs)
    lead = next(row for row in peers if row["mac"] == macs[0])
    assert float(lead["gap_m"]) == pytest.approx(AHEAD_M - 4.5, abs=1.5)
    assert lead["rank"] == "0"
    assert int(drive.last()["refused"]) == before + 1
    assert drive.last()["peers"] == "2"


def test_a_braking_lead_lights_the_brake(drive):
    """The brain brakes, its reason is said, and the LED shows how hard."""
    drive.ahead_mps2 = -7.0
    drive.drive(0.5)
    row = drive.last()
    assert row["state"] == "DRIVING"
    assert float(row["accel_mps2"]) < -3.0
    assert row["reason"] in ("policy", "hard", "soft")
    expected = 255 * -float(row["accel_mps2"]) / 8.0
    assert drive.board.led(BRAKE) == pytest.approx(expected, abs=2)
    assert drive.board.led(ACCEL) == 0


def test_a_silent_radio_is_the_safe_state_until_a_second_after_it_speaks(drive):
    """After two seconds, no sooner; the node goes on to send, and the LED blinks fast."""
    drive.ahead = False
    drive.drive(1.8)
    assert drive.last()["state"] == "DRIVING"
    drive.drive(0.5)
    assert drive.last()["state"] == "SAFE"
    assert drive.last()["causes"] == "silence"
    assert float(drive.last()["accel_mps2"]) <= SAFE_MPS2
    drive.board.sent()
    drive.drive(1.0)
    assert len(drive.board.beacons()) == 10
    drive.ahead = True
    drive.drive(0.9)
    assert drive.last()["state"] == "SAFE"
    drive.drive(0.5)
    assert drive.last()["state"] == "DRIVING"


def test_the_safe_state_brakes_no_less_than_the_brain_would(drive):
    """A car ahead that braked at 7 m/s² and then fell silent."""
    drive.ahead_mps2 = -7.0
    drive.drive(0.4)
    drive.ahead = False
    drive.board.step_takes(120_000)
    drive.drive(0.6)
    row = drive.last()
    assert row["state"] == "SAFE"
    assert float(row["accel_mps2"]) < -4.0


def test_rubbish_is_silence(drive):
    """What is on the air all the while is no message."""
    drive.ahead = False
    drive.others = (bytes(90), b"RSL1" + bytes(86), b"short")
    drive.drive(2.5)
    assert drive.last()["causes"] == "silence"


def test_one_tick_that_overruns_is_the_safe_state(drive):
    """The tick itself says so, and the next ones keep to the slot."""
    drive.board.step_takes(130_000)
    drive.drive(0.2)
    drive.board.step_takes(0)
    over = drive.last()
    assert over["state"] == "SAFE"
    assert over["causes"] == "overrun"
    assert float(over["accel_mps2"]) <= SAFE_MPS2
    drive.board.sent()
    drive.drive(1.5)
    assert drive.last()["state"] == "DRIVING"
    assert int(drive.last()["missed"]) <= 1
    assert all(at_us % TICK_US < 2_000 for at_us, _ in drive.board.beacons()[2:])


def test_a_brain_as_slow_as_a_chip_without_fpu_drives(drive):
    """50 ms a step, which is what the float network takes of a C3."""
    drive.board.step_takes(50_000)
    drive.drive(3.0)
    assert {row["state"] for row in drive.rows()[-25:]} == {"DRIVING"}
    assert 50_000 <= int(drive.last()["took_us"]) < 60_000
    assert drive.last()["missed"] == "0"


def test_a_brain_that_hangs_is_braked_for_and_started_anew(library, tmp_path, drive):
    """By the guard within 300 ms of the last command, by the watchdog within a second and a tick.

    The board then begins in the safe state.
    """
    began_us = drive.board.now_us
    drive.board.step_takes(5_000_000)
    drive.drive(0.2)
    assert 900_000 < drive.board.bitten_us - began_us < 1_200_000
    assert 200_000 < drive.board.lit_us(BRAKE, SAFE_LEVEL, began_us) - began_us <= 300_000
    again = Drive(library, tmp_path, reason=TASK_WATCHDOG)
    again.fixes = again.ahead = False
    again.drive(0.3)
    assert again.last()["state"] == "SAFE"
    assert again.last()["causes"] == "silence+no-fix+restarted"
    assert float(again.last()["accel_mps2"]) == SAFE_MPS2
    again.fixes = again.ahead = True
    again.drive(4.0)
    assert again.states() == ["SAFE", "DRIVING"]


def test_the_guard_brakes_while_the_brain_is_away(drive):
    """For 600 ms, which no watchdog notices; the brain takes the word back, in the safe state."""
    began_us, rows = drive.board.now_us, len(drive.rows())
    drive.board.step_takes(600_000)
    drive.board.run(began_us + TICK_US)
    drive.board.step_takes(0)
    assert 200_000 < drive.board.lit_us(BRAKE, SAFE_LEVEL, began_us) - began_us <= 300_000
    assert drive.board.now_us > began_us + 600_000
    drive.drive(0.3)
    assert drive.board.bitten_us < 0
    after = drive.rows()[rows:]
    assert {row["state"] for row in after} == {"SAFE"}
    assert [row["causes"] for row in after[:2]] == ["overrun"] * 2


def test_the_guard_brakes_no_less_than_the_brain_did(drive):
    """Which hangs amid hard braking."""
    drive.ahead_mps2 = -7.0
    drive.drive(0.5)
    began_us, before = drive.board.now_us, drive.board.led(BRAKE)
    assert before > 2 * SAFE_LEVEL
    drive.board.step_takes(600_000)
    drive.board.run(began_us + TICK_US)
    assert began_us < drive.board.lit_us(STATE, 255, began_us) < began_us + 400_000
    assert drive.board.lit_us(BRAKE, SAFE_LEVEL, began_us) < 0
    assert drive.board.led(BRAKE) >= before


def test_a_receiver_that_falls_silent_is_the_safe_state(drive):
    """After five seconds; the car is braked, and drives again once fixes come."""
    drive.fixes = False
    drive.drive(3.7)
    assert drive.last()["state"] == "DRIVING"
    drive.drive(0.5)
    assert drive.last()["causes"] == "no-fix"
    drive.fixes = True
    drive.drive(2.5)
    assert drive.states() == ["WAITING", "DRIVING", "SAFE", "DRIVING"]


def test_an_accelerometer_that_does_not_answer_is_the_safe_state(drive):
    """It may come back, asleep, and is woken."""
    drive.board.imu(answers=False)
    drive.drive(1.0)
    assert drive.last()["causes"] == "no-imu"
    drive.board.imu_sleeps()
    drive.board.imu()
    drive.drive(2.0)
    assert drive.last()["state"] == "DRIVING"
    drive.board.imu_sleeps()
    drive.drive(1.0)
    assert drive.last()["state"] == "DRIVING"
    assert float(drive.last()["own_mps2"]) == 0.0


def test_the_axis_and_bias_of_the_self_test_are_what_it_senses(with_settings, tmp_path):
    """A board that lies backwards on its y axis, 0.3 m/s² too much."""
    changed = with_settings(
        ('FORWARD_AXIS "x"', 'FORWARD_AXIS "-y"'),
        ("FORWARD_BIAS_MPS2 0.0f", "FORWARD_BIAS_MPS2 0.3f"),
    )
    drive = Drive(changed, tmp_path)
    drive.board.imu((5.0, -2.3, GRAVITY_MPS2))
    drive.drive(3.0)
    assert float(drive.last()["own_mps2"]) == pytest.approx(2.0, abs=0.01)
    assert unpack(drive.board.beacons()[-1][1], REFERENCE).accel_mps2 == pytest.approx(
        2.0, abs=0.01
    )


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_accelerometer_that_points_backwards_is_noticed_on_the_way(library, tmp_path, sign):
    """After a minute of speeding up and braking, for good; one that points forward drives on."""
    drive = Drive(library, tmp_path)
    drive.swings = sign
    drive.drive(40.0)
    assert drive.last()["state"] == "DRIVING"
    drive.drive(60.0)
    assert drive.last()["causes"] == ("reversed" if sign < 0.0 else "")
    assert drive.last()["state"] == ("SAFE" if sign < 0.0 else "DRIVING")


def test_a_bend_is_known_between_two_fixes(drive):
    """The gyroscope's bias was learnt while the car stood; clockwise is to the right."""
    drive.stopped = True
    drive.board.imu(turn_dps=(0.0, 0.0, 3.0))
    drive.drive(3.0)
    drive.stopped = False
    drive.drive(1.2)
    drive.board.imu(turn_dps=(0.0, 0.0, 3.0 - 20.0))
    drive.drive(0.5)
    assert float(drive.last()["turn_deg"]) == pytest.approx(2.0, abs=0.2)


def test_a_clock_that_begins_anew_changes_nothing(library, tmp_path, drive):
    """millis() wraps four seconds after the start, amid the drive."""
    wrapped = Drive(library, tmp_path, at_us=(2**32 - 4000) * 1000)
    wrapped.drive(5.0)
    drive.drive(3.0)
    wrapped.drive(3.0)
    columns = ("state", "accel_mps2", "own_mps", "peers", "fix_age_ms")
    for one, other in zip(drive.rows(), wrapped.rows(), strict=True):
        assert [one[name] for name in columns] == [other[name] for name in columns]
    assert int(wrapped.last()["now_ms"]) < 10_000


def test_a_full_serial_port_holds_nothing_up(drive):
    """Lines are left out and counted; beacons go on."""
    drive.board.serial_room(0)
    drive.board.sent()
    before = len(drive.rows())
    drive.drive(1.0)
    assert len(drive.board.beacons()) == 10
    assert len(drive.rows()) == before
    drive.board.serial_room(16384)
    drive.drive(0.2)
    assert int(drive.last()["unsaid"]) >= 20


def test_a_radio_that_takes_nothing_is_counted(drive):
    """And the car drives on by what it hears."""
    drive.board.radio_takes(takes=False)
    drive.drive(0.5)
    assert int(drive.last()["unsent"]) >= 4
    assert drive.last()["state"] == "DRIVING"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('VEHICLE_ID "a"', 'VEHICLE_ID "a b"', "VEHICLE_ID"),
        ('VEHICLE_ID "a"', 'VEHICLE_ID ""', "VEHICLE_ID"),
        ('FORWARD_AXIS "x"', 'FORWARD_AXIS "up"', "FORWARD_AXIS"),
        ("CHANNEL 1 ", "CHANNEL 99", "CHANNEL"),
        ("IMU_ADDRESS 0x68", "IMU_ADDRESS 0x60", "IMU_ADDRESS"),
    ],
)
def test_a_setting_that_is_none_is_said(with_settings, tmp_path, old, new, says):
    """For ever, with its name, and nothing is driven."""
    board = Board(with_settings((old, new)), tmp_path)
    assert board.is_stuck
    lines = board.written().decode().splitlines()
    assert len(lines) > 5
    assert all(line.startswith("FAIL,") and says in line for line in lines)
    assert board.sent() == []


def test_three_nodes_are_a_convoy(library, tmp_path):
    """What one sends the others hear; the last one knows the first through the second alone.

    A relay's wait for its slot is not seen by who hears it: up to a metre at 10 m/s.
    """
    boards = {
        name: Board(library, tmp_path, name, at_us)
        for name, at_us in (("v1", 7_000_000), ("v2", 3_030_000), ("v3", 60_000))
    }
    ahead_m = {"v1": 60.0, "v2": 30.0, "v3": 0.0}
    starts_us = {name: board.now_us for name, board in boards.items()}
    for k in range(800):
        elapsed_us = 10_000 * (k + 1)
        on_air = []
        for name, board in boards.items():
            board.run(starts_us[name] + elapsed_us)
            if elapsed_us % 1_000_000 == 0:
                north_m = ahead_m[name] + SPEED_MPS * (elapsed_us * 1e-6 - 0.15)
                board.gps(rmc(*place(0.0, north_m), SPEED_MPS, 0.0))
            on_air += [(name, frame) for _, frame in board.sent()]
        for sender, frame in on_air:
            for name, board in boards.items():
                if name != sender and {name, sender} != {"v1", "v3"}:
                    board.hear(frame)
    rows = {row["mac"]: row for row in boards["v3"].rows("PEER")[-2:]}
    first, second = (rows[mac_of_name(name).hex(":")] for name in ("v1", "v2"))
    assert float(first["gap_m"]) == pytest.approx(55.5, abs=2.0)
    assert float(second["gap_m"]) == pytest.approx(25.5, abs=1.0)
    assert (first["hops"], second["hops"]) == ("1", "0")
    assert (first["rank"], second["rank"]) == ("1", "0")
    assert {board.rows("CMD")[-1]["state"] for board in boards.values()} == {"DRIVING"}


class BoardPort:
    """A port of `roadsense hil` behind which a board runs, as long as it is waited for."""

    name, is_program = "a board", True

    def __init__(self, board):
        self._board = board

    def write(self, data):
        """Send bytes."""
        self._board.serial(data)

    def read(self, _wait_s):
        """Let it run for a while, and return what it wrote."""
        self._board.run(self._board.now_us + 5_000)
        return self._board.written()


def talk(session, drive, num_ticks):
    """Drive a board by its serial port; return its answers, and the same as an episode in bytes."""
    begin = BEGIN.pack(500, b"v0", mac_of_name("v0"), 328_000_000, 350_000_000, 0.9)
    session.begin(begin)
    episode, answers = b"\x01" + begin, []
    for tick in range(num_ticks):
        now_ms = 1000 + 100 * tick
        fix = FIX.pack(*(round(v * 1e7) for v in place(0.0, 0.01 * now_ms)), SPEED_MPS, 0.0, 1, 100)
        frame = FRAME.pack(
            now_ms - 20,
            drive.beacon("lead", 0.01 * now_ms + AHEAD_M, -0.5 * tick, timestamp_ms=now_ms - 24),
        )
        sample = (now_ms, 0.0, 0.0, -1.0, -1.0)
        session.hear(frame)
        session.take_fix(fix)
        decided = session.decide(TICK.pack(*sample, 90_000))
        answers.append(decided)
        episode += b"\x02" + frame + b"\x03" + fix
        episode += b"\x04" + struct.pack("<Iffff", *sample) + struct.pack("<f", 0.0)
    return answers, episode


def test_a_pc_drives_it_by_its_serial_port_instead_of_radio_and_sensors(library, sketch, tmp_path):
    """`roadsense hil`'s own session; the very bits of the brain; nothing on the air, no lines."""
    drive = Drive(library, tmp_path)
    drive.fixes = False
    drive.drive(1.0)
    drive.board.written()
    session = Session(BoardPort(drive.board), deadline_s=0.1)
    assert session.hello.name == "convoy"
    assert session.hello.model == digest_in((sketch / "weights.h").read_bytes()) != 0
    answers, episode = talk(session, drive, 12)
    replayed = sketch.parent / "replay"
    if not replayed.exists():
        replayed.symlink_to(FIRMWARE / "brain" / "replay")
    ticks = HostBrain(sketch.parent, tmp_path / "brain.so").replay(episode)
    assert [one.answer.digest for one in answers] == ticks["digest"].tolist()
    assert answers[-1].answer.accel_mps2 < -2.0
    assert answers[-1].sent[0] == (False, bytes(ticks["beacon"][-1]))
    assert session.faults == Faults()
    assert drive.board.sent() == []
    assert drive.board.led(BRAKE) > 20
    assert drive.board.led(STATE) == 255
    session.end()
    drive.board.written()
    drive.fixes = True
    drive.drive(3.0)
    assert drive.board.bitten_us < 0
    assert drive.board.written() == b""
    assert drive.board.sent() == []


def test_whoever_drives_is_deaf_on_the_serial_port(drive):
    """A cable that somebody plugs in amid a drive takes the word from nobody."""
    drive.board.serial(b"\0" + Message(Kind.HELLO, 0).to_wire())
    drive.drive(0.5)
    assert b"\0" not in drive.board.written()
    assert drive.last()["state"] == "DRIVING"


def test_what_a_terminal_sends_to_a_board_that_waits_changes_nothing(library, tmp_path):
    """Letters, rubbish, and messages that are no greeting."""
    drive = Drive(library, tmp_path)
    drive.ahead = False
    drive.drive(1.0)
    tick = Message(Kind.TICK, 0, bytes(24)).to_wire()
    for data in (b"hello\r\n", bytes(range(256)) * 20, tick):
        drive.board.serial(data)
        drive.drive(0.3)
    assert b"\0" not in drive.board.written()
    drive.ahead = True
    drive.drive(1.0)
    assert drive.last()["state"] == "DRIVING"
