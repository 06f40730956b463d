// RoadSense logger: two or three ESP32 boards broadcast their state ten times a second over ESP-NOW, and
// each writes what it sent and what it received to its serial port, as lines that begin with TX, RX or RTT.
// README.md beside this file leads through wiring, flashing, driving and calibrating.
//
// Board package: esp32 by Espressif 3.x (Arduino). Library: firmware/node, beside this folder.
#include <Arduino.h>

// ---- Set these -----------------------------------------------------------------------------------
#define VEHICLE_ID "a"  // another one on every board, seven characters at most
#define IS_PINGER 1     // 1 on one board, 0 on the others: its beacons are echoed, which makes round trips
#define ECHOES 1        // 1 on ONE other board: it sends every ping of the pinger back at once
#define CHANNEL 1       // the same on all boards
#define IMU_ADDRESS 0x68  // MPU-6050; set IMU_ADDRESS to 0 without one
// #define GPS_RX_PIN 16  // the GPS's TX; firmware/node/pins.h says which pins are usual per chip

#include "node.h"

// ---- What is written; the reader of these logs is tested against these three lines ------------------
static const char TX_HEADER[] =
    "timestamp_local_ms,msg_timestamp,vehicle_id,lat,lon,speed,heading,accel_x,accel_y,accel_z,hop_count,source_mac,fix_age_ms,sequence,rate_kbps";
static const char RX_HEADER[] =
    "timestamp_local_ms,msg_timestamp,from_vehicle_id,lat,lon,speed,heading,accel_x,accel_y,accel_z,hop_count,source_mac,rssi_dbm,rate_kbps,fix_age_ms,sequence,vehicle_id";
static const char RTT_HEADER[] =
    "sequence,send_time_ms,recv_time_ms,rtt_ms,lat,lon,speed,heading,accel_x,peer_lat,peer_lon,peer_fix_age_ms,rssi_dbm,fix_age_ms,vehicle_id,lost";

static const uint32_t MAGIC = 0x52534c31;  // "RSL1"
enum : uint8_t { BEACON = 0, ECHO = 1 };

struct __attribute__((packed)) State {
  uint32_t msg_timestamp;  // ms of the sender's clock
  double lat, lon;         // degrees, 0 without a fix
  float speed, heading;    // m/s, degrees clockwise from north
  float accel[3];          // m/s2
  uint32_t fix_age_ms;
};

struct __attribute__((packed)) Frame {
  uint32_t magic;
  uint8_t type, hop_count, wants_echo, spare;
  char id[8];
  uint32_t sequence;       // of a beacon; an echo carries that of the ping
  uint8_t source_mac[6];
  State state;
  uint8_t padding[20];     // 90 bytes, as the messages of the field drives
};
static_assert(sizeof(Frame) == NODE_FRAME_BYTES, "a frame has 90 bytes");

static struct imu imu;
static struct tick tick;
static int64_t fix_us;           // when the newest fix came
static State own;
static uint32_t sequence;
static uint8_t my_mac[6];

struct Ping {  // the pinger's last beacons, until their echo is in or a period is over
  uint32_t sequence;
  int64_t sent_us;
  bool open;
  State state;
};
static Ping ping;

static void write_row(const char *kind, const char *row) { Serial.printf("%s,%s\n", kind, row); }

static void refresh_state() {
  struct located entry;
  while (gps_next(&entry)) {
    fix_us = entry.at_us;
    own.lat = entry.fix.place_e7[0] * 1e-7;
    own.lon = entry.fix.place_e7[1] * 1e-7;
    own.speed = entry.fix.speed_mps;
    if (entry.fix.has_heading) own.heading = entry.fix.heading_deg;
  }
  if (fix_us != 0) own.fix_age_ms = (node_now_us() - fix_us) / 1000;
  struct imu_mean mean;
  if (imu_take(&imu, &mean)) memcpy(own.accel, mean.accel_mps2, sizeof(own.accel));
}

static void format_state(char *out, size_t size, const State &s) {
  snprintf(out, size, "%.7f,%.7f,%.2f,%.1f,%.3f,%.3f,%.3f", s.lat, s.lon, s.speed, s.heading,
           s.accel[0], s.accel[1], s.accel[2]);
}

