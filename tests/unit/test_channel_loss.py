from __future__ import annotations

import numpy as np
import pytest

from ml.errors import EmulatorError
from ml.espnow_emulator import LossKnot, LossParameters
from ml.espnow_emulator.loss import BurstLoss
from ml.keyed_random import fold, uniform

SHAPE = (64, 1, 8)
NUM_LINKS = SHAPE[0] * SHAPE[1] * SHAPE[2]
SENDING = np.ones((64, 1, 8), dtype=bool)


def _table(*knots: tuple[float, float, float], **factors: float) -> LossParameters:
    return LossParameters(
        by_distance=tuple(
            LossKnot(distance_m=d, probability=p, mean_burst_frames=b) for d, p, b in knots
        ),
        **factors,
    )


def _fates(parameters: LossParameters, distance_m: float, frames: int) -> np.ndarray:
    """(frames, links) bool: what is lost on many links at one distance."""
    chain = BurstLoss(parameters, SHAPE)
    keys = fold(11, np.arange(NUM_LINKS).reshape(SHAPE))
    distance = np.full(SHAPE, distance_m)
    lost = [
        chain.lost(
            uniform(fold(keys, k)), distance, first=np.full((64, 1, 8), k == 0), sending=SENDING
        ).ravel()
        for k in range(frames)
    ]
    return np.array(lost)


def _bursts(fates: np.ndarray) -> np.ndarray:
    """Lengths of all bursts that begin and end within the record, link by link."""
    lengths = []
    for link in fates.T:
        edges = np.flatnonzero(np.diff(link.astype(np.int8)))
        starts, ends = edges[~link[edges]], edges[link[edges]]
        ends = ends[ends > starts[0]] if starts.size else ends[:0]
        lengths.append(ends - starts[: ends.size])
    return np.concatenate(lengths)


@pytest.mark.parametrize(
    ("loss", "burst"), [(0.058, 1.25), (0.334, 2.11), (0.5, 1.0), (0.5, 2.0), (0.85, 14.5)]
)
def test_loss_and_mean_burst_are_those_of_the_table(loss: float, burst: float):
    """Over a million frames the share lost and the mean burst are within four standard errors."""
    fates = _fates(_table((0.0, loss, burst)), 30.0, 2000)
    enter, leave = loss / ((1.0 - loss) * burst), 1.0 / burst
    correlation = 1.0 - enter - leave
    spread = np.sqrt(loss * (1.0 - loss) * (1.0 + correlation) / (1.0 - correlation) / fates.size)
    assert abs(fates.mean() - loss) < 4.0 * spread + 1e-12
    # The record starts stationary: the very first frames are lost as often as all others.
    first = fates[:5].mean(axis=1)
    assert np.all(np.abs(first - loss) < 4.5 * np.sqrt(loss * (1.0 - loss) / NUM_LINKS))

    bursts = _bursts(fates)
    assert abs(bursts.mean() - burst) < 4.0 * np.sqrt(burst * (burst - 1.0) / bursts.size) + 0.012
    ending_at_once = (bursts == 1).mean()
    assert abs(ending_at_once - leave) < 4.0 * np.sqrt(leave / bursts.size) + 1e-12


def test_neighbouring_links_lose_independently():
    """The fates of two links at the same moment are uncorrelated."""
    fates = _fates(_table((0.0, 0.334, 2.11)), 30.0, 2000).astype(float)
    matrix = np.corrcoef(fates[:, :40].T)
    off_diagonal = matrix[~np.eye(40, dtype=bool)]
    assert np.abs(off_diagonal).max() < 6.0 / np.sqrt(2000 / 2.0)
    assert abs(off_diagonal.mean()) < 0.005


@pytest.mark.parametrize("loss", [0.0, 1.0])
def test_certainties_are_exact(loss: float):
    """Loss 0 loses nothing and loss 1 everything, whatever the factors on odds and bursts."""
    parameters = _table((0.0, loss, 3.0), (50.0, loss, 1.0), odds_factor=7.0)
    assert (_fates(parameters, 20.0, 200) == bool(loss)).all()


