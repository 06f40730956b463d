"""Many drivers, one world: the rows are those of each driver alone, bit for bit, on real SUMO."""

import json

import numpy as np
import pytest

from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.policy_interface import PolicyInterface
from ml.envs.worlds.recorded import RecordedTraffic, is_shared
from ml.envs.worlds.replayed import replayed_world
from ml.errors import EnvironmentStateError
from ml.evaluation import together
from ml.evaluation.drivers import PolicyDriver, make_driver
from ml.evaluation.episodes import run_suite
from ml.evaluation.suites.registry import make_suite
from ml.evaluation.together import run_together

pytestmark = pytest.mark.sumo

SEED = 5


class Sensitive:
    """A model that a changed bit of any observation moves; a policy as far as its driver cares."""

    def predict(self, observation, *_memory, deterministic):
        """Answer as SB3's models do."""
        assert deterministic
        sums = [values.reshape(len(values), -1).sum(axis=1) for values in observation.values()]
        return np.tanh(0.1 * sum(sums))[:, None].astype(np.float32), None


def policies():
    """The ways in which a policy is put at the wheel."""
    layer = PolicyInterface(safety_layer=True, action_lag_s=0.3)
    return [
        PolicyDriver(Sensitive(), "policy", interface=layer),
        PolicyDriver(Sensitive(), "policy, plain", interface=PolicyInterface()),
        PolicyDriver(Sensitive(), "policy, radio off", radio_off=True, interface=layer),
    ]


def drivers():
    """All kinds of drivers; the first, whose run is recorded, crashes early in every hazard."""
    specs = ("do-nothing", "predictive:0.5", "off:cth:1.1", "truth:idm:1.1", "oracle", "sumo")
    return [*(make_driver(spec) for spec in specs), *policies(), make_driver("always-brake")]


def flat(rows):
    """What a file would hold of some rows."""
    return [json.dumps(row.flat()) for row in rows]


@pytest.mark.parametrize(
    ("spec", "radio", "cases"),
    [
        ("convoy:400", "bursty", range(20)),
        ("cut-in", "clean", range(0, 141, 7)),
        ("r157", "clean", range(3, 1121, 50)),
        pytest.param("queue", "shadowed", range(0, 90, 5), marks=pytest.mark.slow),
        pytest.param("plexe:2", "bursty", range(4), marks=pytest.mark.slow),
        pytest.param("convoy:400", "varied", range(12), marks=pytest.mark.slow),
    ],
)
def test_the_rows_are_those_of_each_driver_alone(spec, radio, cases, monkeypatch):
    """Controllers, bounds, policies with and without their layer; in parts of a small recording."""
    monkeypatch.setattr(together, "MOST_CONVOYS", 11)
    suite = make_suite(spec)
    found = run_together(drivers(), suite, radio=radio, seed=SEED, cases=cases)
    crashes = []
    for driver, rows in zip(drivers(), found, strict=True):
        alone = run_suite(driver, suite, radio=radio, seed=SEED, cases=cases)
        assert flat(rows) == flat(alone), driver.name
        crashes.append(sum(row.crash for row in rows))
    assert crashes[0] > 0
    assert crashes[-1] == 0


def test_only_what_all_drivers_share_is_recorded(monkeypatch):
    """SUMO's own driver needs its leader, and on the road each hears the radio where it is."""
    suite = make_suite("ncap:1")
    recordings = []
    record = RecordedTraffic.record
    monkeypatch.setattr(
        RecordedTraffic, "record", lambda self, batch: recordings.append(record(self, batch))
    )
    for position, specs, expected in (
        ("own", ("cth:1.1", "oracle"), False),
        ("reference", ("cth:1.1", "sumo"), False),
        ("reference", ("cth:1.1", "oracle", "sumo"), True),
    ):
        recordings.clear()
        crew = [make_driver(spec) for spec in specs]
        found = run_together(
            crew, suite, radio="bursty", seed=SEED, radio_position=position, cases=range(3)
        )
        assert bool(recordings) is expected
        for spec, rows in zip(specs, found, strict=True):
            alone = run_suite(
                make_driver(spec), suite, radio="bursty", seed=SEED, radio_position=position,
                cases=range(3),
            )  # fmt: skip
            assert flat(rows) == flat(alone)


@pytest.fixture
def recorded():
    """A batch of two cases after 20 ticks, and the recording of them."""
    suite = make_suite("ncap:1")
    config = suite.config.model_copy(update={"radio": "clean", "radio_position": "reference"})
    batch = ConvoyBatch(config, num_envs=2, seed=SEED, supply=suite.supply)
    traffic = RecordedTraffic(batch.episode_ticks, 2, batch.num_slots - 1)
    try:
        batch.reset(cases=np.array([0, 1]))
        for _ in range(20):
            tick(batch)
            traffic.record(batch)
        yield suite, batch, traffic
    finally:
        batch.close()


def tick(batch):
    """Drive on at a steady speed."""
    batch.step(np.zeros(batch.num_envs))


def play(suite, batch, traffic, cases):
    """Begin cases in a world that is played."""
    played = ConvoyBatch(
        batch.config,
        num_envs=2,
        seed=SEED,
        supply=suite.supply,
        world=replayed_world(traffic, batch.config, batch.simulator.road, num_envs=2),
    )
    played.reset(cases=np.array(cases))
    return played


def test_a_replay_ends_where_its_recording_did(recorded):
    """An episode that goes on beyond it is an error, not a road without cars."""
    played = play(*recorded, [1, 0])
    for _ in range(20):
        tick(played)
    assert played.truth.present[:, 1].all()
    with pytest.raises(EnvironmentStateError, match="recording of convoy 0 has ended"):
        tick(played)


def test_a_case_that_was_not_recorded_is_refused(recorded):
    """So is one more case than there is room for."""
    suite, batch, traffic = recorded
    with pytest.raises(EnvironmentStateError, match="was not recorded"):
        play(suite, batch, traffic, [0, 2])
    batch.reset(cases=np.array([0, 2]))
    tick(batch)
    with pytest.raises(EnvironmentStateError, match="room for 2 recorded cases"):
        traffic.record(batch)


def test_what_depends_on_the_driver_is_not_recorded(recorded, monkeypatch):
    """A batch whose radio goes by the ego's own position cannot be recorded."""
    _, batch, traffic = recorded
    own = batch.config.model_copy(update={"radio_position": "own"})
    monkeypatch.setattr(batch, "config", own)
    assert not is_shared(own)
    with pytest.raises(EnvironmentStateError, match="radio_position"):
        traffic.record(batch)


def test_a_played_world_needs_no_sumo(recorded):
    """It goes on when that of the recording has ended."""
    suite, batch, traffic = recorded
    batch.close()
    played = play(suite, batch, traffic, [0, 1])
    for _ in range(20):
        tick(played)
    assert played.truth.present[:, 1].all()
