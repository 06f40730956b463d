"""The board's code as a sketch calls it: what it refuses, sends, relays, and says without a fix."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import numpy as np
import pytest
from support.board_code import FIX, REFERENCE, WITHOUT_FIX, OneBrain, needs

from ml.errors import EmulatorError, ExportError
from ml.espnow_emulator import V2VMessage
from ml.espnow_emulator.wire import mac_of_name, pack, unpack
from ml.export.folder import SOURCE
from ml.export.network import network_of
from ml.export.toolchain import FLAGS, run
from ml.export.weights import weights_header
from ml.parameters import load_parameters
from ml.training.checkpoints import load_model

MODEL = Path(__file__).parents[2] / "ml" / "models" / "convoy.zip"
STILL = (0.0, 0.0, -1.0, -1.0)

pytestmark = [pytest.mark.board, needs("gcc")]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The fixed code with the shipped model's weights, on this machine."""
    folder = tmp_path_factory.mktemp("calls")
    model = load_model(MODEL)
    header = weights_header(
        network_of(model), model.interface, load_parameters("clean"), MODEL.name
    )
    (folder / "weights.h").write_text(header)
    built = folder / "libbrain.so"
    run(
        [
            *("gcc", *FLAGS, "-shared", "-fPIC", f"-I{folder}", str(SOURCE / "brain.c")),
            *("-o", str(built)),
        ]
    )
    return ctypes.CDLL(str(built))


@pytest.mark.parametrize(
    "flag",
    ["-ffast-math", "-funsafe-math-optimizations", "-freciprocal-math", "-ffinite-math-only"],
)
def test_flags_that_give_exactness_up_are_refused(tmp_path, flag):
    """By the code itself, whatever a sketch's settings are."""
    (tmp_path / "weights.h").write_text("")
    with pytest.raises(ExportError, match="needs exact arithmetic"):
        run(["gcc", flag, "-fsyntax-only", f"-I{tmp_path}", str(SOURCE / "brain.c")])


def fix_at(x_m=0.0, y_m=0.0, *, speed_mps=20.0, heading_deg=90.0, has_heading=True, age_ms=0):
    """A fix at a place from the reference."""
    north, east = REFERENCE.north_m_per_deg, REFERENCE.east_m_per_deg
    place = (round((32.8 + y_m / north) * 1e7), round((35.0 + x_m / east) * 1e7))
    return FIX.pack(*place, speed_mps, heading_deg, has_heading, age_ms)


def frame_of(name="v1", *, x_m=50.0, timestamp_ms=1000, hops=0, by=None, **values):
    """A frame of a car ahead, to the east."""
    said = {"y_m": 0.0, "speed_mps": 20.0, "heading_deg": 90.0, "accel_mps2": 0.0} | values
    message = V2VMessage(
        vehicle_id=by or name,
        source_id=name,
        timestamp_ms=timestamp_ms,
        x_m=x_m,
        hop_count=hops,
        position_sd_m=2.0,
        **said,
    )
    return pack(message, REFERENCE)


@pytest.fixture
def brain(library):
    """A brain with a fix, at tick 1."""
    made = OneBrain(library)
    assert made.is_ready
    assert made.sense(100, fix_at(), *STILL)
    made.step(100)
    assert made.beacon() is not None
    return made


def test_without_a_fix_nothing_is_commanded_and_nothing_sent(library):
    """It says so, hears all the same, and decides once there is one."""
    brain = OneBrain(library)
    assert brain.receive(frame_of(), 90)
    assert brain.sense(100, None, *STILL)
    command = brain.step(100)
    assert command[0] == 0.0
    assert command[-1] == WITHOUT_FIX
    assert brain.beacon() is None
    assert brain.sense(200, fix_at(), *STILL)
    assert brain.step(200)[-1] != WITHOUT_FIX
    assert brain.beacon() is not None


def test_a_car_that_stands_is_not_believed_to_point_north(library):
    """Without a heading it says that it has no fix, however often; a compass is one."""
    brain = OneBrain(library)
    for now_ms in (100, 200):
        fix = fix_at(speed_mps=0.0, heading_deg=0.0, has_heading=False)
        assert brain.sense(now_ms, fix, *STILL)
        assert brain.step(now_ms)[-1] == WITHOUT_FIX
        assert brain.beacon() is None
    assert brain.sense(300, fix_at(speed_mps=0.0, heading_deg=181.5), *STILL)
    assert brain.step(300)[-1] != WITHOUT_FIX
    assert unpack(brain.beacon(), REFERENCE).heading_deg == 181.5


