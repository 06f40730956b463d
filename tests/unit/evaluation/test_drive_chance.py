"""What a firing series would hit by chance."""

import numpy as np
import pytest
from scipy import stats

from ml.evaluation.drive.chance import against_chance, beside
from ml.evaluation.drive.events import (
    Event,
    Spans,
    answer_ticks,
    answering_spans,
    hard_brakings,
    lead_ticks,
    quiet_ticks,
    starts,
    warning_spans,
)

TICKS = 9000
SHUFFLES = 400


def bursts(rng, count=45, ticks=TICKS):
    """A driver that fires now and then, for a second or so each time."""
    firing = np.zeros(ticks, dtype=bool)
    for begin in rng.integers(0, ticks - 40, count):
        firing[begin : begin + int(rng.integers(3, 40))] = True
    return firing


def events_at(onsets):
    """Hard brakings of the ego with these onsets."""
    return [Event("a", int(tick), int(tick), int(tick) + 10, 5.0) for tick in np.sort(onsets)]


def moving_but_for_stops(rng):
    """The ego stands three times."""
    moving = np.ones(TICKS, dtype=bool)
    for begin in rng.integers(0, TICKS - 600, 3):
        moving[begin : begin + 500] = False
    return moving


@pytest.mark.parametrize(
    "kind", [warning_spans, lambda events: answering_spans(events, np.zeros(TICKS))]
)
def test_p_is_uniform_where_events_have_nothing_to_do_with_the_firing(kind):
    """Over 400 shuffles of the events' times on a drive with stops, by Kolmogorov and Smirnov."""
    rng = np.random.default_rng(11)
    found = []
    for _ in range(SHUFFLES):
        moving = moving_but_for_stops(rng)
        firing = bursts(rng) & moving
        onsets = rng.choice(np.flatnonzero(moving), 14, replace=False)
        found.append(against_chance(firing, moving, kind(events_at(onsets))).p_value)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.09


def test_p_is_small_where_firing_comes_before_the_events():
    """A driver that fires a second before each of fourteen is above chance; after them it is not.

    No shift but those by less than the span itself does as well.
    """
    rng = np.random.default_rng(3)
    onsets = 300 + 600 * np.arange(14) + rng.integers(0, 200, 14)
    moving = np.ones(TICKS, dtype=bool)
    before, after = np.zeros((2, TICKS), dtype=bool)
    for tick in onsets:
        before[tick - 10 : tick - 5] = True
        after[tick + 1 : tick + 6] = True
    spans = warning_spans(events_at(onsets))
    warned = against_chance(before, moving, spans)
    assert warned.hits == 14
    assert warned.is_above
    assert warned.p_value < 0.01
    late = against_chance(after, moving, spans)
    assert late.hits == 0
    assert not late.is_above
    assert late.p_value == 1.0


def test_who_echoes_the_egos_own_accelerometer_warns_of_nothing():
    """It fires where the ego already brakes by 2.5 m/s², on the way to its twelve hard brakings.

    Who fires a tick before the ego brakes by more than 1 m/s² warns of all twelve.
    """
    accel, moving = np.zeros(TICKS), np.ones(TICKS, dtype=bool)
    onsets = 400 + 700 * np.arange(12) + 37 * np.arange(12) ** 2 % 301
    for tick in onsets:
        accel[tick - 5 : tick + 10] = [-0.8, -1.3, -1.9, -2.5, -2.8, *[-4.0] * 10]
    events = hard_brakings("a", accel, moving, 3.0)
    assert [event.tick for event in events] == onsets.tolist()
    spans = warning_spans(events)
    echo = against_chance(accel <= -2.5, moving, spans)
    assert echo.hits == 0
    assert not echo.is_above
    foresees = np.zeros(TICKS, dtype=bool)
    foresees[onsets - 5] = True
    warned = against_chance(foresees, moving, spans)
    assert warned.hits == 12
    assert warned.is_above


def test_hits_of_every_shift_are_those_of_the_shifted_series():
    """All shifts at once are as each alone, by numpy's roll over the ticks in which it moves."""
    rng = np.random.default_rng(5)
    moving = rng.random(300) < 0.8
    firing = (rng.random(300) < 0.05) & moving
    onsets = np.sort(rng.choice(np.flatnonzero(moving), 6, replace=False))
    spans = warning_spans(events_at(onsets))
    found = against_chance(firing, moving, spans)
    place = np.cumsum(moving) - 1
    series = firing[moving]
    hits = []
    for shift in range(series.size):
        shifted = np.roll(series, shift)
        inside = [
            shifted[place[np.flatnonzero(moving[b:e]) + b]].any()
            for b, e in zip(spans.begin, spans.end, strict=True)
        ]
        hits.append(sum(inside))
    assert found.hits_of_shifts.tolist() == hits
    assert found.expected.sum() == pytest.approx(np.mean(hits))


