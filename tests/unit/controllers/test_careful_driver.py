"""The careful driver and full braking after a dead time, on the JRC grid, by the law alone.

UN R157 / JRC car-following: leader and ego at 12 … 128 km/h, the leader brakes at 0.05 … 0.95 g to
a standstill, for 35 s. The time gap is that between bumpers: the car's length plays no part in it.
"""

import numpy as np
import pytest
from support.driving import act, ego, peers

from ml.controllers.car_following import CAREFUL_DELAY_S, CarefulDriver, careful_braking
from ml.envs.truth.reference_driver import build_up, roll

SPEED_MPS, DECEL_MPS2 = (
    grid.ravel()
    for grid in np.meshgrid(
        np.arange(12, 129, 2) / 3.6, 9.81 * 0.05 * np.arange(1, 20), indexing="ij"
    )
)


def rolled(speed, accel, dt_s):
    """Distance and speed after a step, in arrays."""
    reached = np.maximum(speed + accel * dt_s, 0.0)
    stops = speed + accel * dt_s < 0.0
    braking = np.where(accel < 0.0, -accel, 1.0)
    return np.where(stops, speed**2 / (2.0 * braking), (speed + 0.5 * accel * dt_s) * dt_s), reached


def crashes(law, time_gap_s, dt_s):
    """Cases of the grid in which a car crashes that accelerates by `law(time, accel, dt)`."""
    gap, lead, own = time_gap_s * SPEED_MPS, SPEED_MPS.copy(), SPEED_MPS.copy()
    accel, hit = np.zeros_like(own), np.zeros(own.size, dtype=bool)
    for step in range(round(35.0 / dt_s)):
        accel = law(np.full(own.size, step * dt_s), accel, dt_s)
        lead_m, lead = rolled(lead, -DECEL_MPS2, dt_s)
        own_m, own = rolled(own, accel, dt_s)
        gap += lead_m - own_m
        hit |= gap <= 0.0
    return int(hit.sum())


def full_braking_after(dead_s):
    """8 m/s² at once after a dead time."""

    def law(time_s, *_):
        return np.where(time_s >= dead_s - 1e-9, -8.0, 0.0)

    return law


def test_the_grid_has_its_1121_cases():
    """59 speeds and 19 decelerations."""
    assert SPEED_MPS.size == 59 * 19 == 1121


def test_the_careful_driver_is_safe_at_two_seconds():
    """Perception 0.4 s, reaction 0.75 s, 0.774 g, jerk 12.65 m/s³: no crash."""
    assert crashes(careful_braking, 2.0, 0.01) == 0


def test_the_careful_driver_crashes_in_512_cases_at_one_second():
    """With steps of 10 ms; the braking begins 1.15 s after the leader's."""
    assert crashes(careful_braking, 1.0, 0.01) == 512


def test_at_ten_hertz_the_careful_driver_crashes_in_two_cases_more():
    """1.15 s is no multiple of 0.1 s: the braking begins at 1.2 s."""
    assert crashes(careful_braking, 1.0, 0.1) == 514


@pytest.mark.parametrize(("dead_s", "count"), [(0.1, 0), (0.3, 0), (0.5, 0), (0.7, 3)])
def test_full_braking_after_a_dead_time(dead_s, count):
    """8 m/s² after 0.1, 0.3 and 0.5 s avoid every crash at 1.0 s; after 0.7 s three are left."""
    assert crashes(full_braking_after(dead_s), 1.0, 0.1) == count


def budget_s(gap_m, speed_mps, lead_mps2, lead_final_mps, *, braking_mps2=6.0):
    """Longest delay before the reference ego's braking that avoids the crash, within 5 ms."""

    def avoids(delay_s, dt_s=0.005):
        gap, lead, own, accel, time_s = gap_m, speed_mps, speed_mps, 0.0, 0.0
        while gap > 0.0 and own > lead_final_mps:
            wish = -braking_mps2 if time_s >= delay_s else 0.0
            accel = build_up(accel, wish, dt_s)
            lead_accel = max(-lead_mps2, (lead_final_mps - lead) / dt_s)
            lead_m, lead = roll(lead, lead_accel, dt_s)
            own_m, own = roll(own, accel, dt_s)
            gap += lead_m - own_m
            time_s += dt_s
        return gap > 0.0

    delays = np.arange(0.0, 4.0, 0.005)
    return delays[[avoids(delay) for delay in delays]].max()


@pytest.mark.parametrize(
    ("gap_m", "lead_mps2", "budget"), [(12.0, 6.0, 0.63), (40.0, 6.0, 2.65), (50 / 3.6, 4.0, 1.35)]
)
def test_delay_budgets_of_car_to_car_rear_braking(gap_m, lead_mps2, budget):
    """Euro NCAP CCRb 2023 at 12 m and 40 m, 2026 at 50 km/h: what silence may cost."""
    assert budget_s(gap_m, 50 / 3.6, lead_mps2, 0.0) == pytest.approx(budget, abs=0.02)


def test_a_car_that_stops_within_a_step_has_driven_its_braking_distance():
    """Ballistic, as SUMO: from 0.4 m/s at 8 m/s² 1 cm and no further; else v t + a t² / 2."""
    assert roll(0.4, -8.0, 0.1) == (pytest.approx(0.01), 0.0)
    assert roll(10.0, -8.0, 0.1) == (pytest.approx(0.96), pytest.approx(9.2))


def test_the_careful_driver_waits_and_then_builds_up_its_braking():
    """From the message that shows the risk: 1.15 s of nothing, then steps of 1.265 m/s²."""
    controller = CarefulDriver(1.0, 9.0)
    calm = {"gap_m": 29.0, "speed_mps": 20.0}
    answers, said = [], 0.0
    for tick in range(30):
        view = peers(calm | ({"accel_mps2": -6.0} if tick >= 5 else {}))
        said = act(controller, view, ego(20.0, accel_mps2=said), begin=tick == 0)[0]
        answers.append(said)
    first = answers.index(min(a for a in answers if a < 0.0 and a > -1.3))
    assert (first - 5) * 0.1 == pytest.approx(CAREFUL_DELAY_S, abs=0.051)
    assert max(np.abs(answers[:first])) < 1e-9
    assert np.diff(answers)[first:].min() >= -1.265 - 1e-9
    assert answers[-1] == pytest.approx(-0.774 * 9.81)
