"""What a training run is made of: one frozen, validated object that goes into `config.yaml`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ml.envs.config import EnvConfig, RewardWeights
from ml.envs.policy_interface import PolicyInterface
from ml.errors import ConfigError
from ml.evaluation.seeds import CASES_SEED, TEST_SEED, VALIDATION_SEED
from ml.onboard.observation.spec import columns_of
from ml.training.defaults import ENTROPY_COEF, LEARNING_RATE, N_STEPS, TOTAL_TIMESTEPS

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=2**40)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PpoConfig(_Section):
    """Proximal policy optimisation (Schulman et al., 2017), as in Stable-Baselines3."""

    n_steps: Count = N_STEPS
    """Rollout length over all environments together; each convoy gives n_steps / num_envs ticks."""
    batch_size: Count = 64
    """Samples in a minibatch; divides n_steps."""
    n_epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    """Passes over each rollout."""
    learning_rate: Positive = LEARNING_RATE
    """Step size of Adam."""
    learning_rate_schedule: Literal["constant", "linear"] = "constant"
    """linear: the step size decreases to 0 at total_timesteps."""
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 0.99
    """Discount per tick of 0.1 s."""
    gae_lambda: Annotated[float, Field(ge=0.0, le=1.0)] = 0.95
    """Bias against variance in the advantage estimate."""
    clip_range: Positive = 0.2
    """Clipping range of the probability ratio."""
    ent_coef: NotNegative = ENTROPY_COEF
    """Weight of the entropy bonus."""
    vf_coef: NotNegative = 0.5
    """Weight of the value loss."""
    target_kl: Positive | None = None
    """KL divergence at which an update ends early; none: never."""
    max_grad_norm: Positive = 0.5
    """Gradients are clipped to this norm."""


class ImitationConfig(_Section):
    """A warm start from an analytic driver (ml.training.imitation)."""

    rounds: Annotated[int, Field(ge=0, le=1000)] = 0
    """DAgger rounds before PPO; 0: none. At most as many as fit into total_timesteps, although
    their steps do not count towards it."""
    ticks: Annotated[int, Field(ge=1, le=100_000)] = 400
    """Ticks of a round, all convoys at once."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 2
    """Passes over all samples so far, after each round."""
    noise: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    """Standard deviation of the slow noise on the actions while driving."""


class PolicyConfig(_Section):
    """The Deep Sets network."""

    peer_embed_dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Width of the embedding of one peer."""
    log_std_init: Annotated[float, Field(ge=-5.0, le=2.0)] = -0.7
    """Initial log standard deviation of the action (half range: 1)."""
    log_std_final: Annotated[float, Field(ge=-5.0, le=2.0)] | None = None
    """Log standard deviation at total_timesteps, approached linearly; none: it is learnt. The
    saved policy drives by its mean, so training should end with little noise."""
    hidden: tuple[str, ...] = ()
    """Features set to 0, as ego.silence or peers.age (`roadsense observation` lists them), for
    ablation studies."""
    pooling: Literal["max and mean", "mean"] = "max and mean"
    """How the embeddings of the peers are pooled; mean is for ablation studies."""


class CurriculumConfig(_Section):
    """Reward weights that grow to those of env.reward.

    A policy with random weights brakes and jerks at random. If that costs too much at first, it
    learns never to brake hard; if it costs too little at the end, it brakes without cause.
    """

    comfort: NotNegative | None = None
    """Weight of comfort at the first step; none: the weight of env.reward throughout."""
    false_braking: NotNegative | None = None
    """Weight of false_braking at the first step; none: the weight of env.reward throughout."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of total_timesteps until which the weights grow linearly."""

    def weights(self, last: RewardWeights, done: float) -> RewardWeights:
        """Return the weights when a share `done` of the run is over; `last` are the final ones."""
        rest = max(1.0 - done / self.share, 0.0)
        first = {k: v for k, v in self.model_dump(exclude={"share"}).items() if v is not None}
        between = {k: rest * v + (1.0 - rest) * getattr(last, k) for k, v in first.items()}
        return last.model_copy(update=between)


class EvaluationConfig(_Section):
    """Evaluation during training, in a separate process, on a separate seed."""

    every_steps: Annotated[int, Field(ge=0, le=2**40)] = 20_000
    """Steps between evaluations; 0: none, and no best model. A warm start is also evaluated."""
    episodes: Annotated[int, Field(ge=1, le=100_000)] = 32
    """Episodes of one evaluation; the same ones each time."""
    time_gap_s: Annotated[float, Field(ge=0.0, le=5.0)] | None = None
    """The driver's usual time gap, s: that of all evaluations, and the model's default.
    none: the middle of env.time_gap_s."""
    least_gain: NotNegative = 0.0
    """Points by which a later model must exceed the best one's safety score to replace it: a bound
    on the lower end of the difference's 95 % interval, paired by case."""
    seed: Seed = VALIDATION_SEED
    """Seed of the evaluation's episodes: the validation seed. It must differ from the run's."""
    closing_episodes: Annotated[int, Field(ge=0, le=100_000)] = 128
    """Episodes per driver in the closing table; 0: no table."""
    deadline_s: Positive = 600.0
    """An evaluation that takes longer counts as failed."""


class CheckpointConfig(_Section):
    """What `--resume` needs."""

    every_steps: Count = 10_000
    """Steps between checkpoints: the most that a kill loses (or one rollout, if longer)."""
    keep: Annotated[int, Field(ge=1, le=100_000)] = 3
    """Number of newest checkpoints to keep."""


