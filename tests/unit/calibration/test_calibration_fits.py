"""The estimators on cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml.calibration.fits.blackout import find_blackout
from ml.calibration.fits.estimates import judged
from ml.calibration.fits.latency import fit_latency
from ml.calibration.fits.link import fit_links
from ml.calibration.fits.link_frames import expected_distance_m, prepare
from ml.calibration.fits.link_likelihood import Point, Shape, log_likelihoods
from ml.calibration.fits.loss_estimates import split_levels
from ml.calibration.fits.margin import expected_loss
from ml.calibration.logs.clocks import align
from ml.calibration.logs.link import LOST, RECEIVED, Link
from ml.calibration.logs.trajectories import reference_for, trajectory
from ml.errors import LogError
from ml.espnow_emulator import MacParameters, MarginLoss
from ml.parameters import load_parameters

RNG = np.random.Generator(np.random.PCG64(5))


def link_of(lost, distance_m=20.0, travel_m=1.0, receiver="b"):
    """A link of 10 Hz with given losses."""
    size = lost.size
    time = np.arange(size) * 0.1
    return Link(
        source="a",
        receiver=receiver,
        two_way=False,
        time_s=time,
        receiver_s=time,
        outcome=np.where(lost, LOST, RECEIVED).astype(np.int8),
        distance_m=np.broadcast_to(np.asarray(distance_m, float), (size,)).copy(),
        travel_m=np.broadcast_to(np.asarray(travel_m, float), (size,)).copy(),
        between=np.zeros(size, np.int64),
        latency_ms=np.where(lost, np.nan, 1.0),
    )


def modulated_losses(margin, level_db, frames, rng, near=0.0, distance_m=20.0):
    """Losses of the margin model at 10 m/s, drawn without the emulator."""
    s = b = rng.standard_normal()
    b = rng.standard_normal()
    keep_s, keep_b = np.exp(-1.0 / margin.shadowing_distance_m), np.exp(-0.1 / margin.bias_time_s)
    path = near * 10.0 * np.log10(np.broadcast_to(distance_m, (frames,)) / 20.0)
    lost = np.zeros(frames, dtype=bool)
    for k in range(frames):
        s = keep_s * s + np.sqrt(1 - keep_s**2) * rng.standard_normal()
        b = keep_b * b + np.sqrt(1 - keep_b**2) * rng.standard_normal()
        total = level_db - path[k] + margin.shadowing_sd_db * s + margin.bias_sd_db * b
        fade = 10.0 * np.log10(rng.gamma(margin.fading_m, 1.0 / margin.fading_m))
        through = (1 - margin.floor_loss) / (1.0 + np.exp(-(total + fade)))
        lost[k] = rng.random() >= through
    return lost


@pytest.mark.parametrize(("fading_m", "transition_db"), [(3.0, 1.0), (None, 1.0), (None, 4.0)])
def test_the_first_frame_is_as_likely_as_quadrature_says(fading_m, transition_db):
    """Before anything is known of a link, its chance to lose is the expected loss.

    With fading or without, however wide the margins are over which frames begin to arrive.
    """
    margin = MarginLoss(
        antenna_sd_db=0.0, door_share=0.0, fading_m=fading_m, transition_db=transition_db
    )
    shape = Shape(5.2, 12.0, 2.5, 30.0, 0.02)
    link = link_of(np.ones(1, dtype=bool))
    frames = prepare(link, standstill_mps=0.5)
    point = Point(np.array([8.0]), 0.8, 2.0, shape)
    found = np.exp(log_likelihoods(frames, [point], margin))[0, 0]
    expected = float(expected_loss(margin.model_copy(update={"margin_20m_db": 8.0}), 20.0, 0))
    assert found == pytest.approx(expected, rel=2e-3)


def test_likelihoods_of_all_sequences_sum_to_one():
    """Over all outcomes of six frames, one way and two ways: a likelihood is a probability."""
    margin = MarginLoss()
    point = Point(np.array([5.0]), 0.8, 2.0, Shape(5.2, 12.0, 2.5, 30.0, 0.02))
    for two_way in (False, True):
        total = 0.0
        for word in range(64):
            outcome = np.array([(word >> k) & 1 for k in range(6)], dtype=np.int8)
            link = replace(link_of(outcome == 0), two_way=two_way)
            frames = prepare(link, standstill_mps=0.5)
            total += float(np.exp(log_likelihoods(frames, [point], margin).sum()))
        assert total == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("two_way", [False, True])
def test_points_side_by_side_are_as_each_alone(two_way):
    """The recursion over many points at once mixes none of them, over gaps in time, too."""
    rng = np.random.Generator(np.random.PCG64(8))
    link = link_of(rng.random(400) < 0.3, rng.uniform(5.0, 120.0, 400), rng.uniform(0.0, 3.0, 400))
    time = np.cumsum(np.where(np.arange(400) % 90 == 50, 12.0, 0.1))
    frames = prepare(replace(link, time_s=time, two_way=two_way), standstill_mps=0.5)
    shape = Shape(5.2, 12.0, 2.5, 30.0, 0.02)
    points = [
        Point(np.array([6.0]), 0.8, 2.0, shape),
        Point(np.array([9.0]), 1.4, 2.5, shape._replace(floor_loss=0.1)),
        Point(np.array([2.0]), 0.3, 3.0, shape._replace(shadowing_sd_db=1.0, bias_sd_db=0.5)),
    ]
    together = log_likelihoods(frames, points, MarginLoss())
    for row, point in zip(together, points, strict=True):
        alone = log_likelihoods(frames, [point], MarginLoss())[0]
        np.testing.assert_allclose(row, alone, rtol=1e-9)
    assert np.abs(together[0] - together[1]).max() > 0.1
    # A short memory beside it moves in smaller steps over gaps: a finer way to the same place.
    if not two_way:
        quick = points[0]._replace(shape=shape._replace(bias_time_s=5.0))
        finer = log_likelihoods(frames, [points[0], quick], MarginLoss())[0]
        np.testing.assert_allclose(finer, together[0], atol=0.01)


@pytest.mark.slow
def test_the_intervals_hold_what_made_the_losses():
    """Four links of twenty minutes, drawn without the emulator: what 90 % intervals promise.

    Of 20 intervals about 18 hold the truth; fewer than 14 would be a chance of one in 400.
    """
    truth = MarginLoss(
        shadowing_sd_db=4.0, shadowing_distance_m=8.0, bias_sd_db=2.0, bias_time_s=20.0
    )
    truths = {
        "level": 5.0,
        "exponent_near": 1.2,
        "shadowing_sd_db": 4.0,
        "shadowing_distance_m": 8.0,
        "bias_sd_db": 2.0,
    }
    widest = {
        "level": 3.0,
        "exponent_near": 1.2,
        "shadowing_sd_db": 2.0,
        "shadowing_distance_m": 6.0,
        "bias_sd_db": 2.5,
    }
    distance = 20.0 * np.exp(0.7 * np.sin(np.arange(12_000) / 400.0))
    held = 0
    for seed in (11, 12, 13, 14):
        rng = np.random.Generator(np.random.PCG64(seed))
        lost = modulated_losses(truth, 5.0, 12_000, rng, near=1.2, distance_m=distance)
        prior = MarginLoss(bias_time_s=20.0)
        fit = fit_links([link_of(lost, distance)], prior, tuple(truths)[1:])
        for name, value in truths.items():
            interval = fit.level_interval(0) if name == "level" else fit.interval(name)
            found = fit.levels_db[0] if name == "level" else fit.values[name]
            low, high = interval
            held += low <= value <= high
            assert low < found < high, name
            assert high - low < widest[name], name
            assert abs(found - value) < 1.5 * (high - low), name  # four or five standard errors
    assert held >= 14


def test_a_slope_over_distances_in_error_is_not_too_flat():
    """Distances with errors are drawn together by the share of their variance that is error."""
    rng = np.random.Generator(np.random.PCG64(6))
    true_m = np.exp(rng.normal(np.log(30.0), 0.3, 50_000))
    link = link_of(np.zeros(50_000, dtype=bool), true_m + rng.normal(0.0, 4.0, 50_000))
    expected_m = expected_distance_m(link, 4.0)
    slopes = [
        np.polyfit(np.log(np.maximum(d, 3.0)), np.log(true_m), 1)[0]
        for d in (link.distance_m, expected_m)
    ]
    assert slopes[0] < 0.85
    assert slopes[1] == pytest.approx(1.0, abs=0.05)
    assert expected_distance_m(link, 0.0) is link.distance_m


def test_round_trips_give_the_latency_stack_back():
    """Twenty thousand round trips of known delays, in whole milliseconds of two stamps."""
    mac = MacParameters(wait_probability=0.9, wait_mean_ms=1.5)
    size = 20_000
    spent = np.full(size, 2.0 * 1.25 + 2.0 * (mac.airtime_us + mac.difs_us) / 1000.0)
    for _ in range(2):
        spent += RNG.integers(0, mac.cw + 1, size) * mac.slot_us / 1000.0
        spent += np.where(RNG.random(size) < 0.9, RNG.exponential(1.5, size), 0.0)
    sent = RNG.random(size)
    fit = fit_latency(np.floor(sent + spent), mac, from_stamps=True)
    for column, truth in enumerate((1.25, 0.9, 1.5)):
        low, high = fit.intervals[column]
        middle, half = (low + high) / 2.0, (high - low) / 2.0
        assert abs(truth - middle) < 1.8 * half  # three standard errors
        assert low < (fit.fixed_ms, fit.wait_probability, fit.wait_mean_ms)[column] < high
    assert fit.fixed_ms == pytest.approx(1.25, abs=0.1)
    assert np.abs(fit.measured - fit.fitted).max() < 0.01


def test_blackouts_are_found_where_they_are_and_nowhere_else():
    """Spells of 1.2 s every 10.3 s are found by folding; bursts without a clock are not."""
    rng = np.random.Generator(np.random.PCG64(3))
    time = np.arange(6000) * 0.1
    plain = rng.random(6000) < 0.06
    spells = ((time - 2.0) % 10.3 < 1.2) & (rng.random(6000) < 0.5)
    found = find_blackout([link_of(plain | spells)])
    assert found is not None
    assert found.period_s == pytest.approx(10.3, abs=0.03)
    assert found.length_s == pytest.approx(1.2, abs=0.25)
    assert found.loss == pytest.approx(0.5, abs=0.12)
    bursts = np.repeat(rng.random(600) < 0.12, 10) | plain
    assert find_blackout([link_of(bursts)]) is None


def there_and_back(rng, frames):
    """True and logged distances of a car that goes 10 to 85 m from another and back, at 8 m/s.

    Laps differ by a tenth in speed; fixes are held for a second, late, and wander by metres.
    """
    true_m, step_m = np.empty(frames), 0.8
    at_m = 10.0
    for k in range(frames):
        at_m += step_m
        if at_m >= 85.0 or at_m <= 10.0:
            step_m = -np.sign(step_m) * 0.8 * rng.uniform(0.9, 1.1)
        true_m[k] = at_m
    knots = np.arange(0, frames, 10)
    wander_m = np.interp(np.arange(frames), knots[::60], rng.normal(0.0, 2.0, knots[::60].size))
    held_m = np.interp(np.arange(frames), knots, true_m[np.maximum(knots - 2, 0)])
    return true_m, np.maximum(held_m + wander_m, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_laps_there_and_back_are_no_blackouts(seed):
    """Losses by distance alone, half an hour: nothing is found, and blackouts there still are."""
    rng = np.random.Generator(np.random.PCG64(seed))
    true_m, logged_m = there_and_back(rng, 18_000)
    by_distance = rng.random(18_000) < 0.02 + 0.9 / (1.0 + (true_m / 50.0) ** -3.6)
    assert find_blackout([link_of(by_distance, logged_m)]) is None
    time = np.arange(18_000) * 0.1
    spells = ((time - 2.0) % 10.3 < 1.2) & (rng.random(18_000) < 0.5)
    found = find_blackout([link_of(by_distance | spells, logged_m)])
    assert found is not None
    assert found.period_s == pytest.approx(10.3, abs=0.02)
    assert found.length_s == pytest.approx(1.2, abs=0.15)
    assert found.loss == pytest.approx(0.5, abs=0.06)


def test_what_one_part_of_a_log_shows_alone_is_no_blackout():
    """Spells locked to a clock for a third of half an hour are no blackouts of the receiver."""
    rng = np.random.Generator(np.random.PCG64(7))
    time = np.arange(18_000) * 0.1
    spells = ((time - 2.0) % 10.3 < 1.2) & (rng.random(18_000) < 0.5) & (time < 600.0)
    assert find_blackout([link_of((rng.random(18_000) < 0.06) | spells)]) is None


def test_clocks_are_aligned_to_the_fastest_messages():
    """Offset and drift come back within a millisecond and a ppm, whatever the latencies are."""
    sent = np.arange(0.0, 1.2e6, 100.0)
    latency = 3.0 + RNG.exponential(3.0, sent.size)
    received = np.floor(sent * (1.0 + 12e-6) + 5e5 + latency)
    line = align(sent, received, "a and b")
    assert line is not None
    assert line.drift_ppm == pytest.approx(12.0, abs=2.0)
    assert line.offset_ms == pytest.approx(5e5 + 3.0, abs=1.5)
    np.testing.assert_allclose(line.to_sender(line.to_receiver(sent)), sent, atol=1e-6)


def test_clocks_of_different_drives_are_refused():
    """A clock that runs a tenth fast is no clock of this drive."""
    sent = np.arange(0.0, 3e5, 100.0)
    with pytest.raises(LogError, match="different drives"):
        align(sent, sent * 1.1, "a and b")


def test_a_glitch_does_not_move_the_car():
    """A second beside the road by 900 m is left out, and so is no fix, 0 and 0."""
    time = np.arange(400) * 100.0
    lat = 32.8 + np.floor(np.arange(400) / 10) * 9e-5  # 10 m a fix, held for a second
    lat[200:210] += 0.008
    lon = np.full(400, 35.0)
    lat[:20] = lon[:20] = 0.0
    reference = reference_for(lat, lon)
    way = trajectory(reference, time, lat, lon, np.full(400, 10.0))
    assert way.dropped == {"position glitch": 10, "no position yet": 20}
    steps = np.diff(way.at(time[30:380])[:, 1])
    assert np.abs(steps).max() < 2.1
    assert np.isfinite(way.at(time[195:215])).all()


def test_one_pair_does_not_know_boards_at_large():
    """A pair known to 0.3 dB tells of boards to seven: two antennas of 3 dB each."""
    split = split_levels(
        [("a", "b", 0)], np.array([12.0]), np.array([[0.09]]), antenna_sd_db=3.0, next_car_db=4.0
    )
    margin_db, low, high = split.margin_db
    assert margin_db == pytest.approx(12.0, abs=1e-3)
    assert (high - low) / 2.0 == pytest.approx(1.645 * np.sqrt(18.0 + 0.09), rel=1e-3)


def test_cars_that_change_places_part_boards_and_blocking():
    """With each of three cars in the middle once, the first car's cost is known well."""
    gains = {"a": 2.0, "b": -3.0, "c": 1.0}
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    groups = [(*pair, between) for pair in pairs for between in (0, 1)]
    levels = np.array([14.0 + gains[i] + gains[j] - 7.0 * k for i, j, k in groups])
    moved = split_levels(groups, levels, np.eye(6) * 0.04, antenna_sd_db=3.0, next_car_db=4.0)
    first_car_db, low, high = moved.first_car_db
    assert first_car_db == pytest.approx(7.0, abs=0.2)
    assert high - low < 1.0
    fixed = [0, 3, 4]  # b in the middle all the time
    split = split_levels(
        [groups[k] for k in fixed],
        levels[fixed],
        np.eye(3) * 0.04,
        antenna_sd_db=3.0,
        next_car_db=4.0,
    )
    _, low, high = split.first_car_db
    assert high - low > 9.0


