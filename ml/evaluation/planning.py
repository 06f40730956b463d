"""From what a user asks for to a manifest: who runs in which suite on which radio."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ml.controllers.registry import controller_names, frontier, make_controller
from ml.envs.policy_interface import PolicyInterface
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.result import (
    POLICY_FAMILY,
    CellRecord,
    ControllerRecord,
    Manifest,
    RadioRecord,
    Variant,
    cell_file,
    slug,
)
from ml.evaluation.seeds import EVALUATION_SEED
from ml.evaluation.suites.names import SUITE_NAMES
from ml.evaluation.suites.registry import entry_of, make_suite
from ml.folders import expand_home
from ml.parameters import PRESET_NAMES, load_parameters
from ml.sumo.scenarios import BUILTIN_SCENARIOS, load_scenario

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ml.evaluation.suites.suite import Suite

SUMO_SPEC = "sumo"
NO_BASELINES = "none"
MAIN_SUITE = "convoy"
_USUAL_GAP_S = 1.1
POLICY_GAPS_S = (0.2, 0.3, 0.4, 0.5, 0.8, 1.1, 1.5, 2.0)
"""Settings of a trained policy's frontier, as far as it was trained for them."""
_WRAPPERS = ("off", "truth")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for.

    Attributes:
        models: Paths of saved models.
        suites: Specifications.
        radios: Names or files; empty for each suite's own.
        controllers: Specifications; a bare name is its whole frontier. Empty for all: the suite
            `convoy` gets every frontier, the others one controller per family. `none` for none.
        seeds: Seeds of the cases.
        episodes: Episodes of `convoy` over all its radios; None for its own number.
        radio_position: Whose position decides packets' fates.
        interfaces: How each model is plugged in, by its path; plainly where it is missing.
    """

    models: tuple[str, ...] = ()
    suites: tuple[str, ...] = SUITE_NAMES
    radios: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (EVALUATION_SEED,)
    episodes: int | None = None
    radio_position: Literal["reference", "own"] = "reference"
    interfaces: Mapping[str, PolicyInterface] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and with what an evaluation runs; see `Manifest`."""

    version: str
    git_commit: str | None
    packages: dict[str, str | None]
    command: str
    created_utc: str


def make_manifest(plan: Plan, origin: Origin) -> Manifest:
    """Resolve a plan.

    Raises:
        ConfigError: An unknown suite, controller or number, or nothing to do.
        ParameterError: An unknown radio, or a file that is wrong.
    """
    for name in ("suites", "controllers", "radios", "seeds", "models"):
        _require_distinct(name, getattr(plan, name))
    policies = _policies(plan.models, plan.interfaces)
    chosen, everywhere = _baselines(plan.controllers)
    controllers = [*policies, *chosen]
    if not controllers:
        raise ConfigError("nothing to evaluate: name a model, or leave out --controllers none")
    everywhere |= {record.name for record in policies if record.variant != "time gap"}
    suites: dict[str, dict[str, float | int | str]] = {}
    radios: dict[str, RadioRecord] = {}
    cells = []
    for asked in plan.suites:
        names = plan.radios or entry_of(asked).radios
        suite = make_suite(_completed(asked, plan.episodes, len(names)))
        if suite.name in suites:
            raise ConfigError(f"the suite {suite.name} is named twice; name it once")
        suites[suite.name] = {"cases": suite.num_cases, **suite.options, **_road_of(suite)}
        all_here = entry_of(asked) is entry_of(MAIN_SUITE)
        here = [c for c in controllers if all_here or c.name in everywhere]
        for radio in names:
            radios.setdefault(radio, _radio(radio))
            cells += [_cell(suite, radio, record, len(plan.seeds)) for record in here]
    return Manifest(
        version=origin.version,
        git_commit=origin.git_commit,
        packages=origin.packages,
        command=origin.command,
        created_utc=origin.created_utc,
        seeds=plan.seeds,
        suites=suites,
        radios=tuple(radios.values()),
        controllers=tuple(controllers),
        radio_position=plan.radio_position,
        cells=tuple(cells),
    )


def _completed(spec: str, episodes: int | None, radios: int) -> str:
    """Complete a specification, so that it means the same in any folder and of any number.

    The episodes of `convoy` are shared out among its radios; a sumocfg gets its absolute path.
    """
    plain, at, scenario = spec.partition("@")
    if at and scenario not in BUILTIN_SCENARIOS:
        # Links stay links, as SUMO follows them.
        scenario = os.path.abspath(expand_home(Path(scenario)))  # noqa: PTH100
    if plain == MAIN_SUITE:
        total = episodes if episodes is not None else int(entry_of(spec).number)
        plain = f"{plain}:{-(-total // radios)}"
    return f"{plain}{at}{scenario}"


def _road_of(suite: Suite) -> dict[str, str]:
    """Return a digest of the road where it is not the suite's own.

    Raises:
        ScenarioError: There is no such road, or the suite's cases do not fit on it.
    """
    if "@" not in suite.name:
        return {}
    scenario = load_scenario(suite.config.scenario)
    suite.supply(suite.config, scenario.road)
    content = scenario.net_file.read_bytes() + " ".join(scenario.route_edges).encode()
    return {"road_sha256": hashlib.sha256(content).hexdigest()}


