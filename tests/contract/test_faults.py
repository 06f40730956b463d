"""Each fault that can be switched on reaches what the ego knows, on real SUMO."""

import json

import numpy as np
import pytest

from ml.envs import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.espnow_emulator import PayloadField
from ml.onboard.observation.spec import EGO_INDEX, EGO_LIMITS, PEER_INDEX, PEER_LIMITS
from ml.parameters import load_parameters

pytestmark = pytest.mark.sumo

ENVS, PEERS, TICKS = 8, 3, 120
OFTEN = {"mean_interval_s": 4.0, "duration_s": 2.0}


@pytest.fixture
def drive(tmp_path):
    """Drive convoys with a perfect radio and perfect sensors but for some faults."""

    def build(section: str, faults: dict):
        content = json.loads(load_parameters("ideal").model_dump_json())
        content[section]["faults"] |= faults
        file = tmp_path / "faults.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        config = EnvConfig(radio=str(file), num_peers=(PEERS, PEERS), audit_causality=True)
        env = ConvoyVecEnv(ENVS, config, seed=5, forced_kind="benign")
        try:
            return _record(env)
        finally:
            env.close()

    return build


def _record(env: ConvoyVecEnv) -> dict[str, np.ndarray]:
    """Record, (ticks, convoys, peers) and NaN once a convoy's episode is over, what is known.

    What the newest message says of position and acceleration, the truth now, the message's
    timestamp, true time and age, and the accelerations that the observation shows: of the peers,
    and (ticks, convoys) of the ego.
    """
    env.reset()
    shape = (TICKS, ENVS, PEERS)
    names = ("said_m", "true_m", "said_mps2", "true_mps2", "seen_mps2", "age_s",
             "timestamp_ms", "generated_ms")  # fmt: skip
    record = {name: np.full(shape, np.nan) for name in names}
    record["ego_mps2"] = np.full(shape[:2], np.nan)
    alive = np.ones(ENVS, dtype=bool)
    for tick in range(TICKS):
        observation, _, done, _ = env.step(np.zeros((ENVS, 1), dtype=np.float32))
        alive &= ~done
        table, truth, now_us = env.batch.peer_table, env.batch.truth, env.batch.now_us
        known = {
            "said_m": table.payload[:, 0, :, PayloadField.X_M],
            "true_m": truth.route_pos_m[:, 1:],
            "said_mps2": table.payload[:, 0, :, PayloadField.ACCEL_MPS2],
            "true_mps2": truth.accel_mps2[:, 1:],
            "seen_mps2": observation["peers"][:, :PEERS, PEER_INDEX["accel"]]
            * PEER_LIMITS[0, PEER_INDEX["accel"]],
            "age_s": table.age_true_us(now_us)[:, 0] / 1e6,
            "timestamp_ms": table.timestamp_ms[:, 0],
            "generated_ms": table.t_generated_us[:, 0] / 1e3,
        }
        for name, values in known.items():
            record[name][tick, alive] = values[alive]
        own = observation["ego"][:, EGO_INDEX["accel"]] * EGO_LIMITS[0, EGO_INDEX["accel"]]
        record["ego_mps2"][tick, alive] = own[alive]
    assert alive.any()
    return record


def _share(condition: np.ndarray) -> float:
    return float(np.mean(condition))


def test_without_a_fault_everything_is_the_truth(drive):
    """The yardstick of the tests below: at most one tick old, and exact at its moment."""
    r = drive("radio", {})
    assert np.nanmax(np.abs(r["said_m"] - r["true_m"])) < 4.0  # 100 ms old, 33 m/s
    assert np.nanmax(r["age_s"]) <= 0.1
    assert np.nanmin(r["said_mps2"]) > -4.0  # a benign episode: 2 m/s², and those who follow
    offset_ms = r["timestamp_ms"] - r["generated_ms"]
    assert np.nanmax(np.ptp(offset_ms, axis=0)) <= 2.0


