"""The loss models: margins term by term, and the two baselines."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_radio import frame_arrays, open_channel, plain_radio, poll

from ml.errors import EmulatorError
from ml.espnow_emulator import (
    GilbertElliottLoss,
    LossKnot,
    MarginLoss,
)
from ml.espnow_emulator.fading import reception_table
from ml.keyed_random import fold
from ml.vehicle import TICK_US

ENVS, NODES = 64, 9
BARE = {
    "shadowing_sd_db": 0.0,
    "bias_sd_db": 0.0,
    "antenna_sd_db": 0.0,
    "door_share": 0.0,
    "fading_m": None,
    "cars_cap_db": 0.0,
    "floor_loss": 0.0,
    "exponent_near": 0.8,
    "exponent_far": 2.5,
}


def _margin_db(chance: np.ndarray) -> np.ndarray:
    """The margin that an unfaded chance stands for."""
    return np.log(chance / (1.0 - chance))


def _chances(loss, ticks: int, at_m: np.ndarray, speed_mps: float = 0.0, nodes: int = NODES):
    """(ticks, E, N, N) chances of nodes at places (N,) on a road; to oneself, 0.5."""
    channel = open_channel(plain_radio(loss=loss), ENVS, nodes, receivers=tuple(range(nodes)))
    record = np.zeros((ticks, ENVS, nodes, nodes))
    for k in range(ticks):
        frames = frame_arrays(channel, k * TICK_US)
        frames["node_xy_m"][:, :, 1] = at_m + speed_mps * 0.1 * k
        channel.transmit(**frames)
        poll(channel, k * TICK_US)
        record[k] = channel._links.arrays.chance
    record[:, :, np.arange(nodes), np.arange(nodes)] = 0.5
    return record


@pytest.mark.parametrize(
    ("distance_m", "margin_db"),
    [(1.0, 16.5912), (3.0, 16.5912), (20.0, 10.0), (60.0, 6.1830), (120.0, -1.3427)],
)
def test_the_bare_margin_is_the_path_loss(distance_m: float, margin_db: float):
    """10 dB at 20 m, 0.8 decades up to 60 m, 2.5 beyond, and never nearer than 3 m; both ways."""
    loss = MarginLoss(**BARE | {"margin_20m_db": 10.0})
    chance = _chances(loss, 1, np.array([0.0, distance_m]), nodes=2)[0]
    assert np.allclose(_margin_db(chance[:, 0, 1]), margin_db, atol=1e-3)
    assert np.array_equal(chance[:, 0, 1], chance[:, 1, 0])


def test_shadowing_is_of_the_pair_and_forgets_with_the_way():
    """Spread 5 dB; the correlation is exp(-way / 12 m) moving, and by the floor at rest."""
    loss = MarginLoss(**BARE | {"margin_20m_db": 0.0, "exponent_near": 0.0, "exponent_far": 0.0})
    loss = loss.model_copy(
        update={"shadowing_sd_db": 5.0, "standstill_mps": 1.0, "shadowing_distance_m": 12.0}
    )
    at_m = 25.0 * np.arange(NODES)
    for speed_mps, way_m in ((20.0, 2.0), (0.0, 0.1)):
        margin = _margin_db(_chances(loss, 200, at_m, speed_mps))
        pairs = margin[:, :, *np.triu_indices(NODES, 1)].reshape(200, -1)
        assert np.allclose(margin, np.swapaxes(margin, 2, 3))
        assert abs(pairs[0].std() - 5.0) < 0.3, "the first move is stationary"
        assert abs(pairs[-1].std() - 5.0) < 0.3
        for lag in (1, 5):
            measured = (pairs[lag:] * pairs[:-lag]).mean() / pairs.var()
            assert abs(measured - np.exp(-lag * way_m / 12.0)) < 0.02


def test_the_slow_bias_is_directed_and_partly_common_to_a_receiver():
    """Spread 2 dB, correlation exp(-t / 10 s); links to one receiver share 40 % of the variance."""
    loss = MarginLoss(**BARE | {"margin_20m_db": 0.0, "exponent_near": 0.0, "exponent_far": 0.0})
    loss = loss.model_copy(
        update={"bias_sd_db": 2.0, "bias_time_s": 10.0, "bias_common_share": 0.4}
    )
    margin = _margin_db(_chances(loss, 300, 25.0 * np.arange(NODES)))
    off = ~np.eye(NODES, dtype=bool)
    links = margin[:, :, off]
    assert abs(links[0].std() - 2.0) < 0.1
    assert abs((links[20:] * links[:-20]).mean() / links.var() - np.exp(-0.2)) < 0.02
    both = np.concatenate([margin[0], margin[-1]])
    same = [(both[:, i, j] * both[:, i, k]).mean() for i, j, k in _triples()]
    other = [(both[:, i, j] * both[:, k, j]).mean() for i, j, k in _triples()]
    assert abs(np.mean(same) / 4.0 - 0.4) < 0.06
    assert abs(np.mean(other) / 4.0) < 0.04
    back = [(both[:, i, j] * both[:, j, i]).mean() for i, j, _ in _triples()]
    assert abs(np.mean(back) / 4.0) < 0.04


def _triples() -> list[tuple[int, int, int]]:
    nodes = range(NODES)
    return [(i, j, k) for i in nodes for j in nodes for k in nodes if len({i, j, k}) == 3]


def test_fading_blurs_the_step_and_is_rayleigh_far_away():
    """With m = 3 some frames get through below the margin; beyond 80 m it is m = 1."""
    table = reception_table(1.0)
    assert table.shape == (17, 1401)
    assert (np.diff(table, axis=1) >= -1e-15).all()
    at_0_db, at_10_db = table[:, 600], table[:, 700]
    # Without any smoothing Rayleigh fading passes 0.1 (-10 dB) with exp(-0.1) = 0.905.
    assert abs(at_10_db[0] - 0.900) < 0.01
    assert at_10_db[8] > 0.985
    assert 0.35 < at_0_db[0] < at_0_db[8] < 0.5
    flat = BARE | {"margin_20m_db": 10.0, "exponent_near": 0.0, "exponent_far": 0.0}
    loss = MarginLoss(**flat | {"fading_m": 3.0})
    chance = _chances(loss, 1, np.array([0.0, 79.9, 80.1]), nodes=3)[0, 0, 0]
    assert np.allclose(chance[1:], [at_10_db[8], at_10_db[0]])
    half_way = MarginLoss(**flat | {"fading_m": 2.1})
    chance = _chances(half_way, 1, np.array([0.0, 20.0]), nodes=2)[0, 0, 0, 1]
    assert np.isclose(chance, 0.6 * at_10_db[4] + 0.4 * at_10_db[5])


def _knots(*knots: tuple[float, float, float], **factors: float) -> GilbertElliottLoss:
    return GilbertElliottLoss(
        by_distance=tuple(
            LossKnot(distance_m=d, probability=p, mean_burst_frames=b) for d, p, b in knots
        ),
        **factors,
    )


def _fates(loss: GilbertElliottLoss, distance_m: float, frames: int) -> np.ndarray:
    """(frames, links) bool: what node 0 loses of eight others at one distance."""
    at_m = np.full(NODES, distance_m)
    at_m[0] = 0.0
    return _chances(loss, frames, at_m)[:, :, 0, 1:].reshape(frames, -1) == 0.0


def _bursts(fates: np.ndarray) -> np.ndarray:
    """Lengths of all bursts that begin and end within the record, link by link."""
    lengths = []
    for link in fates.T:
        edges = np.flatnonzero(np.diff(link.astype(np.int8)))
        starts, ends = edges[~link[edges]], edges[link[edges]]
        ends = ends[ends > starts[0]] if starts.size else ends[:0]
        lengths.append(ends - starts[: ends.size])
    return np.concatenate(lengths)


@pytest.mark.parametrize(("loss", "burst"), [(0.334, 2.11), (0.5, 1.0)])
def test_loss_and_mean_burst_of_the_chain_are_those_of_its_table(loss: float, burst: float):
    """Over half a million frames loss and mean burst are within four standard errors."""
    fates = _fates(_knots((0.0, loss, burst)), 30.0, 1000)
    enter, leave = loss / ((1.0 - loss) * burst), 1.0 / burst
    correlation = 1.0 - enter - leave
    spread = np.sqrt(loss * (1.0 - loss) * (1.0 + correlation) / (1.0 - correlation) / fates.size)
    assert abs(fates.mean() - loss) < 4.0 * spread + 1e-12
    # The record starts stationary: the very first frames are lost as often as all others.
    first = fates[:5].mean(axis=1)
    assert np.all(np.abs(first - loss) < 4.5 * np.sqrt(loss * (1.0 - loss) / fates.shape[1]))
    bursts = _bursts(fates)
    assert abs(bursts.mean() - burst) < 4.0 * np.sqrt(burst * (burst - 1.0) / bursts.size) + 0.012
    assert abs((bursts == 1).mean() - leave) < 4.0 * np.sqrt(leave / bursts.size) + 1e-12


def test_statistics_that_no_chain_has_are_refused():
    """Too much loss for so short bursts: the error names the knot and both ways out."""
    with pytest.raises(ValueError, match=r"at 50 m a loss of 0\.6") as refused:
        _knots((0.0, 0.1, 1.2), (50.0, 0.6, 1.2))
    assert "lower the loss to 0.5455" in str(refused.value)
    assert "raise the mean burst to 1.5" in str(refused.value)
    with pytest.raises(ValueError, match="loss 1 is possible only if every knot has it"):
        _knots((0.0, 0.5, 5.0), (50.0, 1.0, 5.0))
    with pytest.raises(ValueError, match=r"mean burst is 2 x burst_factor 0\.4 = 0\.8 frames"):
        _knots((0.0, 0.1, 2.0), burst_factor=0.4)
    with pytest.raises(ValueError, match="50 m follows 50 m"):
        _knots((50.0, 0.1, 2.0), (50.0, 0.2, 2.0))
    channel = open_channel(plain_radio(loss=_knots((0.0, 0.5, 2.0))), 1, 2)
    only = np.zeros(1, dtype=np.int64)
    with pytest.raises(EmulatorError, match="lower odds_factor or raise burst_factor"):
        channel.reset(only, fold(1, only), overrides={"radio.loss.odds_factor": np.array([2.5])})
