// RoadSense logger: two or three ESP32 boards broadcast their state ten times a second over ESP-NOW, and
// each writes what it sent and what it received to its serial port, as lines that begin with TX, RX or RTT.
// README.md beside this file leads through wiring, flashing, driving and calibrating.
//
// Board package: esp32 by Espressif 3.x (Arduino). Library: TinyGPSPlus. GPS: NEO-6M or later on UART 2.
#include <Arduino.h>
#include <TinyGPSPlus.h>
#include <WiFi.h>
#include <Wire.h>
#include <esp_now.h>
#include <esp_timer.h>
#include <esp_wifi.h>

// ---- Set these -----------------------------------------------------------------------------------
#define VEHICLE_ID "a"  // another one on every board, eight characters at most
#define IS_PINGER 1     // 1 on one board, 0 on the others: its beacons are echoed, which makes round trips
#define ECHOES 1        // 1 on ONE other board: it sends every ping of the pinger back at once
#define CHANNEL 1       // the same on all boards
#define GPS_RX_PIN 16   // the GPS's TX
#define GPS_TX_PIN 17
#define IMU_ADDRESS 0x68  // MPU-6050; set IMU_ADDRESS to 0 without one

// ---- What is written; the reader of these logs is tested against these three lines ------------------
static const char TX_HEADER[] =
    "timestamp_local_ms,msg_timestamp,vehicle_id,lat,lon,speed,heading,accel_x,accel_y,accel_z,hop_count,source_mac,fix_age_ms,sequence,rate_kbps";
static const char RX_HEADER[] =
    "timestamp_local_ms,msg_timestamp,from_vehicle_id,lat,lon,speed,heading,accel_x,accel_y,accel_z,hop_count,source_mac,rssi_dbm,rate_kbps,fix_age_ms,sequence,vehicle_id";
static const char RTT_HEADER[] =
    "sequence,send_time_ms,recv_time_ms,rtt_ms,lat,lon,speed,heading,accel_x,peer_lat,peer_lon,peer_fix_age_ms,rssi_dbm,fix_age_ms,vehicle_id,lost";

static const uint32_t PERIOD_US = 100000;
static const uint8_t BROADCAST[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
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
  uint8_t padding[18];     // 90 bytes, as the messages of the field drives
};
static_assert(sizeof(Frame) == 90, "a frame has 90 bytes");

struct Heard {
  int64_t at_us;
  int8_t rssi;
  uint8_t rate;
  Frame frame;
};

static TinyGPSPlus gps;
static QueueHandle_t heard;       // filled in the radio's callback, emptied in loop()
static volatile uint32_t overrun; // frames that found the queue full
static State own;
static uint32_t sequence, pinged;
static uint8_t my_mac[6];
static int64_t next_us;

struct Ping {  // the pinger's last beacons, until their echo is in or a period is over
  uint32_t sequence;
  int64_t sent_us;
  bool open;
  State state;
};
static Ping ping;

static void write_row(const char *kind, const char *row) { Serial.printf("%s,%s\n", kind, row); }

// In the radio's task: take the time at once, and nothing else.
static void on_receive(const esp_now_recv_info_t *info, const uint8_t *data, int length) {
  int64_t now_us = esp_timer_get_time();
  if (length != sizeof(Frame)) return;
  Heard entry;
  entry.at_us = now_us;
  entry.rssi = info->rx_ctrl->rssi;
  entry.rate = info->rx_ctrl->rate;
  memcpy(&entry.frame, data, sizeof(Frame));
  if (entry.frame.magic != MAGIC) return;
  if (xQueueSend(heard, &entry, 0) != pdTRUE) overrun++;
}

static void read_imu() {
#if IMU_ADDRESS
  Wire.beginTransmission(IMU_ADDRESS);
  Wire.write(0x3b);
  if (Wire.endTransmission(false) != 0 || Wire.requestFrom(IMU_ADDRESS, 6) != 6) return;
  for (int axis = 0; axis < 3; axis++) {
    int16_t raw = Wire.read() << 8;
    raw |= Wire.read();
    own.accel[axis] = raw / 16384.0f * 9.80665f;  // +-2 g
  }
#endif
}

static void refresh_state() {
  while (Serial2.available()) gps.encode(Serial2.read());
  if (gps.location.isValid()) {
    own.lat = gps.location.lat();
    own.lon = gps.location.lng();
    own.fix_age_ms = gps.location.age();
  }
  if (gps.speed.isValid()) own.speed = gps.speed.mps();
  if (gps.course.isValid()) own.heading = gps.course.deg();
  read_imu();
}