@pytest.mark.parametrize(("vehicle_mps", "expected_mps"), [(13.5, 13.5), (-1.0, 0.0)])
def test_without_a_fix_the_speed_stays_as_it_is(library, vehicle_mps, expected_mps):
    """It is no order to stand still; without a speedometer nothing is known of it."""
    brain = OneBrain(library)
    assert brain.sense(100, None, 0.0, 0.0, vehicle_mps, -1.0)
    assert brain.step(100)[:2] == (0.0, expected_mps)


@pytest.mark.parametrize("age_ms", [3201, 60_000, 2**32 - 1])
def test_a_first_fix_of_long_ago_begins_nothing(library, age_ms):
    """It would be driven on for all that time by one sample; what is kept would begin it."""
    brain = OneBrain(library, now_ms=100_000)
    assert not brain.sense(100_100, fix_at(age_ms=age_ms), 0.5, 0.0, -1.0, -1.0)
    assert brain.step(100_100)[-1] == WITHOUT_FIX
    assert brain.sense(100_200, fix_at(age_ms=3200), *STILL)
    assert brain.step(100_200)[-1] != WITHOUT_FIX


def test_a_place_that_others_would_refuse_is_not_sent(brain):
    """Ten minutes after the last fix it still is sent, after twenty it is not."""
    assert brain.sense(600_000, None, *STILL)
    unpack(brain.beacon(), REFERENCE)
    assert brain.sense(1_200_000, None, *STILL)
    assert brain.beacon() is None
    assert brain.sense(1_200_100, fix_at(), *STILL)
    assert brain.beacon() is not None


def commands(library, car, ticks=600):
    """What is commanded at 20 m/s, 60 m behind a steady car, beside the frames of `car(k, x_m)`."""
    brain, told = OneBrain(library), []
    for k in range(ticks):
        now_ms, x_m = 100 * (k + 1), 2.0 * k
        brain.receive(frame_of(x_m=x_m + 64.5, timestamp_ms=now_ms), now_ms)
        for frame in car(k, x_m):
            brain.receive(frame, now_ms)
        brain.sense(now_ms, None if k % 10 else fix_at(x_m), 0.0, 0.0, 20.0, -1.0)
        told.append(brain.step(now_ms))
    return np.array(told)


def behind(k, x_m):
    """A follower that closes up."""
    yield frame_of("v7", x_m=x_m - max(40.0 - 0.1 * k, 12.0), timestamp_ms=100 * k)


def oncoming(k, x_m):
    """A car on the other lane."""
    yield frame_of("v7", x_m=600.0 - x_m, y_m=3.5, heading_deg=270.0, timestamp_ms=100 * k)


def test_a_follower_or_an_oncoming_car_is_no_car_ahead(library):
    """Nothing is commanded otherwise, in any tick."""
    alone = commands(library, lambda _k, _x_m: ())
    for car in (behind, oncoming):
        assert (commands(library, car) == alone).all()


def test_who_comes_from_behind_and_brakes_ahead_is_braked_for(library):
    """Once it has passed, it counts; so does a car round a bend."""

    def passing(k, x_m):
        speed = 25.0 if k < 150 else 5.0
        yield frame_of(
            "v7", x_m=x_m + min(-40.0 + 0.5 * k, 20.0), speed_mps=speed, timestamp_ms=100 * k
        )

    assert commands(library, passing, 160)[-1, 4] < -3.0

    def in_a_bend(k, x_m):
        where = {"x_m": x_m + 35.0, "y_m": -45.0, "heading_deg": 215.0}
        yield frame_of("v7", speed_mps=0.0, timestamp_ms=100 * k, **where)

    assert commands(library, in_a_bend, 20)[-1, 4] < -3.0


def test_who_was_passed_and_is_never_heard_again_is_forgotten(library):
    """It brakes ahead, is braked for, falls silent and stays behind."""

    def braking(k, x_m):
        if k < 5:
            yield frame_of("v7", x_m=x_m + 30.0, accel_mps2=-5.0, timestamp_ms=100 * k)

    alone, beside = (commands(library, car) for car in (lambda _k, _x_m: (), braking))
    assert beside[:80, 0].min() < -3.0
    assert beside[200:, 4].min() > 0.0
    assert np.abs(beside[500:, 0] - alone[500:, 0]).max() < 0.02


