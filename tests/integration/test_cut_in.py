"""The cut-in suite on real SUMO: what drives, what is heard of it, and the planted truths."""

import numpy as np
import pytest

from ml.envs.config import EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.episodes.scripted import CutIn, ManoeuvreCase, ManoeuvreSupply, hold
from ml.errors import ScenarioError
from ml.espnow_emulator import PayloadField
from ml.evaluation.drivers import make_driver
from ml.evaluation.episodes import run_suite
from ml.evaluation.suites.registry import make_suite
from ml.sumo.scenarios import load_scenario

pytestmark = pytest.mark.sumo

WIDTH_M, LANE_M, LENGTH_M = 1.9, 3.5, 4.5
SUITE = make_suite("cut-in")
CUTS_IN = [c for c in range(SUITE.num_cases) if SUITE.labels(c)["cuts_in"] == "yes"]


def test_the_suite_is_what_it_says():
    """132 cut-ins, and nine cars that stay; speeds, gaps and lateral speeds as SUMO drove them."""
    assert (len(CUTS_IN), SUITE.num_cases) == (132, 141)
    cases = CUTS_IN[::9]
    seen = {name: [] for name in ("pos", "speed", "aside", "lead", "gap")}

    def watch(batch):
        truth = batch.truth
        seen["pos"].append(truth.route_pos_m.copy())
        seen["speed"].append(truth.speed_mps.copy())
        seen["aside"].append(truth.lateral_m[:, 1].copy())
        seen["lead"].append(truth.lead_slot.copy())
        seen["gap"].append(truth.gap_m.copy())

    brake = make_driver("do-nothing")
    rows = run_suite(brake, SUITE, radio="clean", cases=cases, num_envs=len(cases), on_tick=watch)
    film = {name: np.array(values) for name, values in seen.items()}
    for k, case in enumerate(cases):
        label = SUITE.labels(case)
        ego = label["speed_kmh"] / 3.6
        other = ego - label["slower_kmh"] / 3.6
        assert film["speed"][:, k, 1] == pytest.approx(other, abs=1e-6)
        before = film["pos"][9, k, 1] - film["pos"][9, k, 0] - LENGTH_M
        assert before == pytest.approx(label["gap_m"], abs=1e-3)
        drift = -np.diff(film["aside"][:, k]) / 0.1
        assert drift.max() == pytest.approx(label["lateral_mps"])
        assert film["aside"][[9, -1], k] == pytest.approx([LANE_M, 0.0])
        inside = film["aside"][:, k] < WIDTH_M
        assert np.array_equal(film["lead"][:, k] == 1, inside)
        enters = int(np.flatnonzero(inside)[0])
        assert film["gap"][enters - 1, k] > film["gap"][enters, k] > 0.0
        assert rows[k].crash


@pytest.mark.parametrize("radio", ["clean", "shadowed"])
def test_planted_truths(radio):
    """Who does nothing crashes in every avoidable one, the oracle and the brake in none."""
    rows = {
        name: run_suite(make_driver(name), SUITE, radio=radio)
        for name in ("do-nothing", "oracle", "always-brake")
    }
    for name, found in rows.items():
        assert not any(row.invalid for row in found), name
        assert not any(row.crash for row in found if row.kind == "free"), name
    avoidable = [row.avoidable for row in rows["oracle"] if row.kind == "hazard"]
    assert avoidable == [row.avoidable for row in rows["do-nothing"] if row.kind == "hazard"]
    assert sum(avoidable) > (120 if radio == "clean" else 60)
    if radio == "shadowed":
        assert sum(avoidable) < 132
    crashes = {
        name: [row.crash for row in found if row.kind == "hazard" and row.avoidable]
        for name, found in rows.items()
    }
    assert np.mean(crashes["do-nothing"]) > 0.95
    assert not any(crashes["oracle"])
    assert not any(row.crash for row in rows["always-brake"])
    calm = {n: [r for r in found if r.kind == "free"] for n, found in rows.items()}
    assert sum(row.false_brakes for row in calm["oracle"]) == 0
    assert sum(row.false_brakes for row in calm["always-brake"]) == len(calm["always-brake"])


def test_the_radio_tells_where_a_car_is_across_the_road():
    """Heard from the other lane too: y and heading of the message are those of the car aside."""
    cases = CUTS_IN[::40]
    checked = []

    def watch(batch):
        table, truth = batch.peer_table, batch.truth
        for e in np.flatnonzero(table.heard[:, 0, 0]):
            aside = truth.lateral_m[e, 1]
            sent, age_s = table.payload[e, 0, 0], batch.age_est_ms[e, 0, 0] / 1000.0
            y_m = sent[PayloadField.Y_M]
            # The convoy's lane is the right one: its centre line lies at -1.75 m.
            drift = batch.plan.cut_in_mps[e]
            assert y_m == pytest.approx(aside - 0.5 * LANE_M, abs=drift * (age_s + 0.1) + 1e-6)
            turned = sent[PayloadField.HEADING_DEG] - 90.0
            full = np.degrees(np.arctan2(drift, truth.speed_mps[e, 1]))
            checked.append((aside, turned / full))

    run_suite(
        make_driver("do-nothing"), SUITE, radio="ideal", cases=cases, num_envs=4, on_tick=watch
    )
    aside, turned = np.array(checked).T
    assert (aside == LANE_M).sum() > 20
    assert turned[aside == 0.0][-1] == pytest.approx(0.0, abs=1e-6)
    assert turned[(aside > 0.5) & (aside < 3.0)] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("scenario", "slot"), [("highway", 1), ("two-lanes", 2)])
def test_a_cut_in_that_cannot_be_is_refused(scenario, slot):
    """On a road of one lane, or with nobody in front."""
    case = ManoeuvreCase(
        kind="hazard",
        gaps_m=(20.0, 30.0),
        speed_mps=(20.0, 15.0, 20.0),
        script_mps={1: hold(15.0, 10)},
        brake_rank=1,
        onset_tick=1,
        release_tick=5,
        cut_in=CutIn(slot=slot, tick=1, lateral_mps=1.0),
    )
    config = EnvConfig(scenario=scenario, num_peers=(2, 2), episode_s=10.0)
    with pytest.raises(ScenarioError, match="cuts in; that takes a road"):
        ManoeuvreSupply([case], config, load_scenario(scenario).road)


def test_over_traci_it_is_the_same_bits():
    """A cut-in on both backends, the ego driven by a controller of the radio."""
    paths = []
    for backend in ("libsumo", "traci"):
        config = SUITE.config.model_copy(update={"backend": backend, "radio": "bursty"})
        batch = ConvoyBatch(config, num_envs=4, seed=5, supply=SUITE.supply)
        try:
            batch.reset(cases=np.array(CUTS_IN[5:100:25]))
            for _ in range(120):
                batch.step(np.full(4, -0.8))
            paths.append((batch.truth.route_pos_m.tobytes(), batch.peer_table.payload.tobytes()))
        finally:
            batch.close()
    assert paths[0] == paths[1]
