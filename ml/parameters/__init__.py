"""Parameter files: radio and sensors in one validated JSON, and the presets."""

from ml.parameters.loading import PRESET_NAMES, load_parameters, split_boards
from ml.parameters.parameters import BOARDS, Boards, BoardSet, Parameters, draw_episode_parameters

__all__ = [
    "BOARDS",
    "PRESET_NAMES",
    "BoardSet",
    "Boards",
    "Parameters",
    "draw_episode_parameters",
    "load_parameters",
    "split_boards",
]
