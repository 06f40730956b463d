"""Parameter files: radio and sensors in one validated JSON, and the presets."""
