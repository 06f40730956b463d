"""A policy network for a set of peers: order and number of the cars heard do not matter.

Each peer's row goes through the same small network φ; the results are pooled over the peers that
the mask marks as heard (maximum and mean), and join the ego's features (Zaheer et al., "Deep
Sets", NeurIPS 2017). What stands in a masked row is never read. With no peer heard the pooled
features are zeros.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from ml.errors import EnvironmentStateError

DEFAULT_LOG_STD_INIT = -0.7
"""Initial log standard deviation of the action: 0.5 of the half range, so that a fresh policy
brakes with up to 4 m/s² (one sigma) rather than slamming both pedals at every tick."""

Pooling: TypeAlias = Literal["max and mean", "mean"]
_HIDDEN_UNITS = 32
_HEAD_UNITS = (64, 32)


class DeepSetExtractor(BaseFeaturesExtractor):
    """Features of `Dict(ego, peers, peer_mask)`; permutation- and padding-invariant.

    Args:
        observation_space: Dict of `ego` (EGO_F,), `peers` (max_peers, PEER_F) and `peer_mask`
            (max_peers,), all float32; a mask value above 0.5 marks a peer that was heard.
        peer_embed_dim: Width of a peer's embedding. The features are `EGO_F + 2 · peer_embed_dim`:
            the ego's own, the maximum and the mean of the embeddings.

    Raises:
        EnvironmentStateError: The space has other keys or shapes.
    """

    def __init__(self, observation_space: spaces.Dict, peer_embed_dim: int = 32) -> None:
        shapes = {name: space.shape or () for name, space in observation_space.spaces.items()}
        ego, peers, mask = (shapes.get(name, ()) for name in ("ego", "peers", "peer_mask"))
        if (len(ego), len(peers), len(mask)) != (1, 2, 1) or peers[0] != mask[0]:
            raise EnvironmentStateError(
                f"the observation space is {shapes}; the Deep Sets extractor needs ego (EGO_F,), "
                "peers (max_peers, PEER_F) and peer_mask (max_peers,). Use it with "
                "RoadSense-Convoy-v0 or ConvoyVecEnv."
            )
        super().__init__(observation_space, features_dim=ego[0] + 2 * peer_embed_dim)
        self.phi = nn.Sequential(
            nn.Linear(peers[1], _HIDDEN_UNITS),
            nn.ReLU(),
            nn.Linear(_HIDDEN_UNITS, peer_embed_dim),
            nn.ReLU(),
        )

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return features of shape (batch, features_dim) float32.

        Args:
            observations: `ego` (batch, EGO_F), `peers` (batch, max_peers, PEER_F) and `peer_mask`
                (batch, max_peers), float32.
        """
        heard = (observations["peer_mask"] > 0.5).unsqueeze(-1)  # noqa: PLR2004 (0 or 1, as float)
        # Zeroed before φ, not after: a NaN in a masked row would survive a multiplication by 0
        # in the backward pass.
        embedded = self.phi(torch.where(heard, observations["peers"], 0.0))
        # φ ends in a ReLU, so 0 is at once the neutral element of the sum and a lower bound for
        # the maximum: one masking serves both, and an empty set pools to zeros.
        embedded = torch.where(heard, embedded, 0.0)
        count = heard.sum(dim=1).clamp(min=1)
        pooled_max = embedded.amax(dim=1)
        pooled_mean = embedded.sum(dim=1) / count
        return torch.cat([observations["ego"], pooled_max, pooled_mean], dim=1)


class StudiedExtractor(BaseFeaturesExtractor):
    """A `DeepSetExtractor` that takes some inputs, or the maximum of its peers, for 0: a study's.

    Its factors of 0 and 1 are saved with the weights: a model that was loaded hides the same.

    Args:
        hidden_ego: Columns of `ego` that are taken for 0.
        hidden_peers: Columns of `peers` that are taken for 0.
        pooling: "mean" leaves the maximum out.
    """

    shown_ego: torch.Tensor
    shown_peers: torch.Tensor
    used: torch.Tensor

    def __init__(
        self,
        observation_space: spaces.Dict,
        peer_embed_dim: int = 32,
        *,
        hidden_ego: Sequence[int] = (),
        hidden_peers: Sequence[int] = (),
        pooling: Pooling = "max and mean",
    ) -> None:
        network = DeepSetExtractor(observation_space, peer_embed_dim)
        super().__init__(observation_space, network.features_dim)
        self.network = network
        ego, peers = ((observation_space[name].shape or (0,))[-1] for name in ("ego", "peers"))
        maximum = range(ego, ego + peer_embed_dim) if pooling == "mean" else ()
        for name, size, hidden in (
            ("shown_ego", ego, hidden_ego),
            ("shown_peers", peers, hidden_peers),
            ("used", network.features_dim, maximum),
        ):
            factors = torch.ones(size)
            factors[list(hidden)] = 0.0
            self.register_buffer(name, factors)

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return features of shape (batch, features_dim) float32, of observations as they come."""
        shown = {
            "ego": observations["ego"] * self.shown_ego,
            "peers": observations["peers"] * self.shown_peers,
        }
        features: torch.Tensor = self.network(observations | shown)
        return features * self.used


def create_deep_set_policy_kwargs(
    peer_embed_dim: int = 32, *, log_std_init: float = DEFAULT_LOG_STD_INIT
) -> dict[str, Any]:
    """Return `policy_kwargs` for `PPO("MultiInputPolicy", …)`.

    One extractor is shared by actor and critic; each has a head of its own. Weights start
    orthogonal (SB3's default), the action's last layer near zero: a fresh policy holds its speed.
    `log_std_init` is the initial logarithm of the action's standard deviation, in action units.
    """
    return {
        "features_extractor_class": DeepSetExtractor,
        "features_extractor_kwargs": {"peer_embed_dim": peer_embed_dim},
        "share_features_extractor": True,
        "net_arch": {"pi": list(_HEAD_UNITS), "vf": list(_HEAD_UNITS)},
        "activation_fn": nn.Tanh,
        "ortho_init": True,
        "log_std_init": log_std_init,
    }


def studied(policy_kwargs: dict[str, Any], **study: Any) -> dict[str, Any]:
    """Return `policy_kwargs` of Deep Sets with further arguments, of `StudiedExtractor`."""
    return policy_kwargs | {
        "features_extractor_class": StudiedExtractor,
        "features_extractor_kwargs": policy_kwargs["features_extractor_kwargs"] | study,
    }
