"""Faults of nodes, applied to what they want to send before the channel gets it."""

import math
from typing import Annotated, Final, NamedTuple

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words, allocate
from ml.compiled import compiled
from ml.espnow_emulator.clock import BEACON_PERIOD_US
from ml.espnow_emulator.messages import PayloadField
from ml.espnow_emulator.parameters.radio import FaultParameters
from ml.keyed_random import Stream, extend_one, fold, uniform_one

# The faults; the draws of size come after those of beginning.
_NUM_FAULTS: Final = 4
_REBOOT, _FROZEN, _JUMP, _SPOOF = range(_NUM_FAULTS)
_JUMP_SIZE: Final = _NUM_FAULTS
_NEVER_YET: Final = np.iinfo(np.int64).min
_ACCEL: Final = int(PayloadField.ACCEL_MPS2)


class _Rules(NamedTuple):
    """What is the same for all convoys."""

    probability: Annotated[Floats, "4"]  # that a fault begins with a beacon
    duration_us: Annotated[Ints, "4"]  # a clock jump is over at once
    largest_jump_ms: float  # of the clock, either way
    spoofed_mps2: float  # the acceleration that is reported


class _Memory(NamedTuple):
    """Which faults there are now."""

    keys: Annotated[Words, "E N"]
    until_us: Annotated[Ints, "E N 4"]  # when a fault is over
    shift_ms: Annotated[Ints, "E N"]  # by how much the clock was shifted
    frozen: Annotated[Floats, "E N F"]  # what a frozen sender repeats


class MessageFaults:
    """Reboots, frozen senders, clock jumps and spoofed brakings of all nodes of a batch.

    Call `reset`, then `apply` once per tick with what the nodes are about to send. A fault begins
    with a node's beacon and lasts its duration from there. Draws are keyed by episode, node, fault
    and tick.

    Args:
        parameters: Which faults there are, how often and how long.
        num_envs: E.
        num_nodes: N.

    Attributes:
        is_active: Some fault can occur; `apply` changes nothing otherwise.
    """

    def __init__(self, parameters: FaultParameters, *, num_envs: int, num_nodes: int) -> None:
        reboot, frozen = parameters.reboot, parameters.frozen_sender
        jump, spoof = parameters.clock_jump, parameters.spoofed_brake
        intervals_s = [f.mean_interval_s for f in (reboot, frozen, jump, spoof)]
        tick_s = BEACON_PERIOD_US / 1e6
        durations_s = (reboot.silent_s, frozen.duration_s, 0.0, spoof.duration_s)
        self._rules = _Rules(
            probability=np.array(
                [0.0 if mean is None else -math.expm1(-tick_s / mean) for mean in intervals_s]
            ),
            duration_us=np.array([round(1e6 * s) for s in durations_s]),
            largest_jump_ms=jump.largest_ms,
            spoofed_mps2=spoof.accel_mps2,
        )
        self.is_active = bool(self._rules.probability.any())
        sizes = {"E": num_envs, "N": num_nodes, "F": len(PayloadField)}
        self._memory = allocate(_Memory, sizes)
        self._memory.until_us[:] = _NEVER_YET

    def reset(self, env_indices: Ints, episode_keys: Words) -> None:
        """Begin an episode in convoys (K,) with keys (K,); all their nodes work."""
        slots = np.arange(self._memory.keys.shape[1])
        keys = fold(episode_keys[:, None], Stream.MESSAGE_FAULTS, slots)
        self._memory.keys[env_indices] = keys
        self._memory.until_us[env_indices] = _NEVER_YET
        self._memory.shift_ms[env_indices] = 0

    def apply(
        self,
        tick: Ints,
        *,
        sending: Bools,
        t_generated_us: Ints,
        timestamp_ms: Ints,
        payload: Floats,
    ) -> Bools:
        """Let the faults of a tick begin and act.

        Args:
            tick: (E,) int64, since reset.
            sending: (E, N) bool, who wants to send; left as it is.
            t_generated_us: (E, N) int64, when, in true time; left as it is.
            timestamp_ms: (E, N) int64, the nodes' clocks then; changed in place.
            payload: (E, N, F) float64, what they say; changed in place.

        Returns:
            (E, N) bool, who does send; `sending` itself if no fault is active.
        """
        if not self.is_active:
            return sending
        sends = sending.copy()
        said = (sends, t_generated_us, timestamp_ms, payload)
        _apply(tick, *said, self._rules, self._memory)
        return sends


@compiled
def _apply(
    ticks: Ints,
    sending: Bools,
    t_generated_us: Ints,
    timestamp_ms: Ints,
    payload: Floats,
    rules: _Rules,
    memory: _Memory,
) -> None:
    """Change what is sent; arrays as in `MessageFaults.apply`."""
    for e in range(sending.shape[0]):
        for n in range(sending.shape[1]):
            now_us, until, key = t_generated_us[e, n], memory.until_us[e, n], memory.keys[e, n]
            for fault in range(_NUM_FAULTS):
                if now_us < until[fault] or not _begins(
                    key, fault, ticks[e], rules.probability[fault]
                ):
                    continue
                until[fault] = now_us + rules.duration_us[fault]
                if fault == _FROZEN:
                    memory.frozen[e, n] = payload[e, n]
                shown_ms = timestamp_ms[e, n] + memory.shift_ms[e, n]
                memory.shift_ms[e, n] += _shift_ms(
                    key, fault, ticks[e], shown_ms, rules.largest_jump_ms
                )
            timestamp_ms[e, n] += memory.shift_ms[e, n]
            if now_us < until[_REBOOT]:
                sending[e, n] = False
            if now_us < until[_FROZEN]:
                payload[e, n] = memory.frozen[e, n]
            if now_us < until[_SPOOF]:
                payload[e, n, _ACCEL] = rules.spoofed_mps2


@compiled
def _begins(key: np.uint64, fault: int, tick: int, probability: float) -> bool:
    """Whether a fault of a node begins at a tick; no draw for one that is off."""
    if probability == 0.0:
        return False
    return uniform_one(extend_one(extend_one(key, fault), tick)) < probability


@compiled
def _shift_ms(key: np.uint64, fault: int, tick: int, shown_ms: int, largest_ms: float) -> int:
    """By how much a fault that begins shifts a clock that shows `shown_ms`."""
    if fault == _REBOOT:
        return -shown_ms
    if fault == _JUMP:
        share = 2.0 * uniform_one(extend_one(extend_one(key, _JUMP_SIZE), tick)) - 1.0
        return math.floor(largest_ms * share + 0.5)
    return 0
