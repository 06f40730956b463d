"""The suites' cases are in SUMO what their sources say, measured from the cars themselves."""

import importlib
from collections import Counter

import numpy as np
import pytest

from ml.envs.config import KINDS
from ml.envs.episodes.drawn import EpisodeSource
from ml.errors import ConfigError
from ml.evaluation.drivers import make_driver
from ml.evaluation.episodes import run_suite
from ml.evaluation.suites import convoy, plexe, r157
from ml.evaluation.suites.registry import SUITE_NAMES, make_suite
from ml.keyed_random import fold
from ml.sumo.scenarios import load_scenario

pytestmark = pytest.mark.sumo

DT_S = 0.1
KMH = 1.0 / 3.6
G_MPS2 = 9.81
LEAD_IN = 10


class Film:
    """Every car of every case, tick by tick: what SUMO did, not what was planned."""

    def __init__(self, spec, cases=None, radio="clean"):
        self.suite = make_suite(spec)
        self.cases = list(range(self.suite.num_cases) if cases is None else cases)
        speeds, positions = [], []

        def watch(batch):
            if not speeds:
                self.present = batch.truth.present.copy()
                self.heading_deg = batch.stack.measured.heading_deg.copy()
            speeds.append(batch.truth.speed_mps.copy())
            positions.append(batch.truth.route_pos_m.copy())

        self.rows = run_suite(
            make_driver("do-nothing"),
            self.suite,
            radio=radio,
            cases=self.cases,
            num_envs=len(self.cases),
            on_tick=watch,
        )
        self.speed = np.array(speeds)  # (ticks, cases, slots), from the end of the first tick
        self.position = np.array(positions)

    def decel(self, case, slot):
        """Deceleration over each tick but the first."""
        return -np.diff(self.speed[:, case, slot]) / DT_S

    def gap(self, case, slot=1):
        """Bumper to bumper, of a slot to the one behind it."""
        return self.position[:, case, slot] - self.position[:, case, slot - 1] - 4.5


def test_r157_is_the_whole_grid():
    """59 speeds × 19 decelerations = 1,121 different cases."""
    suite = make_suite("r157")
    labels = [suite.labels(case) for case in range(suite.num_cases)]
    grid = {(label["speed_kmh"], label["decel_g"]) for label in labels}
    assert len(grid) == suite.num_cases == 1121
    assert (min(r157.SPEEDS_KMH), max(r157.SPEEDS_KMH)) == (12, 128)
    assert (min(r157.DECELS_G), max(r157.DECELS_G)) == (0.05, 0.95)


@pytest.mark.parametrize(("spec", "time_gap_s"), [("r157", 1.0), ("r157:2", 2.0)])
def test_r157_in_sumo(spec, time_gap_s):
    """Both cars hold their speed at the time gap; then the first brakes at the stated rate."""
    cases = [0, 18, 19 * 30 + 9, 19 * 58, 1120]
    film = Film(spec, cases)
    for k, case in enumerate(cases):
        label = film.suite.labels(case)
        speed = label["speed_kmh"] * KMH
        steady = slice(0, LEAD_IN)
        assert film.speed[steady, k, :2] == pytest.approx(speed, abs=1e-6)
        assert film.gap(k)[steady] == pytest.approx(time_gap_s * speed, abs=1e-4)
        stop = np.flatnonzero(film.speed[:, k, 1] == 0.0)
        full = slice(LEAD_IN - 1, (stop[0] if stop.size else len(film.speed)) - 1)
        assert film.decel(k, 1)[full] == pytest.approx(label["decel_g"] * G_MPS2, abs=1e-4)
        assert film.rows[k].duration_s == pytest.approx(1.0 + 35.0)


