"""The reference ego on real SUMO: it holds, is told by radio alone, brakes, and closes up."""

import numpy as np
import pytest

from ml.envs import EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.envs.episodes.drawn import HAZARD
from ml.envs.truth.reference_driver import ReferenceDriver
from ml.errors import ScenarioError
from ml.evaluation.suites.registry import make_suite
from ml.vehicle import CALM_STANDSTILL_M

pytestmark = pytest.mark.sumo

NUM_ENVS = 64


def drive(kind, radio, **config):
    """Follow the reference drivers for one episode each, behind an ego that always brakes."""
    settings = EnvConfig(radio=radio, radio_position="reference", **config)
    env = ConvoyVecEnv(NUM_ENVS, settings, seed=23, forced_kind=kind)
    names = ("route_pos_m", "speed_mps", "accel_mps2", "gap_m", "collided", "informed")
    record = {name: [] for name in (*names, "informed_us", "informed_tick", "lead_mps", "shows")}
    try:
        env.reset()
        batch = env.batch
        plan = (batch.plan.onset_tick.copy(), batch.plan.release_tick.copy())
        alive = np.ones(NUM_ENVS, dtype=bool)
        for _ in range(batch.episode_ticks - 1):
            _, _, done, _ = env.step(np.full((NUM_ENVS, 1), -1.0, dtype=np.float32))
            alive &= ~done
            reference, table = batch.reference, batch.peer_table
            for name in (*names, "informed_us", "informed_tick"):
                record[name].append(np.where(alive, getattr(reference, name), 0))
            record["lead_mps"].append(batch.truth.speed_mps[:, 1].copy())
            after = table.t_generated_us[:, 0] > plan[0][:, None] * 100_000
            slow = table.payload[:, 0, :, 2] <= 0.7 * reference.speed_mps[:, None]
            braking = table.payload[:, 0, :, 4] <= -2.0
            shown = table.heard[:, 0] & after & (slow | braking)
            record["shows"].append(np.where(alive, shown.any(axis=1), 0))
        assert alive.sum() >= 0.3 * NUM_ENVS
    finally:
        env.close()
    return {name: np.array(values) for name, values in record.items()}, *plan


@pytest.mark.parametrize("radio", ["ideal", "bursty"])
def test_it_holds_its_speed_until_a_message_shows_the_danger_and_then_brakes(radio):
    """From 0.2 s after the arrival, in steps of 1.265 m/s² per tick down to 8 m/s²."""
    seen, onset, release = drive("hazard", radio)
    checked = 0
    for e in range(NUM_ENVS):
        told = np.flatnonzero(seen["informed"][:, e])
        if not told.size or seen["collided"][:, e].any():
            continue
        tick = told[0] + 1
        assert tick == seen["informed_tick"][told[0], e]
        assert seen["informed_us"][told[0], e] <= tick * 100_000
        assert tick > onset[e]
        assert np.flatnonzero(seen["shows"][:, e])[0] == told[0]
        begin = int(np.ceil((seen["informed_us"][told[0], e] + 200_000) / 100_000))
        if begin + 8 > release[e] or begin + 8 >= seen["accel_mps2"].shape[0]:
            continue
        # Row k is the tick that led from k to k + 1. What was built up before the onset fades.
        held = seen["accel_mps2"][onset[e] + 2 : begin, e]
        assert not held.any()
        braking = seen["accel_mps2"][begin : begin + 7, e]
        moving = seen["speed_mps"][begin : begin + 7, e] > 0.0
        expected = np.maximum(-1.265 * np.arange(1, 8), -8.0)
        assert braking[moving] == pytest.approx(expected[moving])
        checked += 1
    assert checked > 20


def test_without_a_message_it_never_brakes_and_crashes():
    """A radio that loses nearly everything: who hears nothing in time holds on and is hit."""
    seen, onset, release = drive("hazard", "shadowed")
    untold = 0
    for e in np.flatnonzero(seen["collided"].any(axis=0)):
        hit = np.flatnonzero(seen["collided"][:, e])[0]
        told = np.flatnonzero(seen["informed"][:, e])
        if told.size and told[0] <= hit:
            continue
        untold += 1
        assert not seen["accel_mps2"][onset[e] + 2 : min(hit, release[e]), e].any()
        # Afterwards it stays behind the bumper.
        assert (seen["gap_m"][hit:, e] >= 0.0).all()
        assert seen["collided"][hit:, e].sum() == (seen["route_pos_m"][hit:, e] > 0.0).sum()
    assert untold >= 2


def test_told_at_once_it_never_crashes():
    """On an ideal radio every hazard is avoidable at 1.5 s."""
    seen, _, _ = drive("hazard", "ideal")
    assert not seen["collided"].any()
    assert seen["informed"].any(axis=0).sum() > 0.8 * NUM_ENVS


