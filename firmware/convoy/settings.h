/* Set these for each board. */

#ifndef CONVOY_SETTINGS_H
#define CONVOY_SETTINGS_H

#define VEHICLE_ID "a"   /* Another one on every board, one to seven letters. */
#define CHANNEL 1        /* The same on all boards. */
#define TIME_GAP_S BRAIN_TIME_GAP_S /* To the car ahead; this is what the model was trained for. */

/* What `roadsense logs check` says of this board's log (firmware/logger); `delay` is beyond the age
 * that the log gives, and so is this. */
#define FORWARD_AXIS "x"
#define FORWARD_BIAS_MPS2 0.0f
#define GPS_DELAY_MS 150

#define IMU_ADDRESS 0x68 /* An MPU-6050; 0x69 with AD0 high. */
#define GPS_BAUD 9600    /* NMEA or UBX, whichever the receiver sends. */
/* #define GPS_RX_PIN 16    The GPS's TX; pins.h says which pins are usual per chip. */

#endif
