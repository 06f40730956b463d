// The calls of firmware/stubs on a PC: a clock that the test turns, a radio, a serial port, a GPS's line
// and an IMU that it feeds and reads. One library is one board; load a copy of the file for each.
//
// With -DWITH_BRAIN brain.c is to be compiled with -Dbrain_step=brain_step_itself: a step then takes as long
// as the test says, during which timers fire and the watchdog runs.
#include <Arduino.h>
#include <WiFi.h>
#include <Wire.h>
#include <esp_now.h>
#include <esp_system.h>
#include <esp_task_wdt.h>
#include <esp_timer.h>

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

void setup();
void loop();

namespace {

const int64_t LOOP_US = 50;

struct Stopped {};  // thrown out of a sketch that does not come back by itself

struct Timer {
  void (*callback)(void *);
  void *arg;
  int64_t period_us, next_us;
};

struct Queue {
  size_t length, size;
  std::deque<std::string> items;
};

struct Sent {
  int64_t at_us;
  uint8_t bytes[90];
};

int64_t now_us, limit_us, fed_us = -1, watchdog_us, bitten_us = -1;
int32_t step_us;
bool is_advancing;
esp_reset_reason_t reason = ESP_RST_POWERON;
std::vector<Timer *> timers;
std::deque<uint8_t> gps_line, serial_line;
std::function<void(void)> on_gps, on_serial;
std::string written;
int serial_room = 16384;
std::vector<Sent> sent;
bool radio_takes = true;
esp_now_recv_cb_t on_radio;
uint8_t mac[6] = {0x24, 0x0a, 0xc4, 0, 0, 1};
uint8_t registers[128];
bool has_imu = true;
size_t wire_at, wire_bytes;
uint8_t wire_first;
int leds[64];
struct Lit {
  int64_t at_us;
  int32_t pin, value;
};
std::vector<Lit> lit;

// Turns the clock, and calls what is due on the way.
void advance(int64_t us) {
  int64_t until_us = now_us + us;
  bool is_outer = !is_advancing;
  is_advancing = true;
  while (is_outer) {
    Timer *first = nullptr;
    for (Timer *timer : timers) {
      if (timer->next_us <= until_us && (first == nullptr || timer->next_us < first->next_us)) first = timer;
    }
    if (first == nullptr) break;
    now_us = std::max(now_us, first->next_us);
    first->next_us += first->period_us;
    first->callback(first->arg);
  }
  now_us = until_us;
  if (is_outer) is_advancing = false;
  if (watchdog_us > 0 && fed_us >= 0 && bitten_us < 0 && now_us - fed_us > watchdog_us) {
    bitten_us = fed_us + watchdog_us;
  }
}

}  // namespace

HardwareSerial Serial(0), Serial1(1);
WiFiClass WiFi;
TwoWire Wire;

uint32_t millis() { return (uint32_t)(now_us / 1000); }
void delay(uint32_t ms) {
  advance((int64_t)ms * 1000);
  if (now_us >= limit_us + 10000000) throw Stopped();
}
void pinMode(uint8_t, uint8_t) {}
void analogWrite(uint8_t pin, int value) {
  if (leds[pin] != value) lit.push_back({now_us, pin, value});
  leds[pin] = value;
}

size_t HardwareSerial::setRxBufferSize(size_t size) { return size; }
size_t HardwareSerial::setTxBufferSize(size_t size) { return size; }
bool HardwareSerial::setRxFIFOFull(uint8_t) { return true; }
void HardwareSerial::begin(unsigned long, uint32_t, int8_t, int8_t) {}
void HardwareSerial::onReceive(std::function<void(void)> taken, bool) { (number_ == 1 ? on_gps : on_serial) = taken; }
int HardwareSerial::available() { return (int)(number_ == 1 ? gps_line : serial_line).size(); }
int HardwareSerial::availableForWrite() { return serial_room; }
int HardwareSerial::read() {
  std::deque<uint8_t> &line = number_ == 1 ? gps_line : serial_line;
  if (line.empty()) return -1;
  int byte = line.front();
  line.pop_front();
  return byte;
}
size_t HardwareSerial::write(const uint8_t *bytes, size_t size) {
  if (number_ == 0) written.append((const char *)bytes, size);
  return size;
}
size_t HardwareSerial::printf(const char *format, ...) {
  char text[1024];
  va_list values;
  va_start(values, format);
  int length = vsnprintf(text, sizeof(text), format, values);
  va_end(values);
  return write((const uint8_t *)text, (size_t)length);
}

