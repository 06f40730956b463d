"""A drive that was recorded live is decided again as it was, to the last bit, on real SUMO."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from ml.calibration.logs.link import Drive
from ml.envs.config import EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.policy_interface import PolicyInterface
from ml.espnow_emulator import GeoReference
from ml.evaluation.drive.decide import decide
from ml.evaluation.drive.read import Receptions, RecordedDrive
from ml.evaluation.drivers import PolicyDriver, make_driver
from ml.onboard.views import Measurement
from ml.parameters import load_parameters

pytestmark = pytest.mark.sumo

TICKS = 400


class Sensitive:
    """A model that a changed bit of any observation moves."""

    def predict(self, observation, *_memory, deterministic):
        """Answer as SB3's models do."""
        assert deterministic
        sums = [values.reshape(len(values), -1).sum(axis=1) for values in observation.values()]
        return np.tanh(0.1 * sum(sums))[:, None].astype(np.float32), None


class Recorder:
    """What the ego's board meets, tick by tick."""

    def __init__(self):
        self.own, self.driven, self.messages = [], [], []
        self._last = None

    def take(self, batch):
        """Take a tick."""
        measured, table = batch.stack.measured, batch.peer_table
        self.own.append([getattr(measured, name)[0, 0] for name in Measurement.__slots__])
        self.driven.append(batch.commanded_accel_mps2[0])
        sequence = np.where(table.heard[0, 0], table.sequence[0, 0], -1)
        last = np.full(sequence.size, -1) if self._last is None else self._last
        new = np.flatnonzero(sequence != last)
        for s in new[np.argsort(table.received_us[0, 0, new])].tolist():
            numbers = (table.received_us, table.timestamp_ms, table.t_generated_us, table.hops)
            self.messages.append(
                (s, *(int(n[0, 0, s]) for n in numbers), table.payload[0, 0, s].copy())
            )
        self._last = sequence

    def drive(self):
        """The drive, as logs of it would be read."""
        source, received, stamps, generated, hops, payload = zip(*self.messages, strict=True)
        own = Measurement(*np.array(self.own).T)
        every = [
            np.array(values, dtype=np.int64)
            for values in (received, source, stamps, generated, hops)
        ]
        return RecordedDrive(
            ego="a",
            peers=("b", "c"),
            start_ms=0.0,
            own=own,
            driven_mps2=np.array(self.driven),
            known=np.ones(len(self.own), dtype=bool),
            receptions=Receptions(*every, np.array(payload)),
            accel_mps2={"a": own.accel_mps2},
            sent_us={},
            clocks={},
            plane=GeoReference.at(0.0, 0.0),
            drive=Drive([]),
        )


@pytest.mark.parametrize("layer", [True, False])
def test_drivers_decide_on_a_recorded_drive_what_they_decided_live(layer, tmp_path):
    """Policies with and without their layer and controllers, on a radio that loses frames.

    The board of an environment and that of a recording are one; what differs is who fills them.
    Clocks do not drift here: a recording is in the ego's own time.
    """
    parameters = load_parameters("bursty")
    radio = parameters.radio
    still = radio.model_copy(
        update={
            "clock": radio.clock.model_copy(update={"drift_sd_ppm": 0.0}),
            "relay": radio.relay.model_copy(update={"max_hops": 0}),
        }
    )
    file = tmp_path / "still.json"
    file.write_text(parameters.model_copy(update={"radio": still}).model_dump_json())
    share = EnvConfig().position_common_share
    interface = PolicyInterface(safety_layer=layer, time_gap_s=0.8, position_common_share=share)
    policy = PolicyDriver(Sensitive(), "policy", interface=interface)
    law = make_driver("predictive:0.5")
    config = EnvConfig(radio=str(file), num_peers=(2, 2), stop_at_collision=False)
    config = config.model_copy(update=dict(policy.config_changes))
    recorder, wishes, lawful = Recorder(), [], []
    batch = ConvoyBatch(config, num_envs=1, seed=4)
    with closing(batch):
        observation = batch.reset(kind="hazard")
        for _ in range(TICKS):
            recorder.take(batch)
            wish = policy.accel(batch, observation)
            held = batch.board.bounds().hold(wish) if layer else wish
            wishes.append(held[0])
            lawful.append(law.accel(batch, observation)[0])
            observation = batch.step(wish).observation
    drive = recorder.drive()
    again = [policy, make_driver("predictive:0.5")]
    decided, _ = decide(drive, again, load_parameters(str(file)))
    assert decided[0].tolist() == wishes
    assert len(set(wishes)) > TICKS // 2
    assert decided[1].tolist() == lawful
    assert drive.receptions.hops.size < 2 * TICKS - 100