def test_who_is_not_heard_for_a_minute_is_one_that_was_never_known(library):
    """Until then it is taken to drive on there."""

    def parted(k, x_m):
        if k < 5:
            yield frame_of("v7", x_m=x_m + 30.0, timestamp_ms=100 * k)

    alone, beside = (commands(library, car, 700) for car in (lambda _k, _x_m: (), parted))
    assert (beside[300:590, 0] < alone[300:590, 0] - 0.1).all()
    assert np.abs(beside[690:, 0] - alone[690:, 0]).max() < 0.1


@pytest.mark.parametrize(
    "settings",
    [
        {"name": b"12345678"},
        {"name": b""},
        {"mac": bytes(6)},
        {"mac": b"\xff" * 6},
        {"reference_e7": (810_000_000, 0)},
        {"time_gap_s": 6.0},
        {"time_gap_s": float("nan")},
    ],
)
def test_settings_that_are_none_are_refused(library, settings):
    """A name without its end, no address of one station, a pole, no time gap."""
    assert not OneBrain(library).init(**settings)


def test_bytes_are_refused_where_python_refuses_them(brain):
    """Twenty thousand frames with some bytes changed, one verdict on each."""
    rng = np.random.default_rng(3)
    verdicts = {True: 0, False: 0}
    for number in range(20_000):
        frame = bytearray(frame_of(timestamp_ms=number, hops=int(rng.integers(0, 4))))
        for at in rng.integers(0, 85, rng.integers(0, 4)):
            frame[at] = int(rng.integers(0, 256))
        try:
            unpack(bytes(frame), REFERENCE)
        except EmulatorError as error:
            is_message, why = False, str(error)
        else:
            is_message, why = True, ""
        frame[84:] = mac_of_name("v1") if is_message else frame[84:]
        assert brain.receive(bytes(frame), 100 + number) == is_message, (frame.hex(), why)
        verdicts[is_message] += 1
    assert min(verdicts.values()) > 1000


@pytest.mark.parametrize(
    ("at", "value"),
    [(79, 9.9998997e-06), (79, 1.0000001), (29, 360.0), (25, -0.01), (33, 100.01), (13, 91.0)],
)
def test_values_just_beyond_their_bounds_are_refused(brain, at, value):
    """Confidence, heading, speed, acceleration and latitude; the next float within is taken."""
    frame = bytearray(frame_of())
    struct.pack_into("<f", frame, at, value)
    with pytest.raises(EmulatorError):
        unpack(bytes(frame), REFERENCE)
    assert not brain.receive(bytes(frame), 100)


def test_the_least_confidence_is_taken(brain):
    """The float that Python takes, too."""
    frame = bytearray(frame_of())
    struct.pack_into("<f", frame, 79, 9.99990061e-06)
    unpack(bytes(frame), REFERENCE)
    assert brain.receive(bytes(frame), 100)


def test_its_own_beacon_is_pythons(library):
    """Every byte; of degrees, accuracy and speed the last bit may be rounded the other way."""
    brain = OneBrain(library)
    assert brain.sense(5000, fix_at(1234.5, -321.0, speed_mps=13.25), 0.5, 0.0, -1.0, -1.0)
    frame = brain.beacon()
    said = unpack(frame, REFERENCE)
    assert (said.vehicle_id, said.source_id, said.timestamp_ms) == ("v0", "v0", 5000)
    assert (said.hop_count, said.speed_mps, said.accel_mps2) == (0, 13.25, 0.5)
    assert said.x_m == pytest.approx(1234.5, abs=0.4)
    assert said.y_m == pytest.approx(-321.0, abs=0.4)
    again = pack(said, REFERENCE)
    assert frame[:13] + frame[21:79] + frame[83:] == again[:13] + again[21:79] + again[83:]
    for at in (13, 17, 79):
        mine, other = (struct.unpack_from("<I", data, at)[0] for data in (frame, again))
        assert abs(mine - other) <= 1


