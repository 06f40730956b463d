"""The policy network reads a set: who is heard, not in which row, and nothing of empty rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import PPO
from stable_baselines3.common.policies import MultiInputActorCriticPolicy

from ml.errors import EnvironmentStateError
from ml.policies.deep_set_policy import (
    DeepSetExtractor,
    StudiedExtractor,
    create_deep_set_policy_kwargs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from support.tiny_convoys import TinyConvoys

EGO_F, PEER_F, MAX_PEERS = 12, 20, 8


def _convoy_space(**changed: tuple[int, ...]) -> spaces.Dict:
    shapes = {"ego": (EGO_F,), "peers": (MAX_PEERS, PEER_F), "peer_mask": (MAX_PEERS,)} | changed
    return spaces.Dict({k: spaces.Box(-10.0, 10.0, shape) for k, shape in shapes.items()})


def _extractor(seed: int = 0) -> DeepSetExtractor:
    torch.manual_seed(seed)
    return DeepSetExtractor(_convoy_space(), peer_embed_dim=32)


def _observation(seed: int, heard: list[bool]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(1, MAX_PEERS)
    mask[0, : len(heard)] = torch.tensor(heard, dtype=torch.float32)
    return {
        "ego": torch.randn(1, EGO_F, generator=generator),
        "peers": torch.randn(1, MAX_PEERS, PEER_F, generator=generator),
        "peer_mask": mask,
    }


masks = st.lists(st.booleans(), min_size=MAX_PEERS, max_size=MAX_PEERS)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), heard=masks, order=st.permutations(range(MAX_PEERS)))
def test_permuting_the_peers_changes_nothing(seed: int, heard: list[bool], order: list[int]):
    """Rows and mask permuted together give the same features."""
    net, given_rows = _extractor(), _observation(seed, heard)
    permuted = given_rows | {k: given_rows[k][:, order] for k in ("peers", "peer_mask")}
    torch.testing.assert_close(net(given_rows), net(permuted), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("garbage", [1e30, -1e30, float("nan"), float("inf"), -7.0])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), heard=masks)
def test_masked_rows_are_never_read(garbage: float, seed: int, heard: list[bool]):
    """Whatever stands in a masked row, the features are the same to the bit."""
    net, clean = _extractor(), _observation(seed, heard)
    filled = clean["peers"].masked_fill(clean["peer_mask"].unsqueeze(-1) == 0.0, garbage)
    assert torch.equal(net(clean), net(clean | {"peers": filled}))


def test_gradients_ignore_masked_rows():
    """A NaN in a masked row does not poison the weights' gradients."""
    net, obs = _extractor(), _observation(1, [True, False, True])
    obs["peers"][0, 1] = float("nan")
    net(obs).sum().backward()
    grads = [p.grad for p in net.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)
    assert any(g is not None and g.abs().sum() > 0 for g in grads)


def test_fewer_rows_of_padding_give_the_same_features():
    """Padding is not counted in the mean: three peers among three rows, or among eight."""
    torch.manual_seed(0)
    narrow = DeepSetExtractor(_convoy_space(peers=(3, PEER_F), peer_mask=(3,)))
    wide = DeepSetExtractor(_convoy_space())
    wide.load_state_dict(narrow.state_dict())
    obs = _observation(5, [True, True, True])
    cut = obs | {k: obs[k][:, :3] for k in ("peers", "peer_mask")}
    torch.testing.assert_close(wide(obs), narrow(cut), rtol=1e-6, atol=1e-6)


def test_a_peer_heard_twice_changes_nothing():
    """Pooling is over what is heard: doubling every peer leaves maximum and mean as they are."""
    net, obs = _extractor(), _observation(8, [True, True])
    doubled = obs["peers"].clone()
    doubled[:, 2:4] = obs["peers"][:, :2]
    mask = torch.tensor([[1.0] * 4 + [0.0] * 4])
    twice = net(obs | {"peers": doubled, "peer_mask": mask})
    torch.testing.assert_close(net(obs), twice, rtol=1e-6, atol=1e-6)


def test_no_peers_pool_to_zeros():
    """With nobody heard the ego's features stand alone, followed by zeros."""
    net, obs = _extractor(), _observation(2, [])
    features = net(obs)
    assert torch.equal(features[:, :EGO_F], obs["ego"])
    assert torch.count_nonzero(features[:, EGO_F:]) == 0


