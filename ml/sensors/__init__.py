"""What a node believes of itself: GPS, speed, heading and acceleration, with their errors."""

from ml.sensors.sensor_bank import Measurement, SensorBank
from ml.sensors.sensor_parameters import (
    AccelerometerParameters,
    HeadingParameters,
    PositionParameters,
    SensorParameters,
    SpeedParameters,
)

__all__ = [
    "AccelerometerParameters",
    "HeadingParameters",
    "Measurement",
    "PositionParameters",
    "SensorBank",
    "SensorParameters",
    "SpeedParameters",
]
