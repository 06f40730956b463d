"""Where each feature and each field of a message stands in its row: plain numbers for kernels."""

from ml.espnow_emulator import PayloadField
from ml.onboard.observation.spec import EGO_INDEX, PEER_INDEX

X, Y, SPEED, HEADING, ACCEL, SD = (
    int(field)
    for field in (
        PayloadField.X_M,
        PayloadField.Y_M,
        PayloadField.SPEED_MPS,
        PayloadField.HEADING_DEG,
        PayloadField.ACCEL_MPS2,
        PayloadField.POSITION_SD_M,
    )
)
(
    P_GAP,
    P_TIME_GAP,
    P_LATERAL,
    P_RELATIVE,
    P_SPEED,
    P_ACCEL,
    P_SIN,
    P_COS,
    P_AGE,
    P_SD,
    P_HOPS,
    P_BETWEEN,
    P_HISTORY,
    P_ROOM,
    P_NEEDED,
) = (
    PEER_INDEX[name]
    for name in (
        "gap",
        "time_gap",
        "lateral",
        "relative_speed",
        "speed",
        "accel",
        "heading_sin",
        "heading_cos",
        "age",
        "position_sd",
        "hops",
        "cars_between",
        "accel_1_before",
        "room",
        "needed_braking",
    )
)
(
    E_SPEED,
    E_ACCEL,
    E_COMMAND,
    E_EARLIER,
    E_CHANGE,
    E_SD,
    E_HEARD,
    E_SILENCE,
    E_GAP,
    E_CLOSING,
    E_TIME_GAP,
    E_BRAKING,
    E_RANGE,
    E_RANGE_VALID,
    E_WANTED,
    E_GAP_ERROR,
    E_LEAD_ACCEL,
    E_LEAD_AGE,
    E_LEAD_SD,
    E_NEEDED,
    E_MISSING,
) = (
    EGO_INDEX[name]
    for name in (
        "speed",
        "accel",
        "last_command",
        "earlier_command",
        "speed_change",
        "position_sd",
        "peers_heard",
        "silence",
        "nearest_gap",
        "nearest_closing",
        "nearest_time_gap",
        "hardest_braking",
        "range",
        "range_valid",
        "wanted_time_gap",
        "gap_error",
        "nearest_accel",
        "nearest_age",
        "nearest_sd",
        "needed_braking",
        "missing_room",
    )
)
