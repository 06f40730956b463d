"""`roadsense audit-reward`: whether the reward ranks drivers as a person would."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.commands.checks import require_counts
from ml.console import make_console
from ml.options import read_options
from ml.progress import Parts

_EPISODE_S = 0.06
"""How long an episode takes on two cores."""


@dataclass(frozen=True)
class AuditOptions:
    """Check that reward, score and targets rank drivers as a person would, before training.

    Drivers of whom it is known who is better drive the same cases: what each term pays them, how
    they stand to each other in return, safety score and targets, case by case with 95 % intervals.
    Exits with 1 where the reward pays for the worse one, a penalty fires in ordinary driving, or
    the three disagree.
    """

    preset: str = "convoy"
    """Preset whose reward and environment are checked."""
    episodes: int = 128
    """Episodes per driver, for each kind and for the preset's mixture."""
    scenario: str | None = None
    """Scenario in sumo-configs/, or a sumocfg; default: the preset's."""
    radio: str = "clean"
    """Radio preset, or a parameter file."""
    json: Path | None = None
    """File for all figures."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 1 where the ranking is wrong or a penalty fires without cause."""
    options = read_options(AuditOptions, "roadsense audit-reward", arguments)
    require_counts(options, "episodes")
    from ml.atomic_files import check_output, finite, write_json  # noqa: PLC0415
    from ml.evaluation.behaviours import DEAF, TEACHER  # noqa: PLC0415 (slow to import)
    from ml.evaluation.reward_audit import RUNS, audit_reward  # noqa: PLC0415
    from ml.training.config_files import Layers  # noqa: PLC0415
    from ml.training.imitation import TeacherDriver  # noqa: PLC0415

    layers = Layers()
    layers.put_preset(options.preset)
    layers.put(("env", "radio"), options.radio, "--radio")
    layers.put(("env", "domain_randomisation"), False, "audit-reward")  # noqa: FBT003
    if options.scenario is not None:
        layers.put(("env", "scenario"), options.scenario, "--scenario")
    recipe = layers.build()
    interface = recipe.interface
    config = recipe.env.model_copy(
        update={"time_gap_s": (interface.time_gap_s,) * 2, "safety_layer": False}
    )
    behind = interface.model_copy(update={"safety_layer": True})
    teachers = [
        TeacherDriver(TEACHER, behind),
        TeacherDriver(DEAF, behind, answers_silence=False),
    ]
    if options.json is not None:
        check_output("--json", options.json)
    console = make_console()
    runs = RUNS + len(teachers)
    usual_s = _EPISODE_S * runs * options.episodes
    with Parts(console, "auditing the reward", total=runs, unit="runs", usual_s=usual_s) as parts:
        report = audit_reward(
            config,
            episodes=options.episodes,
            teachers=teachers,
            on_run=lambda driver, kind: parts.begin(f"{kind} episodes: {driver}"),
        )
    for table in report.tables():
        console.print(table)
    for complaint in report.complaints:
        console.print(f"[red]wrong[/red]  {complaint}")
    if options.json is not None:
        write_json(options.json, finite(report.as_json(), digits=6))
    if not report.complaints:
        shown, asked = report.ranking.shown
        console.print(
            "[green]ok[/green]  the ranking is right and no penalty fires without cause: of "
            f"{asked} orders that must hold {shown} are shown, none is contradicted"
        )
    return 1 if report.complaints else 0
