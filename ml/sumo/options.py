"""The options that SUMO runs with, the same for every backend."""

from pathlib import Path

from ml.sumo.tiling import NET_FILE, ROUTE_FILE
from ml.vehicle import DT_S


def load_options(tiles: Path) -> list[str]:
    """Return SUMO's options for the folder of a tiled network, without the program's name.

    Cars are moved by the trapezoidal rule, never teleported or removed, and nothing is random.
    """
    return [
        *("--net-file", str(tiles / NET_FILE)),
        *("--additional-files", str(tiles / ROUTE_FILE)),
        *("--step-length", str(DT_S)),
        *("--step-method.ballistic", "true"),
        *("--time-to-teleport", "-1"),
        *("--collision.action", "warn"),
        *("--collision.mingap-factor", "0"),
        *("--default.speeddev", "0"),
        *("--seed", "1"),
        *("--no-step-log", "true"),
        *("--no-warnings", "true"),
        *("--duration-log.disable", "true"),
        *("--xml-validation", "never"),
        *("--xml-validation.net", "never"),
    ]
