"""PPO's update, its gradient computed in parts that may come from several processes.

The same update as Stable-Baselines3's `PPO.train`, up to rounding, on the same minibatches. A
minibatch is cut into a fixed number of parts. The gradient of a part is a pure function of the
weights, the rows of the rollout and the numbers in `Minibatch`; the parts are summed in their
order. So the weights after an update are the same to the bit, whoever has computed the parts.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.utils import explained_variance

from ml.compiled import compiled
from ml.errors import NotLearningError
from ml.policies.gradient import Floats, Layout, backward, flat_parameters, forward

PARTS = 4
"""Of a minibatch: as many processes can share its work."""
_SMALLEST_PART = 128
"""Rows. A minibatch with fewer for each part is one part."""
_LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)
_MOMENTS = "exp_avg", "exp_avg_sq"


class Rollout(NamedTuple):
    """What was seen and done, one row a tick and convoy; all arrays float32.

    Attributes:
        ego: (n, EGO_F).
        peers: (n, max_peers, PEER_F).
        peer_mask: (n, max_peers).
        actions: (n, actions), not clipped.
        values: (n,), by the critic that was.
        log_probs: (n,), of the actions by the policy that was.
        advantages: (n,).
        returns: (n,).
    """

    ego: Floats
    peers: Floats
    peer_mask: Floats
    actions: Floats
    values: Floats
    log_probs: Floats
    advantages: Floats
    returns: Floats

    @classmethod
    def of(cls, buffer: DictRolloutBuffer) -> "Rollout":
        """Return views of a buffer's arrays (n_steps, n_envs, …), the steps one after the other."""
        seen = (buffer.observations[name] for name in cls._fields[:3])
        rest = (getattr(buffer, name) for name in cls._fields[3:])
        arrays = (np.ascontiguousarray(array, np.float32) for array in (*seen, *rest))
        return cls(*(array.reshape(-1, *array.shape[2:]) for array in arrays))


class Minibatch(NamedTuple):
    """What the gradient of a part needs to know of its whole minibatch."""

    size: float
    advantage_mean: float
    advantage_scale: float
    clip_range: float
    clip_range_vf: float
    """Infinite where values are not clipped."""
    ent_coef: float
    vf_coef: float


class Figures(NamedTuple):
    """Means over a minibatch, or a part's share in them."""

    policy_gradient_loss: float
    value_loss: float
    entropy_loss: float
    approx_kl: float
    clip_fraction: float


class Gradients(Protocol):
    """Computes gradients of minibatches of one rollout.

    Attributes:
        parameters: (size,) float32, the weights to compute it at; whoever has new ones writes them
            here between two calls.
    """

    parameters: Floats

    def load(self, rollout: Rollout) -> None:
        """Take the rollout, which stays as it is until the next one."""

    def of(self, rows: NDArray[np.int64], minibatch: Minibatch) -> tuple[Floats, Figures]:
        """Return the gradient (size,) float32 of the loss of those rows of the rollout."""


class Helpers(Protocol):
    """Others who compute parts, each with the `Exchange` before its eyes.

    Attributes:
        members: How many share the work, this process among them as member 0.
    """

    members: int

    def begin(self) -> None:
        """Let each other member compute its parts; see `GradientParts.compute`."""

    def end(self) -> list[int]:
        """Wait for them; return the members that were lost, whose parts are missing."""


class Exchange(NamedTuple):
    """The arrays by which processes share the work on a minibatch.

    Each starts at an address that 64 divides: last bits of a matrix product may depend on where its
    factors stand.

    Attributes:
        parameters: (size,) float32.
        rows: (n,) int64, of which the first `minibatch.size` are the minibatch.
        minibatch: float64, the fields of `Minibatch`.
        gradients: (PARTS, size) float32.
        figures: (PARTS, figures) float64, the fields of `Figures`.
        rollout: All of a rollout, n rows.
    """

    parameters: Floats
    rows: NDArray[np.int64]
    minibatch: NDArray[np.float64]
    gradients: Floats
    figures: NDArray[np.float64]
    rollout: Rollout

    @classmethod
    def alone(cls, layout: Layout, rollout: Rollout) -> "Exchange":
        """Make one for a process that does everything itself, on the rollout's own arrays."""
        # Of torch's, because of their alignment.
        made = {
            name: torch.from_numpy(np.zeros(shape, dtype)).clone().numpy()
            for name, (shape, dtype) in exchanged(layout, len(rollout.ego)).items()
        }
        return cls(**made, rollout=rollout)


