"""The bench: what is run, how rounds are paired, and what the report makes of it."""

from __future__ import annotations

import json

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from ml.bench.bench import _interleave, bench
from ml.bench.radio_alone import RadioAlone, radios_alone
from ml.bench.report import BenchReport, Goal, Measured, ratio
from ml.bench.workloads import preset_config
from ml.errors import EmulatorError, ParameterError
from ml.parameters import load_parameters

CONVOYS, NODES = 3, 6


def _text(report: BenchReport) -> str:
    console = Console(width=160, record=True)
    for table in report.tables():
        console.print(table)
    return console.export_text()


def test_the_radio_alone_sends_every_tick_and_relays_where_it_says_so():
    """Without relays nothing comes second-hand; with them the car five ahead mostly does."""
    off, on = radios_alone(load_parameters("clean").radio, CONVOYS, NODES)
    assert (off.name, on.name) == ("relays off", "relays over up to 3 hops")
    for radio in (off, on):
        radio.prepare()
        radio.channel.drain_counters()
        steps = radio.run()
        counted = radio.channel.drain_counters()
        ticks = steps // CONVOYS
        table = radio.channel.table
        assert table.heard[:, 0, 0].all()
        assert table.sequence.max() >= ticks  # the nearest cars are heard to the end
        hops = table.hops[table.heard]
        beacons_only = NODES * 1.256e-3 / 0.1  # share of the air that own frames take
        if radio is off:
            assert not hops.any()
            assert counted["radio/airtime_share"] == pytest.approx(beacons_only, rel=0.02)
        else:
            assert hops.any()
            assert counted["radio/airtime_share"] > 2.0 * beacons_only


def test_each_round_of_the_radio_meets_other_losses():
    """Rounds are not one and the same episode, so that no lucky one is measured over and over."""
    radio = RadioAlone(load_parameters("clean").radio, CONVOYS, NODES)
    received = []
    for _ in range(2):
        radio.prepare()
        radio.run()
        received.append(radio.channel.table.received_us.copy())
    assert not np.array_equal(*received)


def test_a_radio_without_relays_is_measured_once():
    """The preset `ideal` relays nothing."""
    assert [r.name for r in radios_alone(load_parameters("ideal").radio, 1, 2)] == ["relays off"]


def test_a_convoy_of_too_many_is_refused():
    """The radio's own limit speaks."""
    with pytest.raises(EmulatorError, match="num_nodes is 33"):
        radios_alone(load_parameters("clean").radio, 1, 33)


def test_everything_on_is_what_the_preset_trains_with():
    """Domain randomisation, relays, one to eight peers; a convoy's rollout is the preset's."""
    config = preset_config(64, "clean")
    assert config.preset == "ppo"
    assert config.env.domain_randomisation
    assert config.env.num_peers == (1, 8)
    assert (config.steps_per_env, config.ppo.batch_size) == (128, 1024)
    assert load_parameters(config.env.radio).radio.relay.max_hops == 3
    small = preset_config(3, "bursty")
    assert (small.num_envs, small.env.radio) == (3, "bursty")
    assert (small.steps_per_env, small.ppo.batch_size) == (128, 3 * 128)


