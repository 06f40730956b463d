/* Where things are wired, per chip; a sketch may define any of them before it includes this. */

#ifndef NODE_PINS_H
#define NODE_PINS_H

#if defined(CONFIG_IDF_TARGET_ESP32C3) /* 12 to 17 are the flash's. */
#define NODE_GPS_RX 4
#define NODE_GPS_TX 5
#define NODE_SDA 6
#define NODE_SCL 7
#define NODE_LED_BRAKE 0
#define NODE_LED_ACCEL 1
#define NODE_LED_STATE 3
#elif defined(CONFIG_IDF_TARGET_ESP32S3)
#define NODE_GPS_RX 16
#define NODE_GPS_TX 17
#define NODE_SDA 8
#define NODE_SCL 9
#define NODE_LED_BRAKE 4
#define NODE_LED_ACCEL 5
#define NODE_LED_STATE 6
#else /* The classic ESP32; of a WROVER 16 and 17 are its PSRAM's: take 32 and 33 there. */
#define NODE_GPS_RX 16
#define NODE_GPS_TX 17
#define NODE_SDA 21
#define NODE_SCL 22
#define NODE_LED_BRAKE 25
#define NODE_LED_ACCEL 26
#define NODE_LED_STATE 27
#endif

#ifndef GPS_RX_PIN
#define GPS_RX_PIN NODE_GPS_RX /* The GPS's TX. */
#endif
#ifndef GPS_TX_PIN
#define GPS_TX_PIN NODE_GPS_TX
#endif
#ifndef SDA_PIN
#define SDA_PIN NODE_SDA
#endif
#ifndef SCL_PIN
#define SCL_PIN NODE_SCL
#endif
#ifndef BRAKE_PIN
#define BRAKE_PIN NODE_LED_BRAKE
#endif
#ifndef ACCEL_PIN
#define ACCEL_PIN NODE_LED_ACCEL
#endif
#ifndef STATE_PIN
#define STATE_PIN NODE_LED_STATE
#endif

#endif
