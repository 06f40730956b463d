"""Parameter files: radio and sensors in one validated JSON, and the presets."""

from ml.parameters.loading import PRESET_NAMES, load_parameters
from ml.parameters.parameters import Parameters, draw_episode_parameters

__all__ = ["PRESET_NAMES", "Parameters", "draw_episode_parameters", "load_parameters"]
