"""What logs say of relays, against the model that made them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ml.calibration.calibrate import calibrate, calibrated
from ml.calibration.fits.relays import Relay, own_relays, relay_estimates
from ml.calibration.logs.links import read_drive
from ml.calibration.logs.reader import read_log
from ml.calibration.synthetic.logs import write_logs
from ml.calibration.synthetic.recording import record
from ml.keyed_random import Stream, fold, uniform
from ml.parameters import Parameters, load_parameters

if TYPE_CHECKING:
    from pathlib import Path

    from ml.calibration.fits.estimates import Estimate
    from ml.calibration.logs.link import Drive

SHARE, SPREAD, TIME = (f"radio.relay.forward_{n}" for n in ("probability", "spread", "time_s"))
CLEAN = load_parameters("clean")
PLANTED = {"forward_probability": 0.5, "forward_time_s": 1.2}


def radio_with(**relay: float) -> Parameters:
    """The preset `clean` with other relays."""
    relays = CLEAN.radio.relay.model_copy(update=relay)
    return CLEAN.model_copy(update={"radio": CLEAN.radio.model_copy(update={"relay": relays})})


def own_share(parameters: Parameters, seed: int, car: int) -> float:
    """The share of the time in which a board of a synthetic drive sends on what it hears."""
    relay = parameters.radio.relay
    level = 2.0 * uniform(fold(fold(seed, 0, 0), Stream.RELAYING, car + 1, 1))[0] - 1.0
    mean = relay.forward_probability
    return float(mean + level * min(relay.forward_spread, mean, 1.0 - mean))


def judge(drive: Drive) -> tuple[dict[str, Relay], dict[str, Estimate]]:
    """Relays by board and estimates by name."""
    estimates: list[Estimate] = []
    relays = relay_estimates([drive], CLEAN, estimates)
    return {relay.board: relay for relay in relays}, {e.name: e for e in estimates}


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> list[Path]:
    """Logs of three cars in a row, car a last, for ten minutes."""
    parameters = radio_with(**PLANTED)
    (recording,) = record(parameters, num_cars=3, duration_s=600.0, seeds=[3])
    folder = tmp_path_factory.mktemp("three")
    return write_logs(recording, parameters, folder, seed=3)


@pytest.fixture(scope="module")
def drive(logs) -> Drive:
    """The same, read and aligned."""
    return read_drive([read_log(path) for path in logs])


def without_relayed_rows(drive: Drive) -> Drive:
    """The drive as boards log it that write down only what they send of themselves."""
    boards = []
    for board in drive.boards:
        hops = np.where(board.own, board.tx.columns["hop_count"], 0.0)
        tx = replace(board.tx, columns=board.tx.columns | {"hop_count": hops})
        boards.append(replace(board, tx=tx))
    return replace(drive, boards=boards)


def test_what_a_board_logs_of_relaying_shows_its_share_and_its_spells(drive):
    """Boards a and b hear somebody ahead: the share is each one's own, the time is everybody's."""
    relays, estimates = judge(drive)
    assert set(relays) == {"a", "b"}
    for car, name in enumerate("ab"):
        share = own_share(radio_with(**PLANTED), 3, car)
        low, high = relays[name].share_interval
        assert low - 0.01 < share < high + 0.01, name
        assert high - low < 0.12
        assert relays[name].messages > 5000
    low, high = estimates[SHARE].interval
    assert low < 0.5 < high
    assert 0.2 < high - low < 0.4, "two boards of many"
    low, high = estimates[TIME].interval
    assert low < 1.2 < high
    assert high - low < 0.25
    mine = own_relays(list(relays.values()))
    shares = [relays[name].share for name in "ab"]
    assert mine[SHARE][1] < mine[SHARE][0] < mine[SHARE][2]
    assert mine[SHARE][0] == pytest.approx(np.mean(shares))
    assert mine[SHARE][2] - mine[SHARE][1] < 0.08, "of these boards more is known"
    assert mine[SPREAD][0] == pytest.approx(np.sqrt(3.0) * abs(shares[0] - shares[1]) / 2.0)
    assert "differ" in estimates[SPREAD].why
    assert not estimates[SPREAD].is_fitted


def test_copies_that_arrived_show_the_share_where_no_board_logs_what_it_sends_on(drive):
    """Board a's RX log tells what b, between it and c, sent on; for how long it does not tell."""
    relays, estimates = judge(without_relayed_rows(drive))
    assert set(relays) == {"b"}
    low, high = relays["b"].share_interval
    assert low - 0.02 < own_share(radio_with(**PLANTED), 3, 1) < high + 0.02
    assert high - low < 0.2
    assert estimates[SHARE].is_fitted
    assert not estimates[TIME].is_fitted
    assert "only a TX log that holds what its board sent on" in estimates[TIME].why


