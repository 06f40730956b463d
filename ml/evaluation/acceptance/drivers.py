"""Who takes the acceptance tests: models, models at other time gaps, and baselines."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TypeAlias

from ml.errors import ConfigError
from ml.evaluation.drivers import ModelLoader, interface_of, model_spec
from ml.evaluation.planning import controllers_named
from ml.evaluation.records import DriverSpec, require_distinct

LineUp: TypeAlias = dict[DriverSpec, frozenset[str]]
"""Drivers, and the benchmarks that they drive on; none named: all."""


def line_up(
    models: Sequence[str],
    gaps_s: Mapping[float, Mapping[str, str]],
    controllers: Mapping[str, Sequence[str]],
    *,
    load_model: ModelLoader,
    on_model: Callable[[str], None],
) -> LineUp:
    """List who drives.

    Args:
        models: Paths.
        gaps_s: Further time gaps of each model, s; of each the benchmarks that are driven with it,
            and the options that say so.
        controllers: Specifications of baselines by the benchmark that they drive on; "" for all.
        load_model: Loads a model.
        on_model: Told each that was read.

    Raises:
        ConfigError: An unknown controller, or one that sees what no radio tells; a time gap that a
            model was not trained for.
        CheckpointError: A model cannot be loaded.
    """
    found: LineUp = {}
    for path, name in zip(models, short_names(models), strict=True):
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
        for spec in controllers_named(asked):
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
