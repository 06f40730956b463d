from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
from support.small_radio import loss_of, plain_radio

from ml.errors import EmulatorError
from ml.espnow_emulator import (
    ESPNOWEmulator,
    MacParameters,
    MarginLoss,
    RadioParameters,
    ReceivedMessage,
    RelayParameters,
    V2VMessage,
)

HERE, THERE = (0.0, 0.0), (15.0, 0.0)


def _radio(loss: float = 0.0, base_ms: float = 4.0) -> RadioParameters:
    mac = MacParameters(enabled=False, fixed_latency_ms=base_ms)
    return plain_radio(loss=loss_of(loss), mac=mac)


def _message(timestamp_ms: int = 0, **changes) -> V2VMessage:
    values = {
        "vehicle_id": "car-1",
        "timestamp_ms": timestamp_ms,
        "x_m": 0.1 + 0.2,
        "y_m": -1e-17,
        "speed_mps": 13.0,
        "heading_deg": 359.999,
        "accel_mps2": -3.3,
    }
    return V2VMessage(**values | changes)


def test_a_message_comes_out_as_it_went_in():
    """Transmit returns nothing; the message is there from its arrival on, every value as sent."""
    emulator = ESPNOWEmulator(_radio(), seed=1)
    message = _message(1000, hop_count=2, source_id="car-9", position_sd_m=2.1)
    assert emulator.transmit(message, THERE, HERE, 1000.0) is None
    assert emulator.sync_and_get_messages(1003.999) == {}
    expected = {"car-1": ReceivedMessage(message, received_at_ms=1004.0, age_ms=4.0)}
    assert emulator.sync_and_get_messages(1004.0) == expected
    assert emulator.sync_and_get_messages(99_000.0) == expected, "staleness is for the environment"


def test_messages_are_immutable_and_name_their_source():
    """A message is frozen; without a source it is the transmitter's own."""
    message = _message()
    assert message.source_id == "car-1"
    assert message.hop_count == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.x_m = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        ReceivedMessage(message, 1.0, 0.0).age_ms = 2.0


def test_a_returned_dict_is_the_callers_own():
    """What a caller does to the dict is not seen at the next poll."""
    emulator = ESPNOWEmulator(_radio(), seed=1)
    emulator.transmit(_message(), THERE, HERE, 0.0)
    emulator.sync_and_get_messages(10.0).clear()
    assert set(emulator.sync_and_get_messages(10.0)) == {"car-1"}


def test_parameters_may_come_with_their_set():
    """A whole parameter set serves as well as its radio."""
    emulator = ESPNOWEmulator(SimpleNamespace(radio=_radio(base_ms=9.0)), seed=1)
    emulator.transmit(_message(), THERE, HERE, 0.0)
    assert emulator.sync_and_get_messages(50.0)["car-1"].age_ms == 9.0
    with pytest.raises(EmulatorError, match=r"params is 'clean', .*load_parameters"):
        ESPNOWEmulator("clean", seed=1)


def test_a_reboot_starts_anew_and_a_small_step_back_does_not():
    """A timestamp more than 1 s back is newer than all before; up to 1 s back it is older."""
    emulator = ESPNOWEmulator(_radio(), seed=1)
    emulator.transmit(_message(50_000), THERE, HERE, 0.0)
    emulator.transmit(_message(49_000), THERE, HERE, 100.0)
    assert emulator.sync_and_get_messages(200.0)["car-1"].message.timestamp_ms == 50_000
    emulator.transmit(_message(48_999), THERE, HERE, 200.0)
    assert emulator.sync_and_get_messages(300.0)["car-1"].message.timestamp_ms == 48_999
    emulator.transmit(_message(49_100), THERE, HERE, 300.0)
    assert emulator.sync_and_get_messages(400.0)["car-1"].message.timestamp_ms == 49_100