def test_logs_without_a_relayed_row_leave_relays_as_they_were(drive):
    """The prior is kept, and the reason says what would tell."""
    silent = without_relayed_rows(drive)
    boards = [
        replace(
            board,
            rx=replace(board.rx, columns=board.rx.columns | {"hop_count": np.zeros(board.rx.rows)}),
        )
        for board in silent.boards
    ]
    relays, estimates = judge(replace(silent, boards=boards))
    assert relays == {}
    for name in (SHARE, SPREAD, TIME):
        assert not estimates[name].is_fitted
        assert "hop_count above 0" in estimates[name].why
    assert estimates[SHARE].value == CLEAN.radio.relay.forward_probability


@pytest.mark.slow
def test_a_calibrated_file_draws_relays_from_what_was_measured(logs):
    """Share and time stand in the file, with their intervals to draw from.

    Own relays differ as they do; others of their kind as the prior's.
    """
    parameters = calibrated(calibrate(logs, CLEAN, "clean"))
    relay, ranges = parameters.radio.relay, parameters.domain_randomisation
    assert ranges[SHARE][0] < relay.forward_probability < ranges[SHARE][1]
    assert ranges[TIME][0] < relay.forward_time_s < ranges[TIME][1] < 1.5
    assert parameters.ranges()[SPREAD] == (relay.forward_spread, relay.forward_spread)
    others = parameters.of_boards("at-large")
    assert others.domain_randomisation[SPREAD] == CLEAN.domain_randomisation[SPREAD]
    assert others.radio.relay.forward_spread == CLEAN.radio.relay.forward_spread


@pytest.mark.slow
def test_intervals_of_relays_hold_what_was_planted(tmp_path):
    """Twenty drives of ten minutes: of 20 intervals of 90 % fewer than 15 hold one time in 90.

    Copies tell nothing where nearly all frames come the direct way; there they are refused.
    """
    held: dict[str, list[bool]] = {}
    seeds = range(1, 21)
    parameters = radio_with(**PLANTED)
    recordings = record(parameters, num_cars=3, duration_s=600.0, seeds=seeds)
    for seed, recording in zip(seeds, recordings, strict=True):
        folder = tmp_path / str(seed)
        folder.mkdir()
        paths = write_logs(recording, parameters, folder, seed=seed)
        drive = read_drive([read_log(path) for path in paths])
        relays, estimates = judge(drive)
        copies, _ = judge(without_relayed_rows(drive))
        own = own_share(parameters, seed, 1)
        found = {
            SHARE: (0.5, estimates[SHARE].interval),
            TIME: (1.2, estimates[TIME].interval),
            "own": (own, relays["b"].share_interval),
        }
        if copies:
            found["by copies"] = own, copies["b"].share_interval
        for name, (truth, (low, high)) in found.items():
            held.setdefault(name, []).append(low <= truth <= high)
    counts = {name: (sum(each), len(each)) for name, each in held.items()}
    print(counts)  # noqa: T201
    assert all(good >= 0.7 * asked for good, asked in counts.values()), counts
    assert [asked for _, asked in counts.values()][:3] == [20, 20, 20]
    assert counts["by copies"][1] >= 10