static void format_mac(char *out, size_t size, const uint8_t *mac) {
  snprintf(out, size, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void close_ping(const Frame *echo, const struct heard *heard) {
  if (!ping.open) return;
  ping.open = false;
  char row[320];
  double sent_ms = ping.sent_us / 1000.0;
  if (echo != nullptr) {
    double back_ms = heard->at_us / 1000.0;
    const State &p = echo->state;
    snprintf(row, sizeof(row), "%lu,%.3f,%.3f,%.3f,%.7f,%.7f,%.2f,%.1f,%.3f,%.7f,%.7f,%lu,%d,%lu,%s,0",
             (unsigned long)ping.sequence, sent_ms, back_ms, back_ms - sent_ms, ping.state.lat,
             ping.state.lon, ping.state.speed, ping.state.heading, ping.state.accel[0], p.lat, p.lon,
             (unsigned long)p.fix_age_ms, heard->rssi_dbm, (unsigned long)ping.state.fix_age_ms, VEHICLE_ID);
  } else {
    snprintf(row, sizeof(row), "%lu,%.3f,,,%.7f,%.7f,%.2f,%.1f,%.3f,,,,,%lu,%s,1",
             (unsigned long)ping.sequence, sent_ms, ping.state.lat, ping.state.lon, ping.state.speed,
             ping.state.heading, ping.state.accel[0], (unsigned long)ping.state.fix_age_ms, VEHICLE_ID);
  }
  write_row("RTT", row);
}

static void send(uint8_t type, uint32_t number, bool wants_echo) {
  Frame frame = {};
  frame.magic = MAGIC;
  frame.type = type;
  frame.wants_echo = wants_echo;
  strncpy(frame.id, VEHICLE_ID, sizeof(frame.id) - 1);
  frame.sequence = number;
  memcpy(frame.source_mac, my_mac, 6);
  frame.state = own;
  radio_send(reinterpret_cast<uint8_t *>(&frame));
}

static void send_beacon() {
  close_ping(nullptr, nullptr);  // a period is over: it is lost
  refresh_state();
  int64_t now_us = node_now_us();
  own.msg_timestamp = now_us / 1000;
  if (IS_PINGER) ping = {sequence, now_us, true, own};
  send(BEACON, sequence, IS_PINGER);
  char state[128], mac[18], row[320];
  format_state(state, sizeof(state), own);
  format_mac(mac, sizeof(mac), my_mac);
  snprintf(row, sizeof(row), "%.3f,%lu,%s,%s,0,%s,%lu,%lu,1000", now_us / 1000.0,
           (unsigned long)own.msg_timestamp, VEHICLE_ID, state, mac, (unsigned long)own.fix_age_ms,
           (unsigned long)sequence);
  write_row("TX", row);
  sequence++;
}

static void handle(const struct heard &entry) {
  Frame f;
  memcpy(&f, entry.frame, sizeof(f));
  if (f.magic != MAGIC) return;
  char id[9] = {};
  memcpy(id, f.id, 8);
  if (f.type == ECHO) {
    if (IS_PINGER && ping.open && f.sequence == ping.sequence) close_ping(&f, &entry);
    return;
  }
  if (ECHOES && !IS_PINGER && f.wants_echo) send(ECHO, f.sequence, false);
  char state[128], mac[18], row[360];
  format_state(state, sizeof(state), f.state);
  format_mac(mac, sizeof(mac), f.source_mac);
  snprintf(row, sizeof(row), "%.3f,%lu,%s,%s,%u,%s,%d,%u,%lu,%lu,%s", entry.at_us / 1000.0,
           (unsigned long)f.state.msg_timestamp, id, state, f.hop_count, mac, entry.rssi_dbm,
           entry.rate == 0 ? 1000u : 0u, (unsigned long)f.state.fix_age_ms, (unsigned long)f.sequence,
           VEHICLE_ID);
  write_row("RX", row);
}

// Nothing can be logged: say why, for ever.
static void fail(const char *why) {
  for (;;) {
    Serial.printf("FAIL,%s\n", why);
    delay(1000);
  }
}

void setup() {
  Serial.setTxBufferSize(16384);
  Serial.begin(921600);
  const char *why = gps_begin(GPS_RX_PIN, GPS_TX_PIN, 9600);
#if IMU_ADDRESS
  struct imu_mounting as_it_lies;
  imu_mounting_of("x", 0.0f, &as_it_lies);  // the log holds the sensor's own axes
  imu_begin(&imu, &as_it_lies);
  if (why == nullptr) why = imu_wire_begin(SDA_PIN, SCL_PIN, IMU_ADDRESS);
#endif
  if (why == nullptr) why = radio_begin(CHANNEL, my_mac);
  if (why != nullptr) fail(why);
  write_row("TX", TX_HEADER);
  write_row("RX", RX_HEADER);
  write_row("RTT", RTT_HEADER);
  tick_begin(&tick, node_now_us());
}

void loop() {
  struct heard entry;
  while (radio_next(&entry)) handle(entry);
#if IMU_ADDRESS
  imu_poll(&imu, false);
#endif
  if (tick_is_due(&tick, node_now_us())) send_beacon();
}