def test_a_frozen_gps_repeats_a_position_while_the_car_drives(drive):
    """The same coordinates for up to two seconds, and then the truth again."""
    r = drive("sensors", {"gps_freeze": OFTEN})
    error_m = r["true_m"] - r["said_m"]
    stands = np.diff(r["said_m"], axis=0) == 0.0
    assert _share(stands) > 0.1
    assert np.nanmax(error_m) > 10.0
    assert np.nanmedian(np.abs(error_m)) < 4.0


def test_a_gps_jump_puts_a_car_elsewhere(drive):
    """By tens of metres, for a share of the time."""
    r = drive("sensors", {"gps_jump": OFTEN | {"sd_m": 50.0}})
    far = np.abs(r["true_m"] - r["said_m"]) > 10.0
    assert 0.1 < _share(far) < 0.6


def test_wrongly_mounted_accelerometers_say_so(drive):
    """Inverted, braking reads as accelerating; misaligned, as nothing; biased, as more or less.

    The ego's own board is as good or bad as the others'.
    """
    r = drive("sensors", {"accelerometer": {"inverted_probability": 1.0}})
    assert np.nanmax(r["said_mps2"]) > 1.5
    brakes = (r["true_mps2"][1:] < -1.0) & (r["true_mps2"][:-1] < -1.0)  # so since the beacon
    assert brakes.sum() > 20
    assert (r["said_mps2"][1:][brakes] > 0.0).all()
    assert _share(r["seen_mps2"][1:][brakes] > 0.0) > 0.5

    r = drive("sensors", {"accelerometer": {"misaligned_probability": 1.0}})
    assert np.nanmax(np.abs(r["said_mps2"])) == 0.0

    r = drive("sensors", {"accelerometer": {"biased_probability": 1.0, "bias_mps2": 1.7}})
    error = np.nanmedian(r["said_mps2"] - r["true_mps2"], axis=0)
    assert np.abs(error) == pytest.approx(np.full(error.shape, 1.7), abs=0.1)
    assert 0.2 < _share(error > 0.0) < 0.8
    assert np.abs(np.nanmedian(r["ego_mps2"], axis=0)) == pytest.approx(np.full(ENVS, 1.7), abs=0.3)


def test_a_reboot_is_a_silence_and_a_clock_that_starts_at_nought(drive):
    """The peer is not forgotten: its age grows, and its first word after that is taken."""
    r = drive("radio", {"reboot": {"mean_interval_s": 4.0, "silent_s": 1.5}})
    assert np.nanmax(r["age_s"]) > 1.4
    back = np.diff(r["timestamp_ms"], axis=0) < 0.0
    assert back.sum() >= 5
    first_ms = r["timestamp_ms"][1:][back]
    assert first_ms.max() <= 1_700.0  # as old as the silence is long
    assert (r["age_s"][1:][back] <= 0.1).all()


def test_a_frozen_sender_says_old_things_under_new_timestamps(drive):
    """No age tells it: position and acceleration stand still, the timestamp does not."""
    r = drive("radio", {"frozen_sender": OFTEN})
    stands = np.diff(r["said_m"], axis=0) == 0.0
    moves_on = np.diff(r["timestamp_ms"], axis=0) > 0.0
    assert _share(stands & moves_on) > 0.1
    assert np.nanmax(r["age_s"]) <= 0.1


def test_a_clock_jump_shifts_timestamps_and_no_more(drive):
    """Within its largest size; what is said of the road stays true."""
    r = drive("radio", {"clock_jump": {"mean_interval_s": 4.0, "largest_ms": 900.0}})
    shift_ms = np.diff(r["timestamp_ms"] - r["generated_ms"], axis=0)
    jumps = np.abs(shift_ms) > 50.0
    assert jumps.sum() >= 5
    assert np.nanmax(np.abs(r["said_m"] - r["true_m"])[r["age_s"] <= 0.1]) < 4.0


def test_a_spoofed_brake_is_seen_and_does_not_take_place(drive):
    """The observation shows −8 m/s² of a car that does not brake."""
    r = drive("radio", {"spoofed_brake": OFTEN | {"accel_mps2": -8.0}})
    lies = r["said_mps2"] == -8.0
    assert 0.1 < _share(lies) < 0.6
    assert np.nanmin(r["true_mps2"]) > -4.0
    assert (np.abs(r["seen_mps2"] + 8.0) < 0.01).any()