def exchanged(layout: Layout, rows: int) -> dict[str, tuple[tuple[int, ...], type[Any]]]:
    """Shapes and dtypes of an exchange's own arrays, for rollouts of so many rows."""
    return {
        "parameters": ((layout.size,), np.float32),
        "rows": ((rows,), np.int64),
        "minibatch": ((len(Minibatch._fields),), np.float64),
        "gradients": ((PARTS, layout.size), np.float32),
        "figures": ((PARTS, len(Figures._fields)), np.float64),
    }


class SharedGradients:
    """Gradients whose parts are computed here and by helpers in other processes.

    Args:
        layout: Of the policy.
        exchange: Arrays that all see.
        helpers: They compute parts, too; None where there are none.
    """

    def __init__(self, layout: Layout, exchange: Exchange, helpers: Helpers | None = None) -> None:
        self.parameters = exchange.parameters
        self._exchange, self._helpers = exchange, helpers
        self._parts = GradientParts(layout, exchange)

    def load(self, rollout: Rollout) -> None:
        """Copy what is not in the exchange already."""
        for source, target in zip(rollout, self._exchange.rollout, strict=True):
            if source.ctypes.data != target.ctypes.data:
                target[:] = source

    def of(self, rows: NDArray[np.int64], minibatch: Minibatch) -> tuple[Floats, Figures]:
        """Return the gradient (size,) float32 of the loss of those rows of the rollout."""
        self._exchange.rows[: len(rows)] = rows
        self._exchange.minibatch[:] = minibatch
        parts = _parts_of(len(rows))
        if self._helpers is None or parts == 1:
            self._parts.compute(0, 1)
        else:
            members = self._helpers.members
            self._helpers.begin()
            self._parts.compute(0, members)
            for member in self._helpers.end():
                self._parts.compute(member, members)
        figures = self._exchange.figures[:parts].sum(axis=0)
        return self._exchange.gradients[:parts].sum(axis=0), Figures(*figures.tolist())


