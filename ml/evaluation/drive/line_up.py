"""Who is asked on a recorded drive."""

from collections.abc import Sequence
from functools import cache

from ml.errors import ConfigError
from ml.evaluation.drivers import (
    ControllerDriver,
    ModelLoader,
    PolicyDriver,
    controller_spec,
    interface_of,
    make_driver,
    model_spec,
)
from ml.evaluation.records import Variant, require_distinct


def line_up(
    model: str, controllers: Sequence[str], load_model: ModelLoader
) -> list[PolicyDriver | ControllerDriver]:
    """Build a policy, what it is without its parts, and controllers by the radio.

    Args:
        model: The policy's file.
        controllers: As `controller_spec` takes them.
        load_model: Loads a saved model.

    Raises:
        ConfigError: There is no such controller, or it does not drive by the radio.
        CheckpointError: The model cannot be loaded.
    """
    load_once = cache(load_model)  # variants are the same network, and are asked together
    interface = interface_of(load_once(model))
    variants: list[tuple[str, Variant]] = [("policy", "")]
    if interface.safety_layer:
        variants.append(("policy, no safety layer", "no safety layer"))
    variants.append(("policy, radio off", "radio off"))
    specs = [model_spec(model, name, interface, variant=variant) for name, variant in variants]
    for spec in map(controller_spec, controllers):
        if spec.knows == "truth":
            raise ConfigError(
                f"--controllers {spec.spec}: it drives by ground truth, which no log holds. Name "
                "one that drives by the radio, such as predictive:0.5."
            )
        specs.append(spec)
    require_distinct("--controllers", [spec.name for spec in specs])
    drivers = [make_driver(spec, load_once) for spec in specs]
    return [one for one in drivers if isinstance(one, PolicyDriver | ControllerDriver)]