def test_ncap_in_sumo():
    """30 manoeuvres with the speeds, gaps and decelerations of the protocol."""
    film = Film("ncap:1")
    assert Counter(film.suite.labels(c)["test"] for c in film.cases) == {
        "CCRs": 9,
        "CCRm": 11,
        "CCRb 2023": 4,
        "CCRb 2026": 6,
    }
    for case in film.cases:
        label = film.suite.labels(case)
        ego, ahead = film.speed[0, case, 0], film.speed[0, case, 1]
        assert ego == pytest.approx(label["speed_kmh"] * KMH)
        gap_m = film.gap(case)[0] + (ego - ahead) * DT_S
        if label["test"] in {"CCRs", "CCRm"}:
            assert film.speed[:, case, 1] == pytest.approx(label["ahead_kmh"] * KMH, abs=1e-6)
            assert gap_m / (ego - ahead) == pytest.approx(4.0)
            continue
        final_kmh = 2.0 if label["test"] == "CCRb 2023" else 0.0
        assert film.speed[-1, case, 1] == pytest.approx(final_kmh * KMH, abs=1e-6)
        assert film.decel(case, 1).max() == pytest.approx(label["decel_mps2"], abs=1e-4)
        expected_m = label["gap_m"] if label["test"] == "CCRb 2023" else ego
        assert gap_m == pytest.approx(expected_m, abs=1e-4)
        assert film.decel(case, 1)[: LEAD_IN - 1] == pytest.approx(0.0, abs=1e-6)


def test_plexe_in_sumo():
    """8 cars at 100 km/h, or 2; the leader swings by ±10 km/h at 0.2 Hz, or brakes at 8 m/s²."""
    film = Film("plexe:1")
    assert film.present.sum(axis=1).tolist() == [plexe.CARS, 2, plexe.CARS]
    assert film.speed[0][film.present] == pytest.approx(100.0 * KMH, abs=0.2)
    for case, slot in ((0, 7), (1, 1)):
        leader = film.speed[50:, case, slot]
        assert leader.max() == pytest.approx(110.0 * KMH, abs=0.01)
        assert leader.min() == pytest.approx(90.0 * KMH, abs=0.01)
        spectrum = np.abs(np.fft.rfft(leader - leader.mean()))
        frequency = np.fft.rfftfreq(leader.size, DT_S)[spectrum.argmax()]
        assert frequency == pytest.approx(0.2, abs=1.0 / (leader.size * DT_S))
    assert film.decel(2, 7).max() == pytest.approx(8.0, abs=1e-4)
    assert film.speed[-1, 2, 7] == 0.0
    assert not [row.status for row in film.rows if row.invalid]


def test_a_swing_reaches_the_ego_only_from_right_in_front():
    """Six drivers in between damp it to nothing, of which no gain can be told."""
    far, near, _ = Film("plexe:1").rows
    assert np.isnan(far.gain_at_fundamental)
    assert near.gain_at_fundamental == pytest.approx(0.0, abs=0.01), "it held its speed"


def test_eebl_in_sumo():
    """A car of rank 2 or more brakes as stated, before anybody between it and the ego does."""
    film = Film("eebl:1")
    for case, row in enumerate(film.rows):
        label = film.suite.labels(case)
        assert row.brake_rank >= 2
        assert row.num_peers == row.brake_rank + label["beyond"]
        decel = film.decel(case, row.brake_rank)
        assert decel.max() == pytest.approx(label["decel_mps2"], abs=1e-4)
        begins = int(np.flatnonzero(decel > 2.0)[0])
        between = [film.decel(case, slot)[begins].max() for slot in range(1, row.brake_rank)]
        assert max(between) < 2.0
        assert not row.invalid


def test_the_queue_stands_behind_a_bend():
    """The queue never moves; from 150 m before it the road turns by at least 30 degrees."""
    film = Film("queue:1")
    road = load_scenario("rural").road
    for case, row in enumerate(film.rows):
        label = film.suite.labels(case)
        standing = slice(row.brake_rank, row.num_peers + 1)
        assert label["standing"] == row.num_peers + 1 - row.brake_rank
        assert label["moving"] == row.brake_rank - 1
        assert film.speed[:, case, standing].max() == 0.0
        tail_m = film.position[0, case, row.brake_rank] - 4.5
        before_m = np.linspace(tail_m - 150.0, tail_m, 50)
        heading = np.unwrap(np.radians(road.pose(before_m)[2]))
        assert np.degrees(np.ptp(heading)) > 30.0
        assert row.crash  # nobody who holds the speed gets through
        assert not row.invalid