def test_time_may_not_run_back():
    """Polling or sending before the last poll is acausal; the same moment is not."""
    emulator = ESPNOWEmulator(_radio(), seed=1)
    emulator.sync_and_get_messages(100.0)
    emulator.sync_and_get_messages(100.0)
    with pytest.raises(EmulatorError, match=r"current_time_ms is 99\.9, allowed is 100\.0"):
        emulator.sync_and_get_messages(99.9)
    with pytest.raises(EmulatorError, match="transmit: current_time_ms is 99"):
        emulator.transmit(_message(), THERE, HERE, 99)
    emulator.transmit(_message(), THERE, HERE, 100.0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x_m": math.nan}, r"V2VMessage\.x_m of 'car-1' is nan, allowed is a finite number in"),
        ({"y_m": -math.inf}, r"V2VMessage\.y_m of 'car-1' is -inf"),
        ({"speed_mps": -0.1}, r"speed_mps of 'car-1' is -0\.1, .* in \[0, 150\]"),
        ({"heading_deg": 360.0}, r"heading_deg of 'car-1' is 360\.0, .* in \[0, 360\)"),
        ({"accel_mps2": 101.0}, r"accel_mps2 .* in \[-100, 100\]"),
        ({"timestamp_ms": 1.5}, r"timestamp_ms .* is 1\.5, allowed is a whole number"),
        ({"timestamp_ms": "7"}, r"timestamp_ms .* is '7', allowed is a whole number"),
        ({"hop_count": 4}, r"hop_count of 'car-1' is 4, .* in \[0, 3\]"),
        ({"position_sd_m": math.nan}, r"position_sd_m of 'car-1' is nan"),
        ({"vehicle_id": ""}, r"vehicle_id is '', allowed is a name"),
    ],
)
def test_a_wrong_value_is_refused_by_name(change: dict, text: str):
    """The error names the value, what it is and what is allowed, and nothing was sent."""
    emulator = ESPNOWEmulator(_radio(), seed=1)
    with pytest.raises(EmulatorError, match=text):
        emulator.transmit(_message(**change), THERE, HERE, 0.0)
    assert emulator.sync_and_get_messages(1000.0) == {}


@pytest.mark.parametrize("position", [(math.nan, 0.0), (0.0, math.inf), (1e8, 0.0), (1.0,), None])
def test_a_wrong_position_is_refused_by_name(position):
    """Positions are two finite numbers, on either side."""
    emulator = ESPNOWEmulator(_radio(), seed=1)
    with pytest.raises(EmulatorError, match="sender_pos is"):
        emulator.transmit(_message(), position, HERE, 0.0)
    with pytest.raises(EmulatorError, match="receiver_pos is"):
        emulator.transmit(_message(), HERE, position, 0.0)


@pytest.mark.parametrize("time_ms", [math.nan, math.inf, 1e13])
def test_a_wrong_time_is_refused(time_ms: float):
    """Time is a finite number of milliseconds."""
    emulator = ESPNOWEmulator(_radio(), seed=1)
    with pytest.raises(EmulatorError, match="current_time_ms is"):
        emulator.sync_and_get_messages(time_ms)


def _fates(emulator: ESPNOWEmulator, start_ms: float, count: int = 60) -> list[bool]:
    """Send and poll every 100 ms; True where the message of that moment came through."""
    fates = []
    for k in range(count):
        now_ms = start_ms + 100.0 * k
        emulator.transmit(_message(int(now_ms)), THERE, HERE, now_ms)
        got = emulator.sync_and_get_messages(now_ms + 50.0).get("car-1")
        fates.append(got is not None and got.message.timestamp_ms == int(now_ms))
    return fates


def test_reset_repeats_and_another_seed_does_not():
    """The same seed gives the same fates from the start, another seed other ones."""
    emulator = ESPNOWEmulator(_radio(loss=0.5), seed=3)
    first = _fates(emulator, 0.0)
    emulator.reset(3)
    assert _fates(emulator, 0.0) == first
    emulator.reset(4)
    assert _fates(emulator, 0.0) != first