@contextmanager
def plain_arithmetic() -> Iterator[None]:
    """Let torch compute on one thread, and record nothing for `autograd`.

    Sums depend on how they are split between threads, and for networks so small further threads
    cost more than they bring.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def _parts_of(size: int) -> int:
    """In how many parts a minibatch is computed, whatever the number of processes."""
    return PARTS if size >= PARTS * _SMALLEST_PART else 1


class GradientParts:
    """Computes parts of gradients into an exchange.

    Args:
        layout: Of the policy.
        exchange: The arrays that are read and written.
    """

    def __init__(self, layout: Layout, exchange: Exchange) -> None:
        self._layout, self._exchange = layout, exchange
        self._weights = layout.weights(exchange.parameters)
        self._gradients = [layout.weights(gradient) for gradient in exchange.gradients]

    def compute(self, member: int, members: int) -> None:
        """Compute a member's parts of the minibatch that the exchange holds: every so many."""
        minibatch = Minibatch(*self._exchange.minibatch.tolist())
        size = int(minibatch.size)
        count = _parts_of(size)
        for part in range(member, count, members):
            rows = self._exchange.rows[size * part // count : size * (part + 1) // count]
            self._compute(part, rows, minibatch)

    def _compute(self, part: int, rows: NDArray[np.int64], minibatch: Minibatch) -> None:
        layout, weights, gradient = self._layout, self._weights, self._gradients[part]
        rollout = self._exchange.rollout
        done = forward(layout, weights, rollout[:3], rows)
        by_means, by_values = torch.empty_like(done.means), torch.empty_like(done.values)
        _losses(
            (done.means.numpy(), done.values.numpy(), weights.log_std.numpy()),
            rollout,
            rows,
            minibatch,
            (by_means.numpy(), by_values.numpy(), gradient.log_std.numpy()),
            self._exchange.figures[part],
        )
        backward(layout, weights, done, (by_means, by_values), gradient)


@compiled
def _losses(
    outputs: tuple[Floats, Floats, Floats],
    rollout: Rollout,
    rows: NDArray[np.int64],
    minibatch: Minibatch,
    by_outputs: tuple[Floats, Floats, Floats],
    figures: NDArray[np.float64],
) -> None:
    """Write a part's share in the loss's figures and in its derivatives by the policy's outputs.

    The loss is PPO's (Schulman et al., "Proximal Policy Optimization Algorithms", 2017, equations 7
    and 9), the logarithm of an action's probability that of independent Gaussians, −z²/2 − log σ −
    log √(2π) with z = (a − μ)/σ, their entropy log σ + ½ + log √(2π), and the divergence is
    estimated by (r − 1) − log r (Schulman, "Approximating KL Divergence", 2020).

    Args:
        outputs: Means (rows, actions), values (rows, 1), log_std (actions,).
        rollout: All of it.
        rows: The part's.
        minibatch: Of the whole minibatch.
        by_outputs: Of the shapes of `outputs`.
        figures: (figures,).
    """
    means, values, log_std = outputs
    by_means, by_values, by_log_std = by_outputs
    actions = len(log_std)
    share = 1.0 / minibatch.size
    low, high = 1.0 - minibatch.clip_range, 1.0 + minibatch.clip_range
    precision = np.exp(-log_std)
    entropy = 0.0
    for column in range(actions):
        entropy += log_std[column] + 0.5 + _LOG_SQRT_2PI
        by_log_std[column] = -minibatch.ent_coef * share * len(rows)
    surrogate = squares = divergence = clipped = 0.0
    for place in range(len(rows)):
        row = rows[place]
        log_prob = 0.0
        for column in range(actions):
            z = (rollout.actions[row, column] - means[place, column]) * precision[column]
            log_prob -= 0.5 * z * z + log_std[column] + _LOG_SQRT_2PI
        log_ratio = log_prob - rollout.log_probs[row]
        ratio = np.exp(log_ratio)
        advantage = rollout.advantages[row] - minibatch.advantage_mean
        advantage /= minibatch.advantage_scale
        free, bounded = advantage * ratio, advantage * min(max(ratio, low), high)
        # Where the bounded one is smaller, the ratio is beyond its range and counts no longer. The
        # comparisons are such that what is not a number stays that, and is seen.
        surrogate += min(free, bounded)
        by_log_prob = 0.0 if free > bounded else -share * free
        for column in range(actions):
            z = (rollout.actions[row, column] - means[place, column]) * precision[column]
            by_means[place, column] = by_log_prob * z * precision[column]
            by_log_std[column] += by_log_prob * (z * z - 1.0)
        change = values[place, 0] - rollout.values[row]
        slope = 2.0 * share * minibatch.vf_coef
        if abs(change) > minibatch.clip_range_vf:
            change, slope = np.copysign(minibatch.clip_range_vf, change), 0.0
        error = rollout.values[row] + change - rollout.returns[row]
        by_values[place, 0] = slope * error
        squares += error * error
        divergence += ratio - 1.0 - log_ratio
        clipped += abs(ratio - 1.0) > minibatch.clip_range
    figures[0] = -share * surrogate
    figures[1] = share * squares
    figures[2] = -share * len(rows) * entropy
    figures[3] = share * divergence
    figures[4] = share * clipped


class _FlatAdam:
    """`torch.optim.Adam` on flat arrays (Kingma and Ba, "Adam", ICLR 2015).

    Its state is taken from the optimiser at first and given back at the end.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._state, (self._group,) = optimizer.state, optimizer.param_groups
        self._weights: list[torch.Tensor] = self._group["params"]
        self._first, self._second = (
            _flat([self._state[w].get(name, torch.zeros_like(w)) for w in self._weights])
            for name in _MOMENTS
        )
        self._steps = int(self._state[self._weights[0]].get("step", 0))

    @staticmethod
    def fits(optimizer: torch.optim.Optimizer) -> bool:
        """Whether it is Adam as it was published, of one group of weights."""
        return type(optimizer) is torch.optim.Adam and not any(
            group[name]
            for group in optimizer.param_groups
            for name in ("weight_decay", "amsgrad", "maximize")
        )

    def step(self, parameters: Floats, gradient: Floats) -> None:
        """Change the parameters, both (size,) float32."""
        self._steps += 1
        group = self._group
        first, second = group["betas"]
        _adam(
            (parameters, gradient, self._first, self._second),
            np.float32(first),
            np.float32(second),
            np.float32(group["lr"] / (1.0 - first**self._steps)),
            np.float32(1.0 / np.sqrt(1.0 - second**self._steps)),
            np.float32(group["eps"]),
        )

    def give_back(self, parameters: Floats) -> None:
        """Write parameters and state to where the policy and its optimiser have them."""
        with torch.no_grad():
            for weight, new in zip(self._weights, _cut(parameters, self._weights), strict=True):
                weight.copy_(new)
                self._state[weight]["step"] = torch.tensor(float(self._steps))
        for name, flat in zip(_MOMENTS, (self._first, self._second), strict=True):
            for weight, new in zip(self._weights, _cut(flat, self._weights), strict=True):
                self._state[weight][name] = new.clone()


def _flat(tensors: list[torch.Tensor]) -> Floats:
    flat: Floats = torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).numpy()
    return flat


def _cut(flat: Floats, like: list[torch.Tensor]) -> list[torch.Tensor]:
    parts = torch.split(torch.from_numpy(flat), [tensor.numel() for tensor in like])
    return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]


@compiled
def _adam(
    arrays: tuple[Floats, Floats, Floats, Floats],
    decay_first: np.float32,
    decay_second: np.float32,
    rate: np.float32,
    scale: np.float32,
    eps: np.float32,
) -> None:
    """One step of Adam; `rate` and `scale` hold the corrections of the moments' bias."""
    parameters, gradient, first, second = arrays
    one = np.float32(1.0)
    for at in range(len(parameters)):
        slope = gradient[at]
        first[at] += (slope - first[at]) * (one - decay_first)
        second[at] = second[at] * decay_second + slope * slope * (one - decay_second)
        parameters[at] -= rate * first[at] / (np.sqrt(second[at]) * scale + eps)


def update(model: PPO, gradients: Gradients | None = None) -> bool:
    """Do what `PPO.train` does; False, and nothing, where that is not written out here.

    Args:
        model: Its rollout buffer is full.
        gradients: Who computes them; None does it in this process.

    Raises:
        NotLearningError: A gradient is not finite; the policy is as it was.
    """
    policy, buffer = model.policy, model.rollout_buffer
    layout = Layout.of(policy)
    if (
        layout is None
        or not isinstance(buffer, DictRolloutBuffer)
        or buffer.generator_ready  # somebody has turned its arrays about
        or not _FlatAdam.fits(policy.optimizer)
    ):
        return False
    policy.set_training_mode(True)
    model._update_learning_rate(policy.optimizer)  # noqa: SLF001 (as the PPO that this is)
    rollout = Rollout.of(buffer)
    gradients = gradients or SharedGradients(layout, Exchange.alone(layout, rollout))
    gradients.load(rollout)
    gradients.parameters[:] = flat_parameters(policy)
    adam = _FlatAdam(policy.optimizer)
    with plain_arithmetic():
        figures = _epochs(model, rollout, gradients, adam)
    adam.give_back(gradients.parameters)
    figures["std"] = float(torch.exp(policy.log_std.detach()).mean())
    for name, value in figures.items():
        model.logger.record(f"train/{name}", value)
    model.logger.record("train/n_updates", model._n_updates, exclude="tensorboard")  # noqa: SLF001
    return True


def _epochs(
    model: PPO, rollout: Rollout, gradients: Gradients, adam: _FlatAdam
) -> dict[str, float]:
    """Go over the rollout `n_epochs` times; return what SB3 logs of an update."""
    buffer, size = model.rollout_buffer, len(rollout.ego)
    done = model._current_progress_remaining  # noqa: SLF001
    clip_range, clip_range_vf = model.clip_range, model.clip_range_vf
    limit, limit_vf = (
        clip(done) if callable(clip) else np.inf for clip in (clip_range, clip_range_vf)
    )
    seen: list[Figures] = []
    epoch: list[Figures] = []
    stopped = False
    for _ in range(model.n_epochs):
        epoch = []
        env, tick = np.divmod(np.random.permutation(size), buffer.buffer_size)  # noqa: NPY002 (SB3's)
        order = tick * buffer.n_envs + env
        for start in range(0, size, model.batch_size):
            rows = order[start : start + model.batch_size]
            mean, scale = 0.0, 1.0
            if model.normalize_advantage and len(rows) > 1:
                advantages = rollout.advantages[rows].astype(np.float64)
                mean, scale = advantages.mean(), advantages.std(ddof=1) + 1e-8
            minibatch = Minibatch(
                len(rows), mean, scale, limit, limit_vf, model.ent_coef, model.vf_coef
            )
            gradient, figures = gradients.of(rows, minibatch)
            epoch.append(figures)
            stopped = model.target_kl is not None and figures.approx_kl > 1.5 * model.target_kl
            if stopped:
                break
            norm = float(torch.linalg.vector_norm(torch.from_numpy(gradient)))
            if not math.isfinite(norm):
                raise NotLearningError(
                    f"the gradient of {len(rows)} samples is not finite, after "
                    f"{model._n_updates} passes over rollouts; the policy stays as it was before "  # noqa: SLF001
                    "this update. Look for a reward or an observation that is not a number, or "
                    "use a lower --ppo.learning-rate."
                )
            gradient *= min(model.max_grad_norm / (norm + 1e-6), 1.0)
            adam.step(gradients.parameters, gradient)
        seen += epoch
        model._n_updates += 1  # noqa: SLF001
        if stopped:
            break
    last, means = seen[-1], Figures(*np.mean(seen, axis=0).tolist())
    values, returns = buffer.values.flatten(), buffer.returns.flatten()
    logged = means._asdict() | {
        "approx_kl": float(np.mean([figures.approx_kl for figures in epoch])),
        "loss": last.policy_gradient_loss
        + model.ent_coef * last.entropy_loss
        + model.vf_coef * last.value_loss,
        "explained_variance": float(explained_variance(values, returns)),
        "clip_range": limit,
    }
    return logged | ({} if clip_range_vf is None else {"clip_range_vf": limit_vf})