def test_intervals_of_margin_and_first_car_hold_the_truth():
    """Three cars in a row, 400 times with other boards: 90 % of the intervals hold the truth."""
    rng = np.random.Generator(np.random.PCG64(9))
    groups = [("a", "b", 0), ("a", "c", 1), ("b", "c", 0)]
    held = np.zeros(2)
    for _ in range(400):
        gain = dict(zip("abc", rng.normal(0.0, 3.0, 3), strict=True))
        errors = rng.normal(0.0, 0.5, 3)
        levels = np.array([14.0 + gain[i] + gain[j] - 7.0 * k for i, j, k in groups]) + errors
        split = split_levels(groups, levels, np.eye(3) * 0.25, antenna_sd_db=3.0, next_car_db=4.0)
        for k, (_, low, high) in enumerate((split.margin_db, split.first_car_db)):
            held[k] += low <= (14.0, 7.0)[k] <= high
    assert np.all((held > 340) & (held < 380)), held  # three standard errors about 360


def test_a_fit_that_says_no_more_than_was_known_is_refused():
    """An interval as wide as the range of training keeps the prior; a narrower one is taken."""
    clean = load_parameters("clean")
    name = "radio.loss.shadowing_sd_db"
    wide = judged(name, 5.0, (2.0, 9.0), clean, "")
    assert not wide.is_fitted
    assert wide.value == 5.2
    assert "known before" in wide.why
    assert judged(name, 5.0, (4.0, 6.0), clean, "").value == 5.0


@pytest.mark.parametrize("name", ["radio.loss.exponent_near", "radio.loss.exponent_far"])
def test_a_radio_that_gets_better_with_distance_is_refused(name):
    """An exponent of 0 or less keeps the prior; one above is cut to what a file can hold."""
    clean = load_parameters("clean")
    for value in (-0.42, 0.0):
        refused = judged(name, value, (value - 0.3, value + 0.3), clean, "")
        assert not refused.is_fitted
        assert refused.value == refused.prior > 0.0
        assert "do not grow with distance" in refused.why
    taken = judged(name, 0.2, (-0.1, 0.5), clean, "")
    assert (taken.value, taken.interval) == (0.2, (0.0, 0.5))


def test_an_implausible_fit_is_an_error():
    """A GPS that wanders by kilometres is no file."""
    with pytest.raises(LogError, match="plausible"):
        judged("sensors.position.sd_m", 3000.0, (2900.0, 3100.0), load_parameters("clean"), "")
