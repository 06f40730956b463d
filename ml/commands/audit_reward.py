"""`roadsense audit-reward`: whether the reward ranks drivers as a person would."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from ml.commands.checks import require_counts
from ml.console import make_console
from ml.progress import Parts

_EPISODE_S = 0.06
"""How long an episode takes on two cores."""


@dataclass(frozen=True)
class AuditOptions:
    """Check that the reward ranks drivers as a person would, before anything is trained on it."""

    episodes: int = 128
    """Episodes per driver and kind."""
    scenario: str = "highway"
    """Scenario in sumo-configs/, or a sumocfg."""
    radio: str = "clean"
    """Radio preset, or a parameter file."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 1 where the ranking is wrong or a penalty fires without cause."""
    options = tyro.cli(AuditOptions, prog="roadsense audit-reward", args=arguments)
    require_counts(options, "episodes")
    from ml.envs.config import EnvConfig  # noqa: PLC0415 (slow to import)
    from ml.evaluation.reward_audit import RUNS, audit_reward  # noqa: PLC0415

    console = make_console()
    usual_s = _EPISODE_S * RUNS * options.episodes
    with Parts(console, "auditing the reward", total=RUNS, unit="runs", usual_s=usual_s) as parts:
        report = audit_reward(
            EnvConfig(scenario=options.scenario, radio=options.radio),
            episodes=options.episodes,
            on_cell=lambda driver, kind: parts.begin(f"{kind} episodes: {driver}"),
        )
    for table in report.tables():
        console.print(table)
    for complaint in report.complaints:
        console.print(f"[red]wrong[/red]  {complaint}")
    if not report.complaints:
        console.print("[green]ok[/green]  the ranking is right and no penalty fires without cause")
    return 1 if report.complaints else 0