def test_what_is_heard_is_relayed_once_in_the_next_slot(brain):
    """With a hop more, by its own name, and not a copy that came another way."""
    heard = frame_of(timestamp_ms=1000)
    assert brain.receive(heard, 110)
    assert brain.receive(frame_of(timestamp_ms=1000, hops=1, by="v2"), 120)
    assert brain.relay() == []  # its slot has not come
    brain.beacon()
    (relayed,) = brain.relay()
    said = unpack(relayed, REFERENCE)
    assert (said.vehicle_id, said.source_id, said.hop_count) == ("v0", "v1", 1)
    assert relayed[9:83] == heard[9:83]
    brain.beacon()
    assert brain.relay() == []


def test_nothing_is_relayed_from_behind_or_after_three_hops_or_of_its_own(brain):
    """Only what comes from ahead, and can go on."""
    assert brain.receive(frame_of(x_m=-30.0), 110)
    assert brain.receive(frame_of("v2", hops=3, by="v3"), 110)
    assert not brain.receive(frame_of("v0", hops=1, by="v3"), 110)
    brain.beacon()
    assert brain.relay() == []
    assert brain.receive(frame_of("v4", hops=2, by="v3"), 110)
    brain.beacon()
    assert [unpack(frame, REFERENCE).hop_count for frame in brain.relay()] == [3]


def test_what_is_much_older_than_the_newest_is_not_relayed(brain):
    """Nor is a message again after sixteen newer ones of its source."""
    assert brain.receive(frame_of(timestamp_ms=10_000), 110)
    assert brain.receive(frame_of(timestamp_ms=8_500), 120)
    assert brain.receive(frame_of(timestamp_ms=5_000), 130)
    brain.beacon()
    stamps = [unpack(frame, REFERENCE).timestamp_ms for frame in brain.relay()]
    assert stamps == [10_000, 8_500]
    for number in range(1, 18):
        assert brain.receive(frame_of(timestamp_ms=10_000 + 100 * number), 200)
    brain.beacon()
    assert len(brain.relay()) == 17
    assert brain.receive(frame_of(timestamp_ms=10_000, hops=1, by="v2"), 210)
    brain.beacon()
    assert brain.relay() == []
    assert brain.receive(frame_of("v5", timestamp_ms=3_000_000_000), 220)  # the first of its source
    brain.beacon()
    assert len(brain.relay()) == 1


def test_more_waits_than_there_is_room_and_the_oldest_goes(brain):
    """Twenty-four frames are kept."""
    for number in range(40):
        assert brain.receive(frame_of(timestamp_ms=1000 + number), 110)
    brain.beacon()
    stamps = [unpack(frame, REFERENCE).timestamp_ms for frame in brain.relay()]
    assert stamps == list(range(1016, 1040))


def test_a_seventeenth_car_takes_the_place_of_one_not_heard_for_a_minute(brain):
    """Until then it is refused, and those that are there stay."""
    for number in range(16):
        assert brain.receive(frame_of(f"p{number}", timestamp_ms=10), 200)
    assert not brain.receive(frame_of("late"), 60_000)
    assert brain.receive(frame_of("p3", timestamp_ms=60_000), 60_150)
    assert brain.receive(frame_of("late"), 60_250)
    assert brain.receive(frame_of("p3", timestamp_ms=60_100), 60_250)


def test_a_frame_from_before_the_clock_began_anew_is_not_of_the_future(library):
    """Handed over after the wrap; were it taken for one of 49 days ahead, it would find a place."""
    brain = OneBrain(library, now_ms=2**32 - 200)
    for number in range(16):
        assert brain.receive(frame_of(f"p{number}", timestamp_ms=10), 2**32 - 150)
    assert brain.sense(50, fix_at(), *STILL)
    assert not brain.receive(frame_of("late"), 2**32 - 20)
    assert brain.receive(frame_of("p3", timestamp_ms=90), 60)


def test_values_that_no_car_has_are_left_out(brain):
    """A sensor that says NaN, or a place on the other side of the earth, moves nothing."""
    assert not brain.sense(200, None, float("nan"), 0.0, -1.0, -1.0)
    assert not brain.sense(300, FIX.pack(-328_000_000, 0, 20.0, 90.0, 1, 0), *STILL)
    assert not brain.sense(400, fix_at(heading_deg=360.0), *STILL)
    command = brain.step(400)
    assert np.isfinite(command[:6]).all()
    said = unpack(brain.beacon(), REFERENCE)
    assert said.x_m == pytest.approx(20.0 * 0.3, abs=0.4)