def test_after_its_stop_it_closes_up_to_its_standstill_gap():
    """Told of a standing queue, it stops 30 to 60 m off and drives up to 5 m of it, no nearer.

    The queue stands until the end: there is no release to wait for.
    """
    suite = make_suite("queue")
    config = suite.config.model_copy(update={"radio": "ideal", "radio_position": "reference"})
    batch = ConvoyBatch(config, num_envs=suite.num_cases, supply=suite.supply, observing=False)
    stopped_m = np.full(suite.num_cases, np.nan)
    nearest_m = np.full(suite.num_cases, np.inf)
    try:
        batch.reset()
        reference = batch.reference
        while not batch.status.any():
            batch.step(np.zeros(suite.num_cases))
            stops = np.isnan(stopped_m) & (reference.speed_mps == 0.0)
            stopped_m[stops] = reference.gap_m[stops]
            np.minimum(nearest_m, reference.gap_m, out=nearest_m)
        near = stopped_m < 60.0
        assert near.sum() >= 30
        assert stopped_m.min() > 25.0
        assert reference.gap_m[near] == pytest.approx(CALM_STANDSTILL_M, abs=0.6)
        assert nearest_m.min() >= CALM_STANDSTILL_M
    finally:
        batch.close()


def test_closing_up_changes_neither_who_is_told_nor_who_crashes():
    """Beside one that is held where it stopped until the release: told and hit in the same tick."""
    settings = EnvConfig(radio="shadowed", radio_position="reference", stop_at_collision=False)
    batch = ConvoyBatch(settings, num_envs=NUM_ENVS, seed=23, observing=False)
    held = ReferenceDriver(NUM_ENVS)
    stopped_m, closed_up_m = np.full(NUM_ENVS, np.nan), np.zeros(NUM_ENVS)
    try:
        batch.reset(kind="hazard")
        moving, before = batch.reference, batch.truth
        held.reset(np.arange(NUM_ENVS), before)
        while not batch.status.any():
            batch.step(np.zeros(NUM_ENVS))
            held.advance(batch.plan, batch.tick, before, batch.truth)
            held.listen(batch.plan, batch.tick, batch.peer_table)
            before = batch.truth
            stops = np.isnan(stopped_m) & held.informed & (held.speed_mps == 0.0)
            stopped_m[stops] = held.route_pos_m[stops]
            stays = ~np.isnan(stopped_m) & (batch.tick < batch.plan.release_tick)
            held.route_pos_m[stays] = stopped_m[stays]
            held.speed_mps[stays] = held.accel_mps2[stays] = 0.0
            closed_up_m = np.maximum(closed_up_m, moving.route_pos_m - held.route_pos_m)
            assert (moving.collided == held.collided).all()
        assert (closed_up_m > 20.0).sum() >= 10
        assert moving.collided.any()
        assert (moving.informed_tick == held.informed_tick).all()
        assert (moving.informed_us == held.informed_us).all()
    finally:
        batch.close()


@pytest.mark.parametrize("kind", ["benign", "free"])
def test_where_nothing_happens_it_follows_on_truth(kind):
    """Neither told nor touching, whatever the radio loses, and it keeps up with the traffic."""
    seen, _, _ = drive(kind, "shadowed")
    assert not seen["informed"].any()
    assert not seen["collided"].any()
    driven = seen["route_pos_m"] > 0.0
    behind = np.abs(seen["speed_mps"] - seen["lead_mps"])[driven]
    assert np.percentile(behind, 95) < 2.0
    assert seen["gap_m"][driven].min() > 4.0


def test_it_starts_at_its_time_headway_or_where_the_ego_does():
    """1.5 s of its speed behind the car in front; `own` is the ego's gap."""
    for gap, expected in ((1.5, None), ("own", "ego")):
        batch = ConvoyBatch(EnvConfig(reference_gap=gap), num_envs=16, seed=2)
        try:
            batch.reset()
            truth, reference = batch.truth, batch.reference
            gap_m = truth.gap_m if expected else 1.5 * truth.speed_mps[:, 0]
            assert reference.gap_m == pytest.approx(gap_m)
            front = truth.route_pos_m[:, 1] - 4.5
            assert front - reference.route_pos_m == pytest.approx(gap_m)
            assert (batch.plan.kind == HAZARD).any()
        finally:
            batch.close()


def test_a_reference_that_starts_before_the_road_is_refused():
    """At 5 s behind a convoy that needs the whole road it would: the error says what to change."""
    config = EnvConfig(
        reference_gap=5.0,
        radio_position="reference",
        initial_speed_mps=(33.0, 33.0),
        episode_s=300.0,
    )
    batch = ConvoyBatch(config, num_envs=32, seed=2)
    try:
        with pytest.raises(ScenarioError, match="before the road"):
            batch.reset()
    finally:
        batch.close()