def test_of_equal_hits_the_earlier_ones_count_more():
    """A shift that hits as many events later does not count as doing as well."""
    firing = np.zeros(40, dtype=bool)
    firing[8] = True
    spans = Spans(np.array([5]), np.array([11]))
    found = against_chance(firing, np.ones(40, dtype=bool), spans)
    # As early or earlier: the shifts by −1, −2, −3.
    assert found.p_value == pytest.approx((1 + 3) / 40)


def test_nobody_is_above_chance_with_few_events():
    """Nine hits of nine are too few to tell; ten of ten are not."""
    onsets = 400 + 800 * np.arange(10) + 37 * np.arange(10) ** 2 % 301
    firing = np.zeros(TICKS, dtype=bool)
    firing[onsets - 10] = True
    moving = np.ones(TICKS, dtype=bool)
    nine = against_chance(firing, moving, warning_spans(events_at(onsets[:9])))
    assert nine.hits == 9
    assert nine.p_value < 0.01
    assert not nine.is_above
    assert against_chance(firing, moving, warning_spans(events_at(onsets))).is_above


def test_who_fires_always_is_neither_above_chance_nor_better_than_who_aims():
    """It hits everything, as every shift of it does."""
    rng = np.random.default_rng(8)
    onsets = 300 + 600 * np.arange(14) + rng.integers(0, 200, 14)
    moving, aimed = np.ones(TICKS, dtype=bool), np.zeros(TICKS, dtype=bool)
    for tick in onsets[:9]:
        aimed[tick - 10 : tick - 5] = True
    spans = warning_spans(events_at(onsets))
    always = against_chance(np.ones(TICKS, dtype=bool), moving, spans)
    aims = against_chance(aimed, moving, spans)
    assert (always.hits, always.p_value) == (14, 1.0)
    compared = beside(always, aims)
    assert compared.more == 5
    assert compared.p_more > 0.5
    assert compared.p_fewer < 0.01
    assert beside(aims, always).p_more < 0.01
    assert beside(aims, aims) == (0, 0, 1.0, 1.0, 1.0, 1.0)


def test_who_warns_of_more_than_the_other_is_better_and_the_other_worse():
    """Of fourteen events the one warns of all, the other of nine; the sign test of 5 to 0 is 1/32.

    Of four to none it is 1/16, which shows nothing, though no shift does as well.
    """
    onsets = 300 + 600 * np.arange(14) + 53 * np.arange(14) ** 2 % 199
    spans, moving = warning_spans(events_at(onsets)), np.ones(TICKS, dtype=bool)

    def warns_of(count):
        firing = np.zeros(TICKS, dtype=bool)
        firing[onsets[:count] - 10] = True
        return against_chance(firing, moving, spans)

    found = beside(warns_of(14), warns_of(9))
    assert (found.only_one, found.only_other, found.more) == (5, 0, 5)
    assert found.sign_more == pytest.approx(1 / 32)
    assert (found.is_better, found.is_worse) == (True, False)
    back = beside(warns_of(9), warns_of(14))
    assert (back.is_better, back.is_worse) == (False, True)
    few = beside(warns_of(14), warns_of(10))
    assert few.sign_more == pytest.approx(1 / 16)
    assert few.p_more < 0.01
    assert not few.is_better


def test_of_two_equally_good_drivers_one_is_seldom_called_better_or_worse():
    """Each warns of 70 % of twenty events, independently: in at most 7 % of 200 drives."""
    rng = np.random.default_rng(21)
    moving, called = np.ones(TICKS, dtype=bool), 0
    for _ in range(200):
        onsets = 200 + 430 * np.arange(20) + rng.integers(0, 200, 20)
        spans = warning_spans(events_at(onsets))
        both = []
        for _ in range(2):
            firing = np.zeros(TICKS, dtype=bool)
            firing[onsets[rng.random(20) < 0.7] - 10] = True
            both.append(against_chance(firing, moving, spans))
        found = beside(*both)
        called += found.is_better or found.is_worse
    assert called <= 14


def test_an_ego_that_never_moves_has_no_chance_level():
    """No tick counts, and nothing fails."""
    nothing = np.zeros(100, dtype=bool)
    found = against_chance(nothing, nothing, warning_spans([]))
    assert (found.hits, found.p_value, found.is_above) == (0, 1.0, False)


