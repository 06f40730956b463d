"""A model becomes C that an ESP32 runs: its weights beside the fixed code of `firmware/brain`."""