def test_a_distance_without_loss_delivers_even_out_of_a_burst():
    """A link that drives out of the loss into a distance of loss 0 delivers from that frame on."""
    chain = BurstLoss(_table((10.0, 0.0, 5.0), (20.0, 0.8, 5.0)), SHAPE)
    draw = np.full(SHAPE, 0.1)
    here = {"first": np.zeros((64, 1, 8), dtype=bool), "sending": SENDING}
    assert chain.lost(draw, np.full(SHAPE, 20.0), **here).all()
    assert chain.lost(draw, np.full(SHAPE, 20.0), **here).all()
    assert not chain.lost(draw, np.full(SHAPE, 10.0), **here).any()


def test_loss_is_linear_between_knots_and_constant_outside():
    """Half way between two knots the loss is their mean; beyond the ends it stays."""
    parameters = _table((10.0, 0.1, 1.5), (30.0, 0.5, 2.5))
    for distance_m, loss in ((0.0, 0.1), (20.0, 0.3), (30.0, 0.5), (900.0, 0.5)):
        assert abs(_fates(parameters, distance_m, 800).mean() - loss) < 0.004


def test_a_silent_link_keeps_its_state():
    """The chain moves with each frame that is sent, not with time."""
    chain = BurstLoss(_table((0.0, 0.5, 10.0)), SHAPE)
    keys = fold(2, np.arange(NUM_LINKS).reshape(SHAPE))
    half = np.arange(8).reshape(1, 1, 8) % 2 == 0
    silent = np.broadcast_to(half, (64, 1, 8))
    distance, never = np.zeros(SHAPE), np.zeros((64, 1, 8), dtype=bool)
    chain.lost(uniform(fold(keys, 0)), distance, first=~never, sending=SENDING)
    before = chain._bad.copy()
    for k in range(1, 50):
        lost = chain.lost(uniform(fold(keys, k)), distance, first=never, sending=~silent)
        assert not lost[:, :, ::2].any()
    assert np.array_equal(chain._bad[:, :, ::2], before[:, :, ::2])
    assert not np.array_equal(chain._bad[:, :, 1::2], before[:, :, 1::2])


def test_factors_hold_per_convoy():
    """Odds and bursts are multiplied in the convoys that say so, and nowhere else."""
    chain = BurstLoss(_table((0.0, 0.2, 2.0)), SHAPE)
    chain.reset(np.arange(32), np.full(32, 4.0), np.full(32, 3.0))
    keys = fold(6, np.arange(NUM_LINKS).reshape(SHAPE))
    distance = np.zeros(SHAPE)
    lost = np.array(
        [
            chain.lost(
                uniform(fold(keys, k)), distance, first=np.full((64, 1, 8), k == 0), sending=SENDING
            )
            for k in range(3000)
        ]
    )
    factored, plain = lost[:, :32].reshape(3000, -1), lost[:, 32:].reshape(3000, -1)
    assert abs(plain.mean() - 0.2) < 0.004
    assert abs(factored.mean() - 0.5) < 0.008  # odds 1 : 4 become 1 : 1
    assert abs(_bursts(plain).mean() - 2.0) < 0.03
    assert abs(_bursts(factored).mean() - 6.0) < 0.12


def test_statistics_that_no_chain_has_are_refused():
    """Too much loss for so short bursts: the error names the knot and both ways out."""
    with pytest.raises(ValueError, match=r"at 50 m a loss of 0\.6") as refused:
        _table((0.0, 0.1, 1.2), (50.0, 0.6, 1.2))
    assert "lower the loss to 0.5455" in str(refused.value)
    assert "raise the mean burst to 1.5" in str(refused.value)
    with pytest.raises(ValueError, match="loss 1 is possible only if every knot has it"):
        _table((0.0, 0.5, 5.0), (50.0, 1.0, 5.0))
    with pytest.raises(ValueError, match=r"mean burst is 2 x burst_factor 0\.4 = 0\.8 frames"):
        _table((0.0, 0.1, 2.0), burst_factor=0.4)
    with pytest.raises(ValueError, match="50 m follows 50 m"):
        _table((50.0, 0.1, 2.0), (50.0, 0.2, 2.0))
    chain = BurstLoss(_table((0.0, 0.5, 2.0)), SHAPE)
    with pytest.raises(EmulatorError, match="lower odds_factor or raise burst_factor"):
        chain.reset(np.array([3]), np.array([2.5]), np.array([1.0]))