def test_convoy_is_balanced():
    """As many episodes of each number of peers; of each number, every rank and gap alike."""
    suite = make_suite("convoy:1000")
    film_strata = convoy.balanced(1000, suite.config)
    kinds = Counter(KINDS[k] for k in film_strata.kind)
    assert kinds == {"hazard": 600, "benign": 200, "free": 200}
    hazard = film_strata.kind == KINDS.index("hazard")
    trained = film_strata.num_peers <= 8
    assert trained.sum() == 900
    peers = Counter(film_strata.num_peers[hazard & trained].tolist())
    assert sorted(peers) == list(range(1, 9))
    assert max(peers.values()) - min(peers.values()) <= 1
    for number in range(1, 9):
        here = hazard & (film_strata.num_peers == number)
        ranks = Counter(film_strata.brake_rank[here].tolist())
        assert sorted(ranks) == list(range(1, number + 1))
        assert max(ranks.values()) - min(ranks.values()) <= 1
        for rank in ranks:
            bands = film_strata.ego_time_gap_s[here & (film_strata.brake_rank == rank), 0]
            counts = Counter(bands.tolist())
            assert len(counts) == 3
            assert max(counts.values()) - min(counts.values()) <= 1


def test_the_first_cases_of_a_longer_suite_are_the_shorter_one():
    """1,000 episodes now and 10,000 later share the first 1,000."""
    config = make_suite("convoy:10").config
    few, many = convoy.balanced(10, config), convoy.balanced(60, config)
    for name in type(few).__slots__:
        assert np.array_equal(getattr(many, name)[:10], getattr(few, name))


def test_convoy_strata_are_what_drives_in_sumo():
    """Peers, gap and rank are those of the stratum, and the hazard comes from that rank."""
    film = Film("convoy:90")
    strata = convoy.balanced(90, film.suite.config)
    kept = 0
    for case, row in enumerate(film.rows):
        assert row.kind == KINDS[strata.kind[case]]
        assert film.present[case].sum() == row.num_peers + 1 == strata.num_peers[case] + 1
        speed = film.speed[0, case, 0]
        low, high = strata.ego_time_gap_s[case]
        assert low - 0.02 <= (film.gap(case)[0] - 5.0) / speed <= high + 0.02
        if row.kind == "hazard":
            kept += row.brake_rank == strata.brake_rank[case]
            assert film.decel(case, row.brake_rank).max() > 2.9
    assert kept >= 0.95 * sum(row.kind == "hazard" for row in film.rows)


def test_given_strata_change_no_other_draw():
    """An episode with its own strata given back is the same episode, bit for bit."""
    suite = make_suite("convoy:40")
    road = load_scenario("highway").road
    keys, rows = fold(7, np.arange(40)), np.arange(40)
    source = EpisodeSource(suite.config, road)
    plan, placement = source.draw(keys, rows)
    low, high = suite.config.ego_time_gap_s
    brakes = np.maximum(plan.brake_slot, 1)
    strata = convoy.Strata(plan.kind, plan.num_peers, brakes, np.tile([low, high], (40, 1)))
    again, placed = source.draw(keys, rows, strata=strata)
    assert np.array_equal(placed.route_pos_m, placement.route_pos_m)
    for name in ("kind", "num_peers", "onset_tick", "release_tick", "brake_mps2"):
        assert np.array_equal(getattr(again, name), getattr(plan, name))
    assert np.array_equal(placed.drivers.tau_s, placement.drivers.tau_s)


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_every_suite_says_where_it_comes_from(name):
    """Its module's docstring names a source, and its specification makes it again."""
    suite = make_suite(name)
    assert suite.name == name
    assert suite.num_cases > 0
    module = importlib.import_module(f"ml.evaluation.suites.{name.replace('-', '_')}")
    assert len(module.__doc__) > 200


def test_a_suite_drives_on_another_road_where_it_says_so():
    """`@SCENARIO` changes the road alone, and SUMO's cars keep to that road's limits."""
    there, here = make_suite("convoy:20@rural"), make_suite("convoy:20")
    assert there.name == "convoy:20@rural"
    assert there.config == here.config.model_copy(update={"scenario": "rural"})
    film = Film("convoy:20@rural")
    assert film.speed[0].max() <= load_scenario("rural").road.fastest_mps
    assert np.ptp(film.heading_deg[:, 0]) > 10.0  # it winds


def test_a_suite_without_a_road_behind_its_sign_is_refused():
    """What was left out is named."""
    with pytest.raises(ConfigError, match=r"suite 'convoy@': name a road behind the @"):
        make_suite("convoy@")
