"""From what a user asks for to who runs in which suite on which radio."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TypeAlias

from ml.controllers.registry import CONTROLLER_NAMES, frontier
from ml.envs.policy_interface import PolicyInterface
from ml.errors import ConfigError, EvaluationError
from ml.evaluation.drivers import (
    SUMO_SPEC,
    ModelLoader,
    controller_spec,
    interface_of,
    model_spec,
)
from ml.evaluation.plan import Plan
from ml.evaluation.records import DriverSpec, RadioRecord, Variant, require_distinct
from ml.evaluation.result import Manifest, Origin, PartRecord
from ml.evaluation.store import CaseSet, Part, parts_of, radio_record, road_sha256
from ml.evaluation.suites.registry import entry_of, folder_of, make_suite
from ml.folders import expand_home
from ml.sumo.scenarios import BUILTIN_SCENARIOS, DEFAULT_SCENARIO

LineUp: TypeAlias = dict[DriverSpec, frozenset[str]]
"""Drivers, and the benchmarks that they drive on; none named: all."""
NO_BASELINES = "none"
MAIN_SUITE = "convoy"
_USUAL_GAP_S = 1.1
POLICY_GAPS_S = (0.2, 0.3, 0.4, 0.5, 0.8, 1.1, 1.5, 2.0)
"""Settings of a trained policy's frontier, as far as it was trained for them."""


def plan_evaluation(
    plan: Plan, origin: Origin, interfaces: Mapping[str, PolicyInterface] = MappingProxyType({})
) -> tuple[Manifest, list[Part]]:
    """Resolve a plan: what its result says of itself, and what is to be driven.

    A model whose path is not in `interfaces` is plugged in plainly.

    Raises:
        ConfigError: An unknown suite, controller or number, or nothing to do.
        CheckpointError: A model cannot be read.
        ParameterError: An unknown radio, or a file that is wrong.
    """
    for name in ("suite", "controllers", "radio", "seeds", "models"):
        require_distinct(name, getattr(plan, name))
    policies = [spec for path in plan.models for spec in _policies(path, plan, interfaces)]
    baselines, everywhere = _baselines(plan.controllers)
    drivers = [*policies, *baselines]
    if not drivers:
        raise ConfigError("nothing to evaluate: name a model, or leave out --controllers none")
    everywhere |= {spec.name for spec in policies if spec.variant != "time gap"}
    suites: dict[str, dict[str, float | int | str]] = {}
    radios: dict[str, RadioRecord] = {}
    parts: list[Part] = []
    for asked in plan.suite:
        names = plan.radio or entry_of(asked).radios
        suite = make_suite(_completed(asked, plan.episodes, len(names)))
        if suite.name in suites:
            raise ConfigError(f"the suite {suite.name} is named twice; name it once")
        road = road_sha256(suite.name)
        of_road = {"road_sha256": road} if road else {}
        suites[suite.name] = {"cases": suite.num_cases, **suite.options, **of_road}
        all_here = entry_of(asked) is entry_of(MAIN_SUITE)
        here = [spec for spec in drivers if all_here or spec.name in everywhere]
        for name in names:
            radio = radios.setdefault(name, radio_record(name))
            cases = [
                CaseSet(suite.name, radio, seed, range(suite.num_cases), plan.radio_position, road)
                for seed in plan.seeds
            ]
            parts += [part for spec in here for of in cases for part in parts_of(of, [spec])]
    manifest = Manifest(
        **origin.model_dump(),
        suites=suites,
        radios=tuple(radios.values()),
        controllers=tuple(drivers),
        radio_position=plan.radio_position,
        parts=tuple(
            PartRecord(
                suite=part.cases.suite,
                radio=part.cases.radio.name,
                controller=part.driver.name,
                seed=part.cases.seed,
                episodes=len(part.cases.cases),
                file=part.file,
            )
            for part in parts
        ),
    )
    return manifest, parts


def _completed(spec: str, episodes: int | None, radios: int) -> str:
    """Complete a specification, so that it means the same in any folder and of any number.

    The episodes of `convoy` are shared out among its radios; files get their absolute paths.
    """
    of_folder = folder_of(spec)
    if of_folder is not None:
        name, folder, road = of_folder
        road = "" if road == DEFAULT_SCENARIO else f"@{_lasting(road)}"
        return f"{name}:{folder.absolute()}{road}"
    plain, at, scenario = spec.partition("@")
    if at:
        scenario = _lasting(scenario)
    if plain == MAIN_SUITE:
        total = episodes if episodes is not None else int(entry_of(spec).number)
        plain = f"{plain}:{-(-total // radios)}"
    return f"{plain}{at}{scenario}"


def _lasting(scenario: str) -> str:
    """Return a scenario's name, or the absolute path of a sumocfg."""
    if scenario in BUILTIN_SCENARIOS:
        return scenario
    # Links stay links, as SUMO follows them.
    return os.path.abspath(expand_home(Path(scenario)))  # noqa: PTH100