def test_each_heard_peer_matters():
    """Removing any one of the peers that are heard changes the features."""
    net, obs = _extractor(), _observation(3, [True, True, True, True])
    for row in range(4):
        fewer = obs["peer_mask"].clone()
        fewer[0, row] = 0.0
        assert not torch.equal(net(obs), net(obs | {"peer_mask": fewer}))


def test_the_batch_is_independent():
    """The features of a convoy do not depend on the others in its batch."""
    net, first, second = _extractor(), _observation(6, [True] * 3), _observation(7, [True] * 5)
    both = {k: torch.cat([first[k], second[k]]) for k in first}
    torch.testing.assert_close(net(both)[:1], net(first), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "changed", [{"ego": (3, 4)}, {"peers": (MAX_PEERS,)}, {"peer_mask": (MAX_PEERS + 1,)}]
)
def test_a_space_of_another_shape_is_refused(changed: dict[str, tuple[int, ...]]):
    """The message shows the shapes that were given and those that are needed."""
    with pytest.raises(EnvironmentStateError, match=r"peers \(max_peers, PEER_F\)"):
        DeepSetExtractor(_convoy_space(**changed))


def _build_policy(**kwargs: Any) -> MultiInputActorCriticPolicy:
    return MultiInputActorCriticPolicy(
        _convoy_space(),
        spaces.Box(-1.0, 1.0, (1,), np.float32),
        lambda _: 3e-4,
        **create_deep_set_policy_kwargs(**kwargs),
    )


def test_the_policy_is_small_and_starts_calm():
    """Under 20,000 parameters; actions start near zero with the configured deviation."""
    torch.manual_seed(0)
    policy = _build_policy(log_std_init=-1.0)
    assert sum(p.numel() for p in policy.parameters()) < 20_000
    assert torch.allclose(policy.log_std, torch.tensor(-1.0))
    obs = {k: v.numpy() for k, v in _observation(4, [True] * 4).items()}
    action, _ = policy.predict(obs, deterministic=True)
    assert np.abs(action).max() < 0.1


def test_ppo_saves_and_plain_sb3_loads(tmp_path: Path, tiny_convoys: type[TinyConvoys]):
    """`PPO.load` needs nothing but the file, and the loaded policy acts the same."""
    model = PPO(
        "MultiInputPolicy",
        tiny_convoys(num_envs=2),
        n_steps=8,
        batch_size=16,
        policy_kwargs=create_deep_set_policy_kwargs(peer_embed_dim=16),
        device="cpu",
        seed=1,
    ).learn(16)
    model.save(tmp_path / "model.zip")
    loaded = PPO.load(tmp_path / "model.zip", device="cpu")
    obs = tiny_convoys(num_envs=2).reset()
    np.testing.assert_array_equal(
        model.predict(obs, deterministic=True)[0], loaded.predict(obs, deterministic=True)[0]
    )


def test_hidden_columns_change_nothing_and_are_kept_with_the_weights():
    """Whatever stands in them; another network that gets the weights hides them, too."""
    net = StudiedExtractor(_convoy_space(), hidden_ego=(3,), hidden_peers=(0, 5))
    other = StudiedExtractor(_convoy_space())
    other.load_state_dict(net.state_dict())
    seen = _observation(2, [True, True])
    changed = {name: rows.clone() for name, rows in seen.items()}
    changed["ego"][:, 3] += 7.0
    changed["peers"][:, :, (0, 5)] -= 7.0
    for each in (net, other):
        assert torch.equal(each(seen), each(changed))
    assert not torch.equal(net.network(seen), net.network(changed))


def test_mean_pooling_leaves_the_maximum_out():
    """The features of the maximum are zeros; those of the ego and the mean are the network's."""
    net, seen = StudiedExtractor(_convoy_space(), pooling="mean"), _observation(3, [True, True])
    features, whole = net(seen), net.network(seen)
    assert not features[0, EGO_F : EGO_F + 32].any()
    assert torch.equal(features[0, :EGO_F], whole[0, :EGO_F])
    assert torch.equal(features[0, EGO_F + 32 :], whole[0, EGO_F + 32 :])


def test_a_study_that_hides_nothing_is_the_network_itself():
    """The shipped network has no buffers; a study wraps it, with the same weights from a seed."""
    plain = _extractor()
    assert list(plain.buffers()) == []
    torch.manual_seed(0)
    wrapped, seen = StudiedExtractor(_convoy_space()), _observation(4, [True] * 5)
    assert torch.equal(plain(seen), wrapped(seen))
