"""Where on earth the convoy drives, since boards speak of latitude and longitude."""

from __future__ import annotations

from pydantic import Field

from ml.espnow_emulator.parameters.section import RadioSection


class WireParameters(RadioSection):
    """What the 90 bytes on the air do to a message.

    The coarsest error is that of the position: degrees as float32 have steps of 3.8e-6 between
    32 and 64 degrees, .42 m along a meridian.
    """

    quantise: bool = Field(
        default=True,
        description="Round every message to what its bytes can carry. false: nothing is lost.",
    )
    reference_lat_deg: float = Field(
        default=32.8,
        ge=-80.0,
        le=80.0,
        description=(
            "Latitude of the simulated road's origin. At the default place the steps are .42 m "
            "north and .36 m east, as coarse as between 32 and 64 degrees. Judgement."
        ),
    )
    reference_lon_deg: float = Field(
        default=35.0,
        ge=-178.0,
        le=178.0,
        description="Longitude of the origin; the steps double beyond 64 degrees. Judgement.",
    )