def test_clear_forgets_messages_and_time_but_goes_on_drawing():
    """After clear nothing is known or pending, time may start at 0, and no draw is repeated."""
    whole = ESPNOWEmulator(_radio(loss=0.5), seed=3)
    fates = _fates(whole, 0.0, 100)
    emulator = ESPNOWEmulator(_radio(loss=0.5), seed=3)
    assert _fates(emulator, 0.0, 40) == fates[:40]
    emulator.clear()
    assert emulator.sync_and_get_messages(0.0) == {}
    assert _fates(emulator, 10_000.0, 60) == fates[40:]
    emulator.transmit(_message(), THERE, HERE, 20_000.0)
    emulator.clear()
    assert emulator.sync_and_get_messages(0.0) == {}
    assert emulator.sync_and_get_messages(1e6) == {}, "what was pending at clear never arrives"


def test_memory_does_not_grow_with_what_was_lost_or_superseded():
    """After ten thousand messages the emulator holds a handful."""
    emulator = ESPNOWEmulator(_radio(loss=0.5), seed=3)
    _fates(emulator, 0.0, 3000)
    assert len(emulator._messages["car-1"]) <= 33
    assert emulator._offers == []


def test_a_rate_far_above_the_polling_loses_nothing_that_still_counts():
    """Of a hundred messages between two polls the newest is there, and late ones come in time."""
    emulator = ESPNOWEmulator(_radio(base_ms=50.0), seed=3)
    for k in range(100):
        emulator.transmit(_message(10 * k), THERE, HERE, 10.0 * k)
    for k in (94, 95, 99):
        got = emulator.sync_and_get_messages(50.0 + 10.0 * k)["car-1"]
        assert (got.message.timestamp_ms, got.age_ms) == (10 * k, 50.0)


def test_messages_sent_out_of_order_have_their_slots_in_order():
    """What is sent for a later time waits for it, whenever it was handed over."""
    emulator = ESPNOWEmulator(_radio(), seed=1)
    emulator.transmit(_message(200), THERE, HERE, 200.0)
    emulator.transmit(_message(100), THERE, HERE, 100.0)
    assert emulator.sync_and_get_messages(150.0)["car-1"].message.timestamp_ms == 100
    assert emulator.sync_and_get_messages(250.0)["car-1"].message.timestamp_ms == 200


def test_one_vehicle_too_many_is_refused():
    """A channel holds 32 nodes: the receiver and 31 vehicles."""
    emulator = ESPNOWEmulator(_radio(), seed=1)
    for k in range(31):
        emulator.transmit(_message(0, vehicle_id=f"car-{k}"), THERE, HERE, 0.0)
    with pytest.raises(EmulatorError, match="'one more' is vehicle number 32, allowed are 31"):
        emulator.transmit(_message(0, vehicle_id="one more"), THERE, HERE, 0.0)
    assert len(emulator.sync_and_get_messages(10.0)) == 31


def test_relays_are_off_unless_asked_for():
    """Only with relays can a message have taken a longer way than the first one."""
    radio = plain_radio(
        loss=loss_of(0.6), relay=RelayParameters(front_cone=False), mac=MacParameters()
    )
    arrivals = {}
    for relays in (False, True):
        emulator = ESPNOWEmulator(radio, 5, relays=relays)
        late = 0
        for k in range(200):
            for name in ("a", "b"):
                emulator.transmit(_message(100 * k, vehicle_id=name), THERE, HERE, 100.0 * k)
            received = emulator.sync_and_get_messages(100.0 * k + 99.0)
            late += sum(got.age_ms > 90.0 for got in received.values())
        arrivals[relays] = late
    assert arrivals[False] == 0
    assert arrivals[True] > 20


def test_no_car_stands_between_two_vehicles():
    """Nobody knows who drives where, so what a car in between would cost changes no arrival."""
    arrivals = []
    for blocked_db in (0.0, 60.0):
        loss = MarginLoss(car_first_db=blocked_db, cars_cap_db=120.0)
        emulator = ESPNOWEmulator(RadioParameters(loss=loss), 6)
        arrivals.append([])
        for k in range(50):
            for rank, name in enumerate("abc", 1):
                there = (15.0 * rank, 0.0)
                emulator.transmit(_message(100 * k, vehicle_id=name), there, HERE, 100.0 * k)
            arrivals[-1].append(emulator.sync_and_get_messages(100.0 * k + 99.0))
    assert arrivals[0] == arrivals[1]
    assert set(arrivals[0][-1]) == {"a", "b", "c"}