class RecordingConfig(_Section):
    """Traffic that is recorded once and replayed many times (ml.envs.recorded_vec_env)."""

    episodes: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Episodes to record before training, which then uses no others; 0: SUMO simulates new
    episodes throughout. Needs env.radio_position = reference."""
    memory_mb: Positive = 1000.0
    """Memory limit for recordings, MB; an episode of 50 s with eight peers takes up to 0.4."""


class HealthConfig(_Section):
    """Detection of runs that do not learn (ml.training.health)."""

    action: Literal["off", "warn", "stop"] = "warn"
    """warn: print what is wrong. stop: also save and end the run if it persists."""
    least_explained_variance: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.05
    """Explained variance below which the critic counts as not learning."""
    patience: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Windows of ten updates with a problem before a run is stopped."""


class TrainConfig(_Section):
    """A training run. Values come from the preset, a file, the environment, the command line."""

    preset: str = "spec"
    """Named set of defaults."""
    total_timesteps: Count = TOTAL_TIMESTEPS
    """Steps of the run over all environments, rounded up to whole rollouts."""
    num_envs: Annotated[int, Field(ge=1, le=4096)] = 64
    """Convoys that drive in parallel, divided among the workers."""
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes that simulate and learn, each with its own SUMO; 0: one per core, at most 4. The
    number does not change the results."""
    seed: Seed = 0
    """Seed of the episodes, the weights and the actions."""
    keep: Literal["best", "final"] = "best"
    """The model that is copied to MODELS_DIR: the best by safety score of those evaluated (see
    evaluation.least_gain), or the final one (also used if no evaluation succeeded)."""
    env: EnvConfig = EnvConfig()
    """Episodes, radio and simulator."""
    cases_weights: Literal["none", "natural"] = "none"
    """Weight of replayed critical cases (env.cases) in PPO. none: as any other episode. natural:
    advantages are weighted by natural over sampling probability, within 0.1 and 10."""
    imitation: ImitationConfig = ImitationConfig()
    ppo: PpoConfig = PpoConfig()
    policy: PolicyConfig = PolicyConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    recording: RecordingConfig = RecordingConfig()
    health: HealthConfig = HealthConfig()

    @property
    def imitation_rounds(self) -> int:
        """Rounds of imitation; a run too short for all of them has fewer."""
        return min(
            self.imitation.rounds, self.total_timesteps // (self.imitation.ticks * self.num_envs)
        )

    @property
    def interface(self) -> PolicyInterface:
        """How the trained policy is plugged into a vehicle."""
        return PolicyInterface.of(self.env, self.evaluation.time_gap_s)

    @property
    def steps_per_env(self) -> int:
        """Ticks that each convoy gives to a rollout."""
        return self.ppo.n_steps // self.num_envs


def steps_collected(config: TrainConfig) -> int:
    """Return the steps of a run that goes to its end: `total_timesteps`, in whole rollouts."""
    return -(-config.total_timesteps // config.ppo.n_steps) * config.ppo.n_steps


def check_combinations(config: TrainConfig) -> None:
    """Refuse values that are right one by one and wrong together.

    Raises:
        ConfigError: The rollout cannot be shared out evenly, with the numbers and a remedy; a
            hidden feature does not exist; or a seed is the test seed.
    """
    for name, seed in (("seed", config.seed), ("evaluation.seed", config.evaluation.seed)):
        if seed == TEST_SEED:
            raise ConfigError(
                f"{name} = {seed}: this is the test seed, that of the safety card, and a model "
                f"that was trained or chosen on its cases cannot be judged by them. Use another, "
                f"such as {VALIDATION_SEED}, the validation seed."
            )
        if seed == CASES_SEED:
            raise ConfigError(
                f"{name} = {seed}: this is the seed of the search for critical cases, of which one "
                "half is held out from training. Use another."
            )
    n_steps, num_envs, batch = config.ppo.n_steps, config.num_envs, config.ppo.batch_size
    if n_steps % num_envs:
        divisors = [n for n in range(1, min(n_steps, 2 * num_envs) + 1) if n_steps % n == 0]
        fitting = min(divisors, key=lambda n: abs(n - num_envs))
        rounded = max(round(n_steps / num_envs), 1) * num_envs
        raise ConfigError(
            f"ppo.n_steps = {n_steps} (rollout over all environments) is not a multiple of "
            f"num_envs = {num_envs}. Use --num-envs {fitting}, or --ppo.n-steps {rounded} with a "
            "--ppo.batch-size that divides it."
        )
    if n_steps % batch:
        fitting = max(n for n in range(1, min(batch, n_steps) + 1) if n_steps % n == 0)
        raise ConfigError(
            f"ppo.batch_size = {batch} does not divide ppo.n_steps = {n_steps}: the last "
            f"minibatch of an epoch would hold {n_steps % batch} samples. "
            f"Use --ppo.batch-size {fitting}."
        )
    try:
        columns_of("ego", config.policy.hidden)
    except ConfigError as error:
        raise ConfigError(f"policy.hidden: {error}") from error
    if config.cases_weights == "natural" and not config.env.cases:
        raise ConfigError(
            "cases_weights = natural, but no critical cases are replayed: give --cases and "
            "--cases-share, too, or leave it out."
        )
    if batch == 1:
        raise ConfigError(
            "ppo.batch_size = 1: the advantages of one sample cannot be normalised. Use at least 2."
        )