static void format_state(char *out, size_t size, const State &s) {
  snprintf(out, size, "%.7f,%.7f,%.2f,%.1f,%.3f,%.3f,%.3f", s.lat, s.lon, s.speed, s.heading,
           s.accel[0], s.accel[1], s.accel[2]);
}

static void format_mac(char *out, size_t size, const uint8_t *mac) {
  snprintf(out, size, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void close_ping(const Heard *echo) {
  if (!ping.open) return;
  ping.open = false;
  char row[320];
  double sent_ms = ping.sent_us / 1000.0;
  if (echo != nullptr) {
    double back_ms = echo->at_us / 1000.0;
    const State &p = echo->frame.state;
    snprintf(row, sizeof(row), "%lu,%.3f,%.3f,%.3f,%.7f,%.7f,%.2f,%.1f,%.3f,%.7f,%.7f,%lu,%d,%lu,%s,0",
             (unsigned long)ping.sequence, sent_ms, back_ms, back_ms - sent_ms, ping.state.lat,
             ping.state.lon, ping.state.speed, ping.state.heading, ping.state.accel[0], p.lat, p.lon,
             (unsigned long)p.fix_age_ms, echo->rssi, (unsigned long)ping.state.fix_age_ms, VEHICLE_ID);
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
  esp_now_send(BROADCAST, reinterpret_cast<uint8_t *>(&frame), sizeof(frame));
}

static void send_beacon() {
  close_ping(nullptr);  // a period is over: it is lost
  refresh_state();
  int64_t now_us = esp_timer_get_time();
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

static void handle(const Heard &entry) {
  const Frame &f = entry.frame;
  char id[9] = {};
  memcpy(id, f.id, 8);
  if (f.type == ECHO) {
    if (IS_PINGER && ping.open && f.sequence == ping.sequence) close_ping(&entry);
    return;
  }
  if (ECHOES && !IS_PINGER && f.wants_echo) send(ECHO, f.sequence, false);
  char state[128], mac[18], row[360];
  format_state(state, sizeof(state), f.state);
  format_mac(mac, sizeof(mac), f.source_mac);
  snprintf(row, sizeof(row), "%.3f,%lu,%s,%s,%u,%s,%d,%u,%lu,%lu,%s", entry.at_us / 1000.0,
           (unsigned long)f.state.msg_timestamp, id, state, f.hop_count, mac, entry.rssi,
           entry.rate == 0 ? 1000u : 0u, (unsigned long)f.state.fix_age_ms, (unsigned long)f.sequence,
           VEHICLE_ID);
  write_row("RX", row);
}

void setup() {
  Serial.setTxBufferSize(16384);
  Serial.begin(921600);
  Serial2.begin(9600, SERIAL_8N1, GPS_RX_PIN, GPS_TX_PIN);
#if IMU_ADDRESS
  Wire.begin();
  Wire.setClock(400000);
  Wire.beginTransmission(IMU_ADDRESS);
  Wire.write(0x6b);
  Wire.write(0);  // wake up
  Wire.endTransmission();
#endif
  heard = xQueueCreate(32, sizeof(Heard));
  WiFi.mode(WIFI_STA);
  esp_wifi_set_ps(WIFI_PS_NONE);  // a radio that sleeps loses what it sleeps through
  esp_wifi_set_channel(CHANNEL, WIFI_SECOND_CHAN_NONE);
  esp_wifi_get_mac(WIFI_IF_STA, my_mac);
  esp_now_init();
  esp_now_register_recv_cb(on_receive);
  esp_now_peer_info_t peer = {};
  memcpy(peer.peer_addr, BROADCAST, 6);
  peer.channel = CHANNEL;
  esp_now_add_peer(&peer);
  write_row("TX", TX_HEADER);
  write_row("RX", RX_HEADER);
  write_row("RTT", RTT_HEADER);
  next_us = esp_timer_get_time() + PERIOD_US;
}

void loop() {
  Heard entry;
  while (xQueueReceive(heard, &entry, 0) == pdTRUE) handle(entry);
  while (Serial2.available()) gps.encode(Serial2.read());
  if (esp_timer_get_time() >= next_us) {
    next_us += PERIOD_US;
    send_beacon();
  }
}
