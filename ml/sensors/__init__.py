"""What a node believes of itself: GPS, speed, heading and acceleration, with their errors."""

from ml.onboard.views import Measurement
from ml.sensors.layout import Truth
from ml.sensors.parameters import (
    AccelerometerFaults,
    AccelerometerParameters,
    GpsFreezeFault,
    GpsJumpFault,
    HeadingParameters,
    PositionParameters,
    RangingParameters,
    SensorFaultParameters,
    SensorParameters,
    SpeedParameters,
)
from ml.sensors.ranging import RangingSensor
from ml.sensors.sensor_bank import SensorBank

__all__ = [
    "AccelerometerFaults",
    "AccelerometerParameters",
    "GpsFreezeFault",
    "GpsJumpFault",
    "HeadingParameters",
    "Measurement",
    "PositionParameters",
    "RangingParameters",
    "RangingSensor",
    "SensorBank",
    "SensorFaultParameters",
    "SensorParameters",
    "SpeedParameters",
    "Truth",
]
