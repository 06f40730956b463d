// The hardware that the logger and the convoy's node share: ESP-NOW, a GPS on UART 1, an MPU-6050 on
// I2C. Callbacks only take the time and hand over by a queue; the sketch's loop does the rest.
#ifndef NODE_H
#define NODE_H

#include "gps.h"
#include "imu.h"
#include "pins.h"
#include "tick.h"

#define NODE_FRAME_BYTES 90

// Microseconds since the board began; they do not wrap. millis() is their thousandth.
int64_t node_now_us();

// ---- Radio: broadcasts of 90 bytes on one channel ----

struct heard {
  int64_t at_us;  // taken in the radio's callback
  int8_t rssi_dbm;
  uint8_t rate;   // of the PHY, as the radio numbers it; 0 is 1 Mb/s
  uint8_t frame[NODE_FRAME_BYTES];
};

// Begin; fills in the own address. What went wrong, or nullptr.
const char *radio_begin(uint8_t channel, uint8_t mac[6]);
// Take the oldest frame that was heard; false where none waits.
bool radio_next(struct heard *entry);
// False where the radio does not take it.
bool radio_send(const uint8_t frame[NODE_FRAME_BYTES]);
// Frames that found the queue full.
uint32_t radio_dropped();

// ---- GPS: NMEA or UBX, whichever comes ----

struct located {
  int64_t at_us;  // taken as the last byte of its sentence was read, while the sketch was elsewhere
  struct gps_fix fix;
};

const char *gps_begin(int8_t rx_pin, int8_t tx_pin, unsigned long baud);
bool gps_next(struct located *entry);

// ---- IMU ----

// Begin with the sensor at an address.
const char *imu_wire_begin(int sda_pin, int scl_pin, uint8_t address);
// Read the sensor if a hundredth of a second has passed, and add what it says to `imu`; `stands` as
// in `imu_add`. True where it answered.
bool imu_poll(struct imu *imu, bool stands);

#endif