bool WiFiClass::mode(wifi_mode_t) { return true; }

// An MPU-6050 at 0x68: a pointer to a register, then reads or writes from there on.
bool TwoWire::begin(int, int, uint32_t) { return true; }
void TwoWire::setTimeOut(uint16_t) {}
void TwoWire::beginTransmission(uint8_t address) { wire_bytes = address == 0x68 && has_imu ? 0 : 1000; }
size_t TwoWire::write(uint8_t byte) {
  if (wire_bytes == 0) wire_first = byte;
  if (wire_bytes == 1) registers[wire_first & 127] = byte;
  wire_bytes++;
  return 1;
}
uint8_t TwoWire::endTransmission(bool) { return wire_bytes < 1000 ? 0 : 2; }
size_t TwoWire::requestFrom(uint8_t address, size_t size, bool) {
  wire_at = wire_first;
  return address == 0x68 && has_imu ? size : 0;
}
int TwoWire::read() {
  bool is_asleep = (registers[0x6b] & 0x40) != 0;
  uint8_t value = registers[wire_at++ & 127];
  return is_asleep ? 0 : value;
}

extern "C" {
esp_err_t esp_wifi_set_ps(wifi_ps_type_t) { return ESP_OK; }
esp_err_t esp_wifi_set_channel(uint8_t primary, wifi_second_chan_t) { return primary >= 1 && primary <= 13 ? ESP_OK : 1; }
esp_err_t esp_wifi_get_mac(wifi_interface_t, uint8_t out[6]) {
  memcpy(out, mac, 6);
  return ESP_OK;
}
esp_err_t esp_now_init() { return ESP_OK; }
esp_err_t esp_now_register_recv_cb(esp_now_recv_cb_t taken) {
  on_radio = taken;
  return ESP_OK;
}
esp_err_t esp_now_add_peer(const esp_now_peer_info_t *) { return ESP_OK; }
esp_err_t esp_now_send(const uint8_t *, const uint8_t *data, size_t length) {
  if (!radio_takes || length != 90) return 1;
  Sent entry;
  entry.at_us = now_us;
  memcpy(entry.bytes, data, 90);
  sent.push_back(entry);
  return ESP_OK;
}
int64_t esp_timer_get_time() { return now_us; }
esp_err_t esp_timer_create(const esp_timer_create_args_t *args, esp_timer_handle_t *timer) {
  *timer = (esp_timer_handle_t) new Timer{args->callback, args->arg, 0, 0};
  return ESP_OK;
}
esp_err_t esp_timer_start_periodic(esp_timer_handle_t handle, uint64_t period_us) {
  Timer *timer = (Timer *)handle;
  timer->period_us = (int64_t)period_us;
  timer->next_us = now_us + timer->period_us;
  timers.push_back(timer);
  return ESP_OK;
}
esp_err_t esp_task_wdt_init(const esp_task_wdt_config_t *) { return ESP_OK; }
esp_err_t esp_task_wdt_reconfigure(const esp_task_wdt_config_t *config) {
  watchdog_us = config->trigger_panic ? (int64_t)config->timeout_ms * 1000 : 0;
  return ESP_OK;
}
esp_err_t esp_task_wdt_add(TaskHandle_t) {
  fed_us = now_us;
  return ESP_OK;
}
esp_err_t esp_task_wdt_reset() {
  fed_us = now_us;
  return ESP_OK;
}
esp_reset_reason_t esp_reset_reason() { return reason; }

QueueHandle_t xQueueCreate(UBaseType_t length, UBaseType_t size) { return (QueueHandle_t) new Queue{length, size, {}}; }
BaseType_t xQueueSend(QueueHandle_t handle, const void *item, TickType_t) {
  Queue *queue = (Queue *)handle;
  if (queue->items.size() >= queue->length) return pdFALSE;
  queue->items.emplace_back((const char *)item, queue->size);
  return pdTRUE;
}
BaseType_t xQueueReceive(QueueHandle_t handle, void *item, TickType_t) {
  Queue *queue = (Queue *)handle;
  if (queue->items.empty()) return pdFALSE;
  memcpy(item, queue->items.front().data(), queue->size);
  queue->items.pop_front();
  return pdTRUE;
}

// ---- What a test calls ----

// Switches the board on at a moment of its clock; 1 where the sketch does not get out of setup().
int32_t host_begin(int64_t at_us, int32_t reset_reason, const uint8_t own_mac[6]) {
  now_us = limit_us = at_us;
  reason = (esp_reset_reason_t)reset_reason;
  memcpy(mac, own_mac, 6);
  registers[0x6b] = 0x40;  // an IMU begins asleep
  try {
    setup();
  } catch (const Stopped &) {
    return 1;
  }
  return 0;
}
void host_run(int64_t until_us) {
  limit_us = until_us;
  while (now_us < until_us && bitten_us < 0) {
    loop();
    advance(LOOP_US);
  }
}
int64_t host_now_us() { return now_us; }
void host_gps(const uint8_t *bytes, int32_t size) {
  gps_line.insert(gps_line.end(), bytes, bytes + size);
  if (on_gps) on_gps();
}
void host_serial(const uint8_t *bytes, int32_t size) {
  serial_line.insert(serial_line.end(), bytes, bytes + size);
  if (on_serial) on_serial();
}
void host_hear(const uint8_t *bytes, int32_t size) {
  wifi_pkt_rx_ctrl_t control = {};
  control.rssi = -60;
  esp_now_recv_info_t info = {mac, mac, &control};
  on_radio(&info, bytes, size);
}
void host_imu(const int16_t words[7], int32_t answers) {
  has_imu = answers != 0;
  for (int k = 0; k < 7; k++) {
    registers[0x3b + 2 * k] = (uint8_t)((uint16_t)words[k] >> 8);
    registers[0x3c + 2 * k] = (uint8_t)words[k];
  }
}
void host_imu_sleeps() { registers[0x6b] = 0x40; }
void host_step_us(int32_t us) { step_us = us; }
void host_radio_takes(int32_t takes) { radio_takes = takes != 0; }
void host_serial_room(int32_t room) { serial_room = room; }
int32_t host_led(int32_t pin) { return leds[pin]; }
// When an LED was first at a level, at a time or later; -1 for never.
int64_t host_lit_us(int32_t pin, int32_t value, int64_t from_us) {
  for (const Lit &entry : lit) {
    if (entry.pin == pin && entry.value == value && entry.at_us >= from_us) return entry.at_us;
  }
  return -1;
}
int64_t host_bitten_us() { return bitten_us; }
int32_t host_sent(uint8_t *frames, int64_t *at_us, int32_t most) {
  int32_t count = std::min(most, (int32_t)sent.size());
  for (int32_t k = 0; k < count; k++) {
    at_us[k] = sent[k].at_us;
    memcpy(frames + 90 * k, sent[k].bytes, 90);
  }
  sent.erase(sent.begin(), sent.begin() + count);
  return count;
}
int32_t host_written(char *text, int32_t most) {
  int32_t size = std::min(most, (int32_t)written.size());
  memcpy(text, written.data(), (size_t)size);
  written.erase(0, (size_t)size);
  return size;
}
}

#ifdef WITH_BRAIN
#include "brain.h"
extern "C" struct brain_command brain_step_itself(struct brain *brain, uint32_t now_ms);
extern "C" struct brain_command brain_step(struct brain *brain, uint32_t now_ms) {
  struct brain_command command = brain_step_itself(brain, now_ms);
  advance(step_us);
  return command;
}
#endif
