"""`ConvoyVectorEnv`: the batch as a Gymnasium vector environment, for learners that expect one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ml.arrays import Bools
from ml.envs.arguments import config_of, read_options
from ml.envs.config import EnvConfig
from ml.envs.convoy_vec_env import ConvoyVecEnv
from ml.errors import ConfigError, RenderModeError
from ml.onboard.observation.spec import Observation


class ConvoyVectorEnv(VectorEnv[Any, Any, Any]):
    """Many convoys on one SUMO, as `gymnasium.make_vec("RoadSense-Convoy-v0", num_envs=64)` makes.

    Spaces of a single convoy are those of `ml.envs.convoy_env.ConvoyEnv`. A convoy whose episode
    ends begins its next one in the same step (`AutoresetMode.SAME_STEP`): the observation returned
    is the next episode's first, `infos["final_obs"][i]` is the last of the old one, and
    `infos["final_info"]` holds its `episode_summary`. In every step `infos["cost"]`, (num_envs,)
    float64, says how dangerous the tick was (`ConvoyEnv`), for constrained learners.

    Args:
        num_envs: Convoys in the batch.
        config: A whole configuration, or its values as a mapping; None for the defaults.
        render_mode: None; a batch has no pictures.
        seed: Of every draw until `reset` is given one.
        sumo_host: Host of a running SUMO (backend `traci`); None starts one.
        sumo_port: Its TraCI port.
        arguments: Instead of `config`: `sumo_cfg`, `backend`, `num_peers`, `radio`, or any field of
            `EnvConfig`.

    Attributes:
        convoys: The same batch as a Stable-Baselines3 `VecEnv`.

    Raises:
        ConfigError: An argument is not one of the allowed.
        RenderModeError: Pictures were asked for.
        ScenarioError: The sumocfg cannot carry a convoy.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        config: EnvConfig | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        seed: int = 0,
        sumo_host: str | None = None,
        sumo_port: int | None = None,
        **arguments: str | Path | int | tuple[int, int] | None,
    ) -> None:
        if render_mode is not None:
            raise RenderModeError(
                f"render_mode = {render_mode!r}: a batch has no pictures. Make a single one, "
                "gymnasium.make('RoadSense-Convoy-v0', ...), to watch it."
            )
        given = {
            "scenario" if name == "sumo_cfg" else name: value
            for name, value in arguments.items()
            if value is not None
        }
        if config is not None and given:
            raise ConfigError(
                f"config and {', '.join(given)} were given; a config holds them all, so give either"
            )
        self.convoys = ConvoyVecEnv(
            num_envs,
            config_of(given) if config is None else config,
            seed=seed,
            sumo_host=sumo_host,
            sumo_port=sumo_port,
        )
        self.num_envs = num_envs
        self.single_observation_space = self.convoys.observation_space
        self.single_action_space = self.convoys.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.render_mode = None

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin the next episode of every convoy; with a seed, the first of that seed.

        Args:
            seed: One for the batch, whose convoys draw by their number; None goes on.
            options: `{"episode": "hazard" | "benign" | "free"}` forces the kind.

        Returns:
            The first observation, arrays (num_envs, …), and an empty info.

        Raises:
            ConfigError: There are several seeds, or an option is unknown.
        """
        if not (seed is None or isinstance(seed, int | np.integer)):
            raise ConfigError(
                f"seed = {seed!r}: the convoys of a batch share one seed and differ by their "
                "number; give one integer."
            )
        kind = read_options(options)
        if seed is not None:
            self.convoys.seed(int(seed))
        self.convoys.set_options({} if kind is None else {"episode": kind})
        observation = self.convoys.reset()
        return cast("Observation", observation), {}

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[Observation, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Drive for a tick of 0.1 s; convoys whose episode ends begin their next one.

        Args:
            actions: (num_envs, 1) numbers in [−1, 1].

        Raises:
            EnvironmentStateError: The actions are wrong.
            SimulatorError: SUMO failed, or was lost and did not come back.
        """
        observation, reward, ended, found = self.convoys.step(actions)
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        everyone = np.ones(self.num_envs, dtype=np.bool_)
        infos: dict[str, Any] = {"cost": self.convoys.batch.cost.copy(), "_cost": everyone}
        for row in np.flatnonzero(ended):
            truncated[row] = found[row]["TimeLimit.truncated"]
            last = {
                "final_obs": found[row]["terminal_observation"],
                "final_info": {"episode_summary": found[row]["episode_summary"]},
            }
            infos = self._add_info(infos, last, int(row))
        seen = cast("Observation", observation)
        return seen, reward.astype(np.float64), ended & ~truncated, truncated, infos

    @property
    def batch(self) -> Any:
        """The `ml.envs.convoy_batch.ConvoyBatch` behind it, with ground truth in arrays."""
        return self.convoys.batch

    def close_extras(self, **kwargs: Any) -> None:
        """End SUMO."""
        del kwargs
        self.convoys.close()
