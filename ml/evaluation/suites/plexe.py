"""The platoon manoeuvres of Plexe (Segata et al., IEEE VNC 2014): 8 cars at 100 km/h.

The leader's speed swings by ±10 km/h at 0.2 Hz, or it brakes with 8 m/s² to a stop. The cars
between it and the ego are people, as everywhere here, at the gaps that people keep, not Plexe's
5 m: they damp the swing to nearly nothing before it reaches the ego. So it is run right in front of
the ego, too: what is asked there is whether the ego damps it.
"""

from ml.envs.episodes.scripted import ManoeuvreCase, brake, braking_ticks, following_gap_m, swing
from ml.evaluation.suites.suite import KMH

CARS = 8
SPEED_KMH = 100.0
SWING_KMH, SWING_HZ = 10.0, 0.2
DECEL_MPS2 = 8.0
_EGO_TIME_GAP_S = 1.5
_ONSET_TICK, TICKS = 50, 500


def plexe() -> list[ManoeuvreCase]:
    """Build the three manoeuvres."""
    speed, leader = SPEED_KMH * KMH, CARS - 1
    gaps_m = (_EGO_TIME_GAP_S * speed, *[following_gap_m(speed)] * (leader - 1))
    swinging = swing(speed, SWING_KMH * KMH, SWING_HZ, onset_tick=_ONSET_TICK, ticks=TICKS)
    braking = brake(speed, DECEL_MPS2, 0.0, onset_tick=_ONSET_TICK, ticks=TICKS)
    cases = [
        ManoeuvreCase(
            kind="free",
            gaps_m=gaps_m[:peers],
            speed_mps=(speed,) * (peers + 1),
            script_mps={peers: swinging},
            brake_rank=0,
            onset_tick=_ONSET_TICK,
            release_tick=TICKS,
            labels={"manoeuvre": name, "frequency_hz": SWING_HZ},
        )
        for peers, name in ((leader, "sinusoidal"), (1, "sinusoidal in front"))
    ]
    return [
        *cases,
        ManoeuvreCase(
            kind="hazard",
            gaps_m=gaps_m,
            speed_mps=(speed,) * CARS,
            script_mps={leader: braking},
            brake_rank=leader,
            onset_tick=_ONSET_TICK,
            release_tick=_ONSET_TICK + braking_ticks(speed, DECEL_MPS2, 0.0),
            labels={"manoeuvre": "braking", "decel_mps2": DECEL_MPS2},
        ),
    ]