def test_a_braking_begins_at_the_threshold_and_ends_at_one():
    """What swings around the threshold is one event; who stands has none; the hardest is told.

    It is reacted to from the first tick beyond 1 m/s² on, and no earlier than what is known.
    """
    accel = np.zeros(60)
    accel[[10, 11, 12, 13, 14]] = [-1.5, -3.0, -2.9, -4.5, -1.2]
    accel[[30, 31]] = [-3.5, 0.0]
    accel[[50]] = -6.0
    moving = np.ones(60, dtype=bool)
    moving[50] = False
    found = hard_brakings("a", accel, moving, 3.0)
    assert [tuple(e) for e in found] == [("a", 10, 11, 15, 4.5), ("a", 30, 30, 31, 3.5)]
    accel[12] = np.nan
    found = hard_brakings("a", accel, moving, 3.0)
    assert [(e.reacts, e.tick, e.end) for e in found] == [(10, 11, 15), (30, 30, 31)]


def test_a_braking_that_flickers_around_one_is_one_braking():
    """Pauses of up to half a second are part of it, before its onset, too; longer ones part two."""
    accel = np.zeros(90)
    accel[[20, 22, 27, 33]] = [-1.2, -1.1, -4.0, -3.5]
    accel[[60, 67]] = -4.0
    moving = np.ones(90, dtype=bool)
    found = hard_brakings("a", accel, moving, 3.0)
    assert [(e.reacts, e.tick, e.end) for e in found] == [(20, 27, 34), (60, 60, 61), (67, 67, 68)]
    accel[[28, 29, 30]] = [-0.99, np.nan, 2.0]
    assert hard_brakings("a", accel, moving, 3.0) == found


def test_who_echoes_the_egos_own_braking_answers_nothing():
    """The ego's driver brakes 0.5 s after the peer; a span ends there, or there is none.

    Who fires with him answers nothing; who fires a tick earlier, all but the last, before which he
    brakes already.
    """
    onsets = 400 + 700 * np.arange(12) + 37 * np.arange(12) ** 2 % 301
    own, moving = np.zeros(TICKS), np.ones(TICKS, dtype=bool)
    for tick in onsets[:-1]:
        own[tick + 5 : tick + 15] = -2.5
    own[onsets[-1] - 3 : onsets[-1] + 20] = -2.5
    own[onsets[-1] + 1] = 0.0  # a pause is part of it
    spans = answering_spans(events_at(onsets), own)
    assert (spans.end - spans.begin).tolist() == [5] * 11 + [0]
    assert against_chance(own <= -2.0, moving, spans).hits == 0
    before = np.zeros(TICKS, dtype=bool)
    before[onsets + 4] = True
    assert against_chance(before, moving, spans).hits == 11
    calm = answering_spans(events_at(onsets[:1]), np.full(TICKS, np.nan))
    assert (calm.end - calm.begin).tolist() == [31]
    assert answering_spans(events_at(onsets[:1]), np.zeros(410)).end.tolist() == [410]


def test_leads_are_counted_from_the_first_firing_in_the_span():
    """3 s before to 1 s after the driver reacts, in the span of a peer's; else nothing counts."""
    event = Event("a", 100, 100, 110, 5.0)
    firing = np.zeros(200, dtype=bool)
    for tick, lead in ((110, -10), (100, 0), (87, 13), (70, 30)):
        firing[tick] = True
        assert lead_ticks(firing, event) == lead
    firing[:] = False
    firing[[69, 111]] = True
    assert lead_ticks(firing, event) is None
    assert answer_ticks(firing, event, 131) == 11
    firing[111] = False
    firing[[99, 131]] = True
    assert answer_ticks(firing, event, 131) is None
    firing[130] = True
    assert answer_ticks(firing, event, 131) == 30
    assert answer_ticks(firing, event, 130) is None
    ramp = Event("a", 94, 100, 110, 5.0)
    firing[:] = False
    firing[[93, 94]] = True
    assert lead_ticks(firing, ramp) == 1
    firing[93] = False
    assert lead_ticks(firing, ramp) == 0


def test_quiet_is_where_nobody_brakes_within_three_seconds():
    """Of any board that wrote a log, the ego's too; what is not known is no braking."""
    a, b = np.zeros((2, 200))
    a[50], b[120], b[121] = -1.1, -0.9, np.nan
    moving = np.ones(200, dtype=bool)
    moving[199] = False
    quiet = quiet_ticks({"a": a, "b": b}, moving)
    assert np.flatnonzero(~quiet).tolist() == [*range(20, 81), 199]
    assert np.flatnonzero(starts(np.array([1, 1, 0, 1, 0], dtype=bool))).tolist() == [0, 3]
