"""Is it learning at all? Says in words what is wrong, and can end a hopeless run."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

from stable_baselines3.common.callbacks import BaseCallback

from ml.training.config import HealthConfig

_WINDOW = 10
"""Updates that a judgement rests on."""
_KL_HIGH = 0.1
_COLLAPSED_STD, _WILD_STD = 1e-3, 1.5
_FIRING_HIGH = 0.5
_PENALTIES = ("safety", "comfort", "false_braking")


class HealthCallback(BaseCallback):
    """Watches the critic, the size of the updates, the action's spread and the penalties.

    Attributes:
        complaints: What is wrong now, in words.
        stopped: Whether the run was ended for it.
    """

    def __init__(self, config: HealthConfig, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._config, self._tell = config, tell
        self._recent: deque[dict[str, float]] = deque(maxlen=_WINDOW)
        self._bad_windows = self._judged = 0
        self.complaints: tuple[str, ...] = ()
        self.stopped = False

    def _on_step(self) -> bool:
        return not self.stopped

    def _on_rollout_start(self) -> None:
        """Look at the update that has just been made; its figures are about to be written."""
        figures = {
            name: float(value)
            for name, value in self.logger.name_to_value.items()
            if isinstance(value, int | float)
        }
        if "train/explained_variance" in figures:
            self.consider(figures)

    def consider(self, figures: Mapping[str, float]) -> None:
        """Note an update's figures; judge once a window is full, and tell a new complaint once."""
        self._recent.append(dict(figures))
        self._judged += 1
        if self._config.action == "off" or len(self._recent) < _WINDOW or self._judged % _WINDOW:
            return
        means = {
            name: fmean(f[name] for f in self._recent)
            for name in figures
            if all(name in f for f in self._recent)
        }
        complaints = tuple(symptoms(means, least_explained=self._config.least_explained_variance))
        for complaint in complaints:
            if complaint not in self.complaints:
                self._tell(f"warning: {complaint}")
        self.complaints = complaints
        self._bad_windows = self._bad_windows + 1 if complaints else 0
        if self._config.action == "stop" and self._bad_windows >= self._config.patience:
            self.stopped = True


def symptoms(means: Mapping[str, float], *, least_explained: float) -> Iterator[str]:
    """Yield what is wrong with the mean figures of some updates, in words.

    Args:
        means: By TensorBoard name; what is missing is not judged.
        least_explained: Share of the returns' variance that a living critic explains.
    """
    if means.get("train/explained_variance", 1.0) < least_explained:
        yield (
            f"the critic explains less than {least_explained:.0%} of the returns' variance: the "
            "policy follows noise. Returns may be too large or too rare: look at reward/* in "
            "TensorBoard, lower --ppo.learning-rate, or give it longer rollouts (--ppo.n-steps)."
        )
    if means.get("train/approx_kl", 0.0) > _KL_HIGH:
        yield (
            f"the policy moves by a KL divergence of more than {_KL_HIGH:g} at once: it forgets "
            "what it had learnt. Lower --ppo.learning-rate or --ppo.n-epochs, or set "
            "--ppo.target-kl 0.02."
        )
    std = means.get("train/std", _WILD_STD)
    if std < _COLLAPSED_STD:
        yield (
            f"the action's deviation has fallen below {_COLLAPSED_STD:g}: nothing new is tried any "
            "more. Raise --ppo.ent-coef or --policy.log-std-init."
        )
    if std > _WILD_STD:
        yield (
            f"the action's deviation has grown beyond {_WILD_STD:g}, more than the whole range: "
            "actions are noise. Lower --ppo.ent-coef."
        )
    earned = means.get("reward/headway", 0.0)
    for term in _PENALTIES:
        # Exploring is jerky: a penalty that fires all the time may do so as long as it is small.
        often = means.get(f"reward_firing/{term}", 0.0) > _FIRING_HIGH
        if often and -means.get(f"reward/{term}", 0.0) > earned:
            yield (
                f"the penalty {term} fires in more than {_FIRING_HIGH:.0%} of all ticks and costs "
                "more than following earns: the policy learns to stand still. Run `roadsense "
                f"audit-reward`, and lower --reward.{term.replace('_', '-')}."
            )