def require_same_road(manifest: Manifest, suite: str) -> None:
    """Check that a suite's road is what it was when a result was made.

    Raises:
        EvaluationError: It is another, or the recordings are.
        ScenarioError: It is gone.
        LogError: The recordings are gone.
    """
    options = manifest.suites[suite]
    recorded = options.get("recordings_sha256")
    if recorded is not None and make_suite(suite).options["recordings_sha256"] != recorded:
        raise EvaluationError(
            f"the recordings of {suite} have changed since the result was made. Put them back as "
            "they were, or evaluate again into another --out."
        )
    was = options.get("road_sha256")
    if was is not None and road_sha256(suite) != was:
        raise EvaluationError(
            f"the road of {suite} has changed since the result was made. Put its network and route "
            "back as they were, or evaluate again into another --out."
        )


def _policies(path: str, plan: Plan, interfaces: Mapping[str, PolicyInterface]) -> list[DriverSpec]:
    """List a model as it is meant to drive, and changed.

    Changed: at other time gaps of the range it was trained for, without its safety layer if it has
    one, and with its radio (and with that the layer) off.
    """
    name = path if len(plan.models) > 1 else "policy"
    interface = interfaces.get(path, PolicyInterface())
    own_s = interface.time_gap_s
    low_s, high_s = interface.time_gaps_s or (own_s, own_s)
    variants: list[tuple[str, Variant, float]] = [("", "", own_s)]
    variants += [
        (f" {gap_s:g} s", "time gap", gap_s)
        for gap_s in POLICY_GAPS_S
        if low_s <= gap_s <= high_s and gap_s != own_s
    ]
    if interface.safety_layer:
        variants.append((", no safety layer", "no safety layer", own_s))
    variants.append((", radio off", "radio off", own_s))
    return [
        model_spec(path, name + suffix, interface, time_gap_s=gap_s, variant=variant)
        for suffix, variant, gap_s in variants
    ]


def _baselines(asked: Sequence[str]) -> tuple[list[DriverSpec], set[str]]:
    """Return the controllers and the names of those that run in every suite.

    A bare name stands for its whole frontier; nothing asked for, for every controller's.
    """
    if tuple(asked) == (NO_BASELINES,):
        return [], set()
    specs: dict[str, bool] = {}  # and whether it runs in every suite
    if asked:
        for spec in asked:
            one = ":" in spec or "@" in spec or spec == SUMO_SPEC
            specs |= dict.fromkeys([spec] if one else frontier(spec), True)
    else:
        specs[SUMO_SPEC] = True
        for name in CONTROLLER_NAMES:
            usual = (name, f"{name}:{_USUAL_GAP_S:g}")
            specs |= {point: point in usual for point in frontier(name)}
    found = {spec: controller_spec(spec) for spec in specs}
    require_distinct("controllers", [driver.name for driver in found.values()])
    everywhere = {found[spec].name for spec, in_all in specs.items() if in_all}
    return list(found.values()), everywhere


def line_up(
    models: Mapping[str, str],
    gaps_s: Mapping[float, Mapping[str, str]],
    controllers: Mapping[str, Sequence[str]],
    *,
    load_model: ModelLoader,
    on_model: Callable[[str], None],
) -> LineUp:
    """List who drives, and on which benchmarks; `on_model` is told the path of each model it read.

    `models` has paths by the name that tables give them. `gaps_s` has further time gaps of each
    model, s: of each the benchmarks that are driven with it, and the options that say so.
    `controllers` has specifications of baselines by the benchmark that
    they drive on; "" for all.

    Raises:
        ConfigError: An unknown controller, or one that sees what no radio tells; a time gap that a
            model was not trained for.
        CheckpointError: A model cannot be loaded.
    """
    found: LineUp = {}
    for name, path in models.items():
        interface = interface_of(load_model(path))
        on_model(path)
        found[model_spec(path, name, interface)] = frozenset()
        low_s, high_s = interface.time_gaps_s or (interface.time_gap_s,) * 2
        for gap_s, options in gaps_s.items():
            if not low_s <= gap_s <= high_s:
                raise ConfigError(
                    f"{' and '.join(options.values())} {gap_s:g}: {path} was trained for "
                    f"{low_s:g} to {high_s:g} s"
                )
            if gap_s != interface.time_gap_s:
                variant = model_spec(
                    path, f"{name} {gap_s:g} s", interface, time_gap_s=gap_s, variant="time gap"
                )
                found[variant] = frozenset(options)
    for benchmark, asked in controllers.items():
        for spec in _baselines(asked)[0] if asked else []:
            if spec.knows != "radio":
                raise ConfigError(
                    f"--controllers {spec.spec}: it does not drive by the radio, so it is no "
                    "baseline"
                )
            found.setdefault(spec, frozenset({benchmark} - {""}))
    require_distinct("drivers", [spec.name for spec in found])
    return found


def short_names(paths: Sequence[str]) -> list[str]:
    """Name models by the parts of their paths in which they differ; one alone is the policy."""
    if len(paths) == 1:
        return ["policy"]
    parts = [list(PurePath(path).parts) for path in paths]
    for end in (0, -1):
        while min(map(len, parts)) > 1 and len({p[end] for p in parts}) == 1:
            for p in parts:
                p.pop(end)
    return ["/".join(p).removesuffix(".zip") for p in parts]
