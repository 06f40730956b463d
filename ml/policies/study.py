"""The network with something taken away, for studies of what that is worth (`roadsense ablate`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from ml.policies.deep_set_policy import DeepSetExtractor

if TYPE_CHECKING:
    from gymnasium import spaces

Pooling: TypeAlias = Literal["max and mean", "mean"]


class StudiedExtractor(BaseFeaturesExtractor):
    """A `DeepSetExtractor` that takes some of its inputs, or the maximum of its peers, for 0.

    Its factors of 0 and 1 are saved with the weights: a model that was loaded hides the same.

    Args:
        observation_space: See `DeepSetExtractor`.
        peer_embed_dim: Width of a peer's embedding.
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


def studied(policy_kwargs: dict[str, Any], **study: Any) -> dict[str, Any]:
    """Return `policy_kwargs` of Deep Sets with further arguments, of `StudiedExtractor`."""
    return policy_kwargs | {
        "features_extractor_class": StudiedExtractor,
        "features_extractor_kwargs": policy_kwargs["features_extractor_kwargs"] | study,
    }