def require_same_road(manifest: Manifest, suite: str) -> None:
    """Check that a suite's road is what it was when a result was made.

    Raises:
        EvaluationError: It is another.
        ScenarioError: It is gone.
    """
    was = manifest.suites[suite].get("road_sha256")
    if was is not None and _road_of(make_suite(suite)) != {"road_sha256": was}:
        raise EvaluationError(
            f"the road of {suite} has changed since the result was made. Put its network and route "
            "back as they were, or evaluate again into another --out."
        )


def _cell(suite: Suite, radio: str, record: ControllerRecord, seeds: int) -> CellRecord:
    return CellRecord(
        suite=suite.name,
        radio=radio,
        controller=record.name,
        file=cell_file(suite.name, radio, record.slug),
        episodes=suite.num_cases * seeds,
    )


def _radio(name: str) -> RadioRecord:
    file = "" if name in PRESET_NAMES else str(Path(name).absolute())
    return RadioRecord(name=name, sha256=_radio_digest(name), file=file)


def _radio_digest(name: str) -> str:
    content = json.dumps(load_parameters(name).model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def radio_source(record: RadioRecord) -> str:
    """Return the preset or file that a result's radio is, wherever the result is read.

    Raises:
        EvaluationError: It has other parameters than when the result was made.
        ParameterError: It cannot be read.
    """
    source = record.file or record.name
    if _radio_digest(source) != record.sha256:
        raise EvaluationError(
            f"the radio {source} has other parameters than when the result was made. Put them back "
            "as they were, or evaluate again into another --out."
        )
    return source


def _policies(
    models: Sequence[str], interfaces: Mapping[str, PolicyInterface]
) -> list[ControllerRecord]:
    """List each model as it is meant to drive, and changed.

    Changed: at other time gaps of the range it was trained for, without its safety layer if it has
    one, and with its radio (and with that the layer) off.
    """
    records = []
    for path in models:
        try:
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(
                f"model {path} cannot be read ({error.strerror}). Name a .zip that "
                "`roadsense train` saved."
            ) from error
        name = path if len(models) > 1 else "policy"
        interface = interfaces.get(path, PolicyInterface())
        low_s, high_s = interface.time_gaps_s or (interface.time_gap_s,) * 2
        others = [g for g in POLICY_GAPS_S if low_s <= g <= high_s and g != interface.time_gap_s]
        variants: list[tuple[str, Variant, float]] = [("", "", interface.time_gap_s)]
        variants += [(f" {gap_s:g} s", "time gap", gap_s) for gap_s in others]
        if interface.safety_layer:
            variants.append((", no safety layer", "no safety layer", interface.time_gap_s))
        variants.append((", radio off", "radio off", interface.time_gap_s))
        records += [
            ControllerRecord(
                name=name + suffix,
                spec=path,
                family=POLICY_FAMILY,
                slug=slug(name + suffix),
                knows="nothing" if variant == "radio off" else "radio",
                time_gap_s=gap_s,
                model_sha256=digest,
                file=str(Path(path).absolute()),
                variant=variant,
            )
            for suffix, variant, gap_s in variants
        ]
    return records


def controllers_named(asked: Sequence[str]) -> list[ControllerRecord]:
    """List controllers by their specifications; a bare name stands for its whole frontier.

    Raises:
        ConfigError: There is no such controller, or one is named twice.
    """
    return _baselines(asked)[0]


def _baselines(asked: Sequence[str]) -> tuple[list[ControllerRecord], set[str]]:
    """Return the controllers and the names of those that run in every suite."""
    if tuple(asked) == (NO_BASELINES,):
        return [], set()
    specs: list[str] = []
    everywhere: set[str] = set()
    if asked:
        for spec in asked:
            one = ":" in spec or "@" in spec or spec == SUMO_SPEC
            specs += [spec] if one else _frontier(spec)
        everywhere.update(specs)
    else:
        specs.append(SUMO_SPEC)
        for name in controller_names():
            points = _frontier(name)
            specs += points
            everywhere.add(f"{name}:{_USUAL_GAP_S:g}" if len(points) > 1 else points[0])
        everywhere.add(SUMO_SPEC)
    records = [_record(spec) for spec in dict.fromkeys(specs)]
    _require_distinct("controllers", [record.name for record in records])
    return records, {record.name for record in records if record.spec in everywhere}


def _frontier(name: str) -> list[str]:
    try:
        return frontier(name)
    except EvaluationError as error:
        raise ConfigError(str(error)) from error


def _record(spec: str) -> ControllerRecord:
    if spec == SUMO_SPEC:
        name = "SUMO's car-following"
        return ControllerRecord(name=name, spec=spec, family=spec, slug=spec, knows="truth")
    try:
        controller = make_controller(spec)
    except EvaluationError as error:
        raise ConfigError(str(error)) from error
    law, tuned, file = spec.partition("@")
    parts = law.split(":")
    wrapped = parts[0] in _WRAPPERS
    return ControllerRecord(
        name=controller.name,
        spec=spec,
        family=(":".join(parts[:2]) if wrapped else parts[0])
        + (f", {Path(file).stem}" if tuned else ""),
        slug=slug(spec),
        knows=controller.knows,
        standstill_m=controller.standstill_m,
        time_gap_s=controller.time_gap_s,
        file=str(Path(file).absolute()) if tuned else "",
        file_sha256=hashlib.sha256(Path(file).read_bytes()).hexdigest() if tuned else None,
    )


def _require_distinct(what: str, values: Iterable[object]) -> None:
    listed = list(values)
    double = next((value for value in listed if listed.count(value) > 1), None)
    if double is not None:
        raise ConfigError(f"{what}: {double} is named twice; name it once")
