"""Pictures and report of a calibration."""
