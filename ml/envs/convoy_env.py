"""`ConvoyEnv`, registered as `RoadSense-Convoy-v0`: a batch of one as a Gymnasium environment."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from ml.envs.arguments import config_of, plain_arguments, read_actions, read_config, read_options
from ml.envs.config import KINDS, EnvConfig
from ml.envs.convoy_batch import ConvoyBatch
from ml.envs.episodes.drawn import HAZARD
from ml.envs.scoring.termination import EpisodeStatus
from ml.envs.spaces import observation_space
from ml.envs.truth.ground_truth import GroundTruth
from ml.envs.worlds.recovery import SUMO_LOST
from ml.errors import ConfigError, RenderModeError
from ml.onboard.observation.spec import Observation
from ml.sumo.protocol import SumoAccess
from ml.vehicle import DT_S

Backend = Literal["libsumo", "traci"]


def make(**arguments: Any) -> "ConvoyEnv":
    """Make a `ConvoyEnv`; what `gymnasium.make` calls.

    A function, not the class: of a class Gymnasium knows the render modes, and warns of every
    other.
    """
    return ConvoyEnv(**arguments)


class ConvoyEnv(gym.Env[dict[str, Any], "NDArray[np.float32]"]):
    """The last car of a convoy, which knows the cars ahead by ESP-NOW radio alone.

    **Action** `Box(-1, 1, (1,), float32)`: longitudinal acceleration. −1 is −8 m/s², 0 holds the
    speed, +1 is +2.6 m/s², linear on either side. It is realised within the tick (0.1 s).

    **Observation** `Dict(ego (21,), peers (8, 23), peer_mask (8,))`, float32 with finite bounds;
    `docs/observation.md` has the table. It holds only what the board could compute itself: its
    own sensors and the messages that have arrived, with their estimated age.

    **Reward** the weighted sum of `headway`, `safety`, `collision`, `comfort` and `false_braking`
    (`ml.envs.scoring.reward`), from ground truth.

    **Start** one to eight cars ahead in near equilibrium, at 8–33 m/s as far as the road allows.
    The kind of episode is drawn (`hazard`, `benign`, `free`) or forced with
    `reset(options={"episode": "hazard"})`.

    **End** terminated by a collision of the ego with the car in front; truncated after 50 s, when
    the first car comes near the road's end, or when the episode turns out invalid (peers collided,
    a vehicle is missing: `info["status"]`), or when SUMO is lost over TraCI; the next reset then
    starts or reaches another.

    **Info** the truth: `collision`, `gap_m`, `realised_accel_mps2`, `commanded_accel_mps2`,
    `hazard_active`, `status`, `peer_age_s` (per peer, true age of its newest message, None if
    never heard), `cost` (for constrained learners: how dangerous the tick was, 0 to 2, what the
    terms `safety` and `collision` charge without their weights), and `episode_summary` at the end.

    **Versions** v0: first.

    Args:
        sumo_cfg: A scenario's name or the path of a sumocfg with a route called `convoy` (or a
            single route); None for the default scenario.
        render_mode: None, "rgb_array" for pictures of ground truth, (200, 800, 3) uint8, or
            "human", which opens sumo-gui (backend `traci` and a display needed).
        backend: "libsumo" (SUMO in this process, the default) or "traci".
        num_peers: Cars ahead: a number, or the (fewest, most) of a draw; None for (1, 8).
        radio: A radio preset's name or a parameter file; None for "clean".
        config: A whole configuration, instead of the arguments above; an `EnvConfig`, or its
            values as `EnvConfig(...).model_dump(mode="json")` returns them.
        sumo_host: Host of a running SUMO (backend `traci`); None starts one.
        sumo_port: Its TraCI port.
        gui: Open sumo-gui (backend `traci` and a display needed).

    Raises:
        ConfigError: An argument is not one of the allowed.
        RenderModeError: It is none of these, or there is no display.
        ScenarioError: The sumocfg cannot carry a convoy.
        ParameterError: The radio's parameter file is missing or wrong.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1.0 / DT_S)}  # noqa: RUF012
    _spec: EnvSpec | None = None

    def __init__(
        self,
        sumo_cfg: str | Path | None = None,
        render_mode: str | None = None,
        backend: Backend | None = None,
        num_peers: int | tuple[int, int] | None = None,
        radio: str | Path | None = None,
        *,
        config: EnvConfig | Mapping[str, Any] | None = None,
        sumo_host: str | None = None,
        sumo_port: int | None = None,
        gui: bool = False,
    ) -> None:
        if _has_display():  # gymnasium declares it per instance
            self.metadata = {**self.metadata, "render_modes": ["rgb_array", "human"]}
        if render_mode is not None:
            _require_mode(render_mode)
        if render_mode == "human":
            gui = True
            backend = "traci" if backend is None and config is None else backend
        arguments = {
            "scenario": sumo_cfg,
            "backend": backend,
            "num_peers": num_peers,
            "radio": radio,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        if config is None:
            config = config_of(given)
        elif given:
            raise ConfigError(
                f"config and {', '.join(given)} were given; a config holds them all, so give "
                "either, for example config=EnvConfig(radio='bursty')."
            )
        self.render_mode = render_mode
        self.observation_space = observation_space()
        self.action_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)
        sumo = SumoAccess(sumo_host, sumo_port, gui)
        self.batch = ConvoyBatch(read_config(config), num_envs=1, sumo=sumo)
        self._seeded = False
        self._seen: Observation = {}

    @property
    def spec(self) -> EnvSpec | None:
        """How `gymnasium.make` has made this environment, in plain values: `to_json` works."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = spec and replace(spec, kwargs=plain_arguments(spec.kwargs))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Start the sequence of episodes of this seed; None goes on with the next episode.
            options: `{"episode": "hazard" | "benign" | "free"}` forces the kind.

        Returns:
            The first observation and info.

        Raises:
            ConfigError: An unknown option.
        """
        super().reset(seed=seed)
        kind = read_options(options)
        if seed is not None:
            self.batch.reseed(seed)
        elif not self._seeded:
            self.batch.reseed(int(self.np_random.integers(2**31)))
        self._seeded = True
        self._seen = _single(self.batch.reset(kind=kind))
        return self._seen, self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Drive for a tick of 0.1 s.

        Raises:
            EnvironmentStateError: The episode has ended, or the action is no number in [−1, 1].
            SimulatorError: SUMO failed, or is lost again and again.
        """
        batch = self.batch
        reward = 0.0
        accel_mps2 = read_actions(action, (1,))
        try:
            tick = batch.step(
                accel_mps2,
                lambda traffic, now_us: self._step_espnow(traffic, int(now_us[0]) // 1000),
            )
        except SUMO_LOST as error:
            batch.lose(error)
        else:
            self._seen, reward = _single(tick.observation), float(tick.reward[0])
        status = EpisodeStatus(int(batch.status[0]))
        info = self._info()
        if status is not EpisodeStatus.RUNNING:
            info["episode_summary"] = batch.summary(0)
        terminated = status is EpisodeStatus.COLLISION
        truncated = status not in {EpisodeStatus.RUNNING, EpisodeStatus.COLLISION}
        return self._seen, reward, terminated, truncated, info

    def _step_espnow(self, ego_state: GroundTruth, current_time_ms: int) -> Observation:
        """Let the radio work for a tick: all peers transmit, then the ego polls, then it observes.

        Transmission is fire and forget; what the ego knows comes from polling alone.

        Args:
            ego_state: Where the ego and the others really are, for the distances on the air.
            current_time_ms: Time since reset.

        Returns:
            The observation of a batch of one.
        """
        return self.batch.communicate(ego_state, np.array([current_time_ms * 1000]))

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture, (200, 800, 3) uint8, of what is; None where another mode was asked for.

        Raises:
            EnvironmentStateError: No episode has begun, or the environment is closed.
        """
        return self.batch.picture(0) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """End SUMO; may be called twice."""
        self.batch.close()

    def _info(self) -> dict[str, Any]:
        batch = self.batch
        truth, plan, status = batch.truth, batch.plan, EpisodeStatus(int(batch.status[0]))
        peers = int(plan.num_peers[0])
        table = batch.peer_table
        age_us = table.age_true_us(batch.now_us)[0, 0]
        ages = [float(age_us[i]) / 1e6 if table.heard[0, 0, i] else None for i in range(peers)]
        return {
            "episode_kind": KINDS[int(plan.kind[0])],
            "num_peers": peers,
            "collision": status is EpisodeStatus.COLLISION,
            "status": status.name.lower(),
            "gap_m": float(truth.gap_m[0]),
            "ego_speed_mps": float(truth.speed_mps[0, 0]),
            "commanded_accel_mps2": float(batch.commanded_accel_mps2[0]),
            "realised_accel_mps2": float(truth.accel_mps2[0, 0]),
            "hazard_active": bool(plan.kind[0] == HAZARD and batch.braking_now[0]),
            "peer_age_s": ages,
            "cost": float(batch.cost[0]),
        }


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY"))


def _require_mode(render_mode: str) -> None:
    """Refuse what cannot be drawn.

    Raises:
        RenderModeError: With the modes that there are.
    """
    if render_mode not in ("rgb_array", "human"):
        raise RenderModeError(
            f"render_mode = {render_mode!r}; allowed are None, 'rgb_array' and, where a display "
            "is, 'human'."
        )
    if render_mode == "human" and not _has_display():
        raise RenderModeError(
            "render_mode = 'human' opens sumo-gui, and the environment variable DISPLAY is not "
            "set. Run it in a desktop session, or ask for 'rgb_array'."
        )


def _single(observation: Observation) -> Observation:
    return {key: rows[0] for key, rows in observation.items()}
