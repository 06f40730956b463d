from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml.keyed_random import (
    Stream,
    extend,
    extend_one,
    fill_normals,
    fold,
    normal,
    normal_pair_one,
    text_key,
    uniform,
    uniform_one,
)

GOLDEN_KEYS = [3435578002447734108, 6951105908394997573, 10795733860528299290]
GOLDEN_UNIFORMS = [0.43775600474440823, 0.5069350657438018, 0.5331771269611756]
GOLDEN_TEXT = 7727038445840812001
WORDS = st.integers(-(2**63), 2**63 - 1)


def test_draws_are_the_same_for_ever():
    """The generator's numbers are a contract: a seed of today gives the same runs tomorrow."""
    assert [int(k) for k in fold(7, [1, 2, -3], Stream.GPS)] == GOLDEN_KEYS
    assert uniform(fold(7, [1, 2, -3])).tolist() == GOLDEN_UNIFORMS
    assert text_key("car-1") == GOLDEN_TEXT


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**200))
def test_no_bit_of_a_seed_is_lost(low: int, rest: int):
    """A seed beyond 64 bits is not the seed that its lowest word would be, nor its neighbour."""
    seed = low + (rest << 64)
    others = [low, seed + 1, seed + (1 << 64), low + (rest << 128)]
    assert not {int(fold(other, 5)[0]) for other in others} & {int(fold(seed, 5)[0])}


def test_seeds_whose_words_are_alike_are_seeds_of_their_own():
    """High and low words that agree in bits do not cancel out."""
    seeds = [low + (high << 64) for low in range(64) for high in range(64)]
    assert len({int(fold(seed, 5)[0]) for seed in seeds}) == len(seeds)


@given(WORDS, WORDS, WORDS)
def test_a_draw_does_not_depend_on_the_array_around_it(key: int, part: int, other: int):
    """The same key and part give the same draw alone and within any array."""
    alone = fold(key, part)
    together = fold([key, other], [[part], [other]])
    assert together.shape == (2, 2)
    assert together[0, 0] == alone[0]
    assert uniform(together)[0, 0] == uniform(alone)[0]


@given(WORDS, WORDS, WORDS)
def test_extend_adds_one_part(key: int, first: int, second: int):
    """A key folded once per episode and extended per tick is the key folded at once."""
    assert extend(fold(key, first), second)[0] == fold(key, first, second)[0]


def test_neighbouring_keys_are_unrelated():
    """Consecutive counters, seeds and streams give uncorrelated uniform draws of full range."""
    n = 40_000
    by_counter = uniform(fold(1, Stream.GPS, np.arange(n)))
    by_seed = uniform(fold(np.arange(n), Stream.GPS, 1))
    by_stream = uniform(fold(1, Stream.GPS_COMMON, np.arange(n)))
    for draws in (by_counter, by_seed, by_stream):
        assert 0.0 <= draws.min() < 1e-3
        assert 1.0 - 1e-3 < draws.max() < 1.0
        counts, _ = np.histogram(draws, bins=64, range=(0.0, 1.0))
        chi_square = ((counts - n / 64) ** 2 / (n / 64)).sum()
        assert 25.0 < chi_square < 115.0  # 63 degrees of freedom, outside has p < 1e-4
    bound = 4.0 / np.sqrt(n)
    assert abs(np.corrcoef(by_counter[:-1], by_counter[1:])[0, 1]) < bound
    assert abs(np.corrcoef(by_counter, by_stream)[0, 1]) < bound
    assert abs(np.corrcoef(by_counter, by_seed)[0, 1]) < bound


def test_normal_pairs_are_standard_normal_and_uncorrelated():
    """Both draws of a pair have mean 0, variance 1 and normal tails, and do not know each other."""
    n = 200_000
    keys = fold(3, Stream.SPEED_SENSOR, np.arange(n))
    first, second = np.array([normal_pair_one(key) for key in keys]).T
    np.testing.assert_allclose(first, normal(keys), rtol=0.0, atol=1e-13)
    for draws in (first, second):
        assert abs(draws.mean()) < 4.0 / np.sqrt(n)
        assert abs(draws.var() - 1.0) < 4.0 * np.sqrt(2.0 / n)
        for limit, share in ((1.0, 0.317311), (2.0, 0.045500), (3.0, 0.002700)):
            beyond = (np.abs(draws) > limit).mean()
            assert abs(beyond - share) < 4.0 * np.sqrt(share / n)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.0 / np.sqrt(n)
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 4.0 / np.sqrt(n)


def test_a_draw_inside_a_compiled_loop_is_the_draw_of_the_array():
    """Keys and uniform draws agree to the bit, normal draws to rounding."""
    keys = fold(5, np.arange(2000))
    parts = np.arange(2000) - 1000
    extended = extend(keys, parts)
    one_by_one = [extend_one(key, int(part)) for key, part in zip(keys, parts, strict=True)]
    assert [int(key) for key in one_by_one] == extended.tolist()
    assert [uniform_one(key) for key in keys] == uniform(keys).tolist()
    first = [normal_pair_one(key)[0] for key in keys]
    np.testing.assert_allclose(first, normal(keys), rtol=0.0, atol=1e-13)


def test_many_normal_draws_in_a_loop_are_those_one_by_one():
    """Made in one go they have the same bits, however many there are, and no others are touched."""
    for count in (0, 1, 7, 8, 51):
        keys = fold(13, np.arange(60))
        draws, turns = np.full(60, np.nan), np.zeros(60)
        fill_normals(count, keys, -4, turns, draws)
        assert draws[:count].tolist() == [
            normal_pair_one(np.uint64(extend_one(key, -4)))[0] for key in keys[:count]
        ]
        assert np.isnan(draws[count:]).all()


def test_normal_draws_are_box_and_mullers_of_the_uniform_ones():
    """The series for sine and cosine agrees with the mathematics library."""
    keys = fold(11, np.arange(20_000))
    radius = np.sqrt(-2.0 * np.log1p(-uniform(keys)))
    angle = 2.0 * np.pi * uniform(keys ^ np.uint64(0xBF58476D1CE4E5B9))
    first, second = np.array([normal_pair_one(key) for key in keys]).T
    np.testing.assert_allclose(first, radius * np.cos(angle), rtol=0.0, atol=1e-14)
    np.testing.assert_allclose(second, radius * np.sin(angle), rtol=0.0, atol=1e-14)