class _Counted:
    """A workload that notes when it runs."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name, self._diary = name, diary

    def prepare(self) -> None:
        self._diary.append(f"prepare {self.name}")

    def run(self) -> int:
        self._diary.append(self.name)
        return 10


def test_workloads_run_in_turn_and_the_first_round_does_not_count():
    """A, b, a, b, ...: so that a machine that slows down slows both."""
    diary: list[str] = []
    parts: list[str] = []
    rounds: list[int] = []
    runs = _interleave(
        [_Counted("a", diary), _Counted("b", diary)],
        2,
        parts.append,
        lambda rates: rounds.append(len(rates)),
    )
    assert diary == ["prepare a", "a", "prepare b", "b"] * 3
    assert [run.name for run in runs] == ["a", "b"]
    assert all(len(run.values) == 2 and min(run.values) > 0 for run in runs)
    assert rounds == [2, 2]
    assert parts[0] == "warming up, a"
    assert parts[-1] == "round 2 of 2, b"


def test_ratios_are_paired_round_by_round():
    """A machine that halves its speed between two rounds does not change the ratio."""
    paired = ratio("g / h", [10.0, 5.0, 12.0], [20.0, 10.0, 16.0], 0.5)
    assert paired.values == [0.5, 0.5, 0.75]
    assert paired.row() == ("g / h", "0.50", "0.50–0.75", "≥ 0.5", "ok")
    assert not ratio("g / h", [4.9], [10.0], 0.5).reached


def test_the_radios_cost_is_held_to_its_goal():
    """The median of the rounds decides, and the goal itself is allowed."""
    assert Goal("relays off", [9.0, 10.0, 30.0], 10.0, at_most=True).reached
    assert not Goal("relays off", [9.0, 10.1, 30.0], 10.0, at_most=True).reached


def test_the_report_shows_what_was_measured_and_nothing_else(tmp_path):
    """Tables, file and picture of a report with the radio alone, and of a full one."""
    costs = [
        Goal("relays off", [4.0, 5.0], 10.0, at_most=True),
        Goal("relays", [26.0], 25.0, at_most=True),
    ]
    radio = BenchReport(num_envs=64, num_peers=5, radio="clean", radio_costs=costs)
    text = _text(radio)
    assert "64 convoys of 6 nodes, radio clean" in " ".join(text.split())
    assert [line.split("│")[1:6] for line in text.splitlines() if line.startswith("│ relays")] == [
        [" relays off           ", "   4.50 ", "   4.00–5.00 ", " ≤ 10 ", "     ok "],
        [" relays               ", "  26.00 ", " 26.00–26.00 ", " ≤ 25 ", " missed "],
    ]
    assert "steps per second" not in text
    assert "ratio" not in text
    said = json.loads(json.dumps(radio.as_json()))
    assert [(c["median_us"], c["reached"]) for c in said["radio_costs"]] == [
        (4.5, True),
        (26.0, False),
    ]
    assert said["workloads"] == said["ratios"] == said["cost_us"] == []
    radio.draw(tmp_path / "radio.png")

    full = BenchReport(num_envs=64, num_peers=5, radio="clean", radio_costs=costs)
    full.workloads.append(Measured("g: training", [100.0, 200.0]))
    full.ratios.append(ratio("g / h: training with everything on", [1.0], [3.0], 0.5))
    full.cost_us.update({(1, 2): 90.0, (64, 2): 8.0})
    full.workers.update({1: (100.0, 50.0), 2: (190.0, 90.0)})
    assert all(word in _text(full) for word in ("g: training", "missed", "relays off", "2 peers"))
    full.draw(tmp_path / "full.png")
    widths = [matplotlib.image.imread(tmp_path / f"{n}.png").shape[1] for n in ("radio", "full")]
    assert widths[1] == pytest.approx(4 * widths[0], abs=4)


def test_the_radio_can_be_measured_by_itself():
    """In a moment, without SUMO; an unknown radio is named."""
    parts: list[str] = []
    report = BenchReport(num_envs=2, num_peers=2, radio="bursty")
    bench(report, 1, parts.append, ("radio",))
    assert [(c.name, c.wanted, len(c.values)) for c in report.radio_costs] == [
        ("relays off", 10.0, 1),
        ("relays over up to 3 hops", 12.0, 1),
    ]
    assert all(c.values[0] > 0.0 for c in report.radio_costs)
    assert report.workloads == []
    assert len(parts) == 4
    with pytest.raises(ParameterError, match="bursty"):
        bench(BenchReport(num_envs=2, num_peers=2, radio="burst"), 1, print, ("radio",))
