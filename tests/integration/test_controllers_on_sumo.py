"""Planted truths about controllers, on real SUMO: an evaluation that could not fail proves nothing.

All drive the same cases of the convoy suite, and meet the same fates of every packet.
"""

import numpy as np
import pytest
from support.delayed import Delayed

from ml.controllers.car_following import Threshold
from ml.controllers.registry import CONTROLLER_NAMES
from ml.envs.convoy_batch import ConvoyBatch
from ml.evaluation.drivers import ControllerDriver, make_driver
from ml.evaluation.episodes import CaseRunner, run_suite
from ml.evaluation.suites.registry import make_suite
from ml.onboard.observation.spec import EGO_INDEX, EGO_LIMITS

pytestmark = pytest.mark.sumo

SUITE = make_suite("convoy:400")
CASES = range(120)
FED_BY_RADIO = [
    name for name in CONTROLLER_NAMES if name not in {"do-nothing", "always-brake", "oracle"}
]


@pytest.fixture(scope="module")
def drive():
    """Run a driver through the cases, or some of them, each driver once."""
    known = {}

    def run(spec, cases=CASES):
        if (spec, cases) not in known:
            rows = run_suite(make_driver(spec), SUITE, radio="clean", cases=cases)
            known[spec, cases] = [row for row in rows if not row.invalid]
        return known[spec, cases]

    return run


def hazards(rows):
    """Episodes with a hazard in which the reference ego does not crash."""
    return [row for row in rows if row.kind == "hazard" and row.avoidable]


def test_doing_nothing_crashes_in_nearly_every_avoidable_hazard(drive):
    """Else the hazards are none, or somebody brakes for the ego."""
    rows = hazards(drive("do-nothing"))
    assert len(rows) > 60
    assert np.mean([row.crash for row in rows]) > 0.95


def test_always_braking_never_crashes(drive):
    """Nor does it get anywhere."""
    rows = drive("always-brake")
    assert not any(row.crash for row in rows)
    assert np.median([row.progress for row in rows]) < 0.2


def test_the_oracle_never_crashes(drive):
    """On any radio, since it uses none."""
    assert not any(row.crash for row in drive("oracle"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FED_BY_RADIO)
def test_radio_off_is_worse_than_radio_on(drive, name):
    """A controller that does no better with its radio does not use it."""
    cases = tuple(row.case for row in hazards(drive("do-nothing"))[:24])
    on, off = drive(name, cases), drive(f"off:{name}", cases)
    assert sum(row.crash for row in on) < 0.9 * sum(row.crash for row in off)


def test_a_controller_that_is_one_tick_late_reacts_one_tick_later():
    """Same cases, same packets: the reaction is 0.1 s later on average."""
    reactions = []
    for law in (Threshold(1.5), Delayed(Threshold(1.5), 1)):
        rows = run_suite(ControllerDriver(law), SUITE, radio="ideal", cases=CASES)
        reactions.append(
            {row.case: row.reaction_after_onset_s for row in rows if row.kind == "hazard"}
        )
    prompt, late = (np.array([r[case] for case in sorted(reactions[0])]) for r in reactions)
    both = np.isfinite(prompt) & np.isfinite(late)
    assert both.sum() > 40
    assert np.median((late - prompt)[both]) == pytest.approx(0.1, abs=0.01)
    assert 0.05 < np.mean((late - prompt)[both]) < 0.2


def deliveries(spec, position, radio="bursty"):
    """What a controller's board held at every tick of 16 episodes, up to their ends."""
    config = SUITE.config.model_copy(update={"radio": radio, "radio_position": position})
    held = []

    def note(batch):
        table = batch.peer_table
        arrays = (table.heard, table.sequence, table.received_us, table.payload)
        held.append([np.where(batch.tick > len(held), 1, 0), *(array.copy() for array in arrays)])

    runner = CaseRunner(make_driver(spec), SUITE, config, seed=5, num_envs=16)
    try:
        rows = runner.run(range(16), on_tick=note)
    finally:
        runner.close()
    first = min(round(row.duration_s / 0.1) for row in rows)
    return held[: first - 1], rows


def same(one, other):
    """Whether two records agree bit for bit as far as both reach."""
    return all(
        np.array_equal(a, b)
        for at, beside in zip(one, other, strict=False)
        for a, b in zip(at, beside, strict=True)
    )


def test_the_fates_of_packets_belong_to_the_case_and_not_to_the_controller():
    """Along the reference ego's path two controllers hold the same; on their own, not."""
    braking, rows = deliveries("always-brake", "reference")
    following, others = deliveries("cth:1.1", "reference")
    assert len(braking) > 150
    assert same(braking, following)
    assert [row.avoidable for row in rows] == [row.avoidable for row in others]
    assert [row.message_delay_s for row in rows if row.informed] == [
        row.message_delay_s for row in others if row.informed
    ]
    assert not same(deliveries("always-brake", "own")[0], deliveries("cth:1.1", "own")[0])


def test_with_its_radio_off_a_board_observes_its_own_sensors_alone():
    """At the first tick, when nothing has arrived, that is what any board does; later it is not."""
    seen = {}
    for receives in (True, False):
        config = SUITE.config.model_copy(update={"ego_receives": receives})
        batch = ConvoyBatch(config, num_envs=64, seed=5, supply=SUITE.supply)
        try:
            first = batch.reset()
            for _ in range(20):
                later = batch.step(np.zeros(64)).observation
            assert batch.peer_table.heard.any(), "the radio goes on, for who measures it"
        finally:
            batch.close()
        seen[receives] = first, later
    (first, heard), (alone, off) = seen[True], seen[False]
    assert all(np.array_equal(first[name], alone[name]) for name in first)
    at = EGO_INDEX["peers_heard"]
    assert (heard["ego"][:, at] > 0).all()
    assert not off["ego"][:, at].any()
    assert not off["peers"].any()
    assert not off["peer_mask"].any()
    silence = EGO_INDEX["silence"]
    assert (off["ego"][:, silence] * EGO_LIMITS[0, silence] == 10.0).all()
    own = [EGO_INDEX[name] for name in ("speed", "accel", "last_command", "position_sd")]
    assert np.array_equal(off["ego"][:, own], heard["ego"][:, own])


def test_the_platoon_law_of_path_needs_a_platoon_that_obeys_it(drive):
    """On truth it crashes in no hazard of an only peer, and in nearly all of one not the leader."""
    rows = hazards(drive("truth:path-cacc:0.5"))
    alone = [row.crash for row in rows if row.num_peers == 1]
    followed = [row.crash for row in rows if row.brake_rank < row.num_peers]
    assert len(alone) >= 5
    assert not any(alone)
    assert len(followed) >= 30
    assert np.mean(followed) > 0.9
