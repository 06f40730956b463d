// See node.h.
#include "node.h"

#include <Arduino.h>
#include <WiFi.h>
#include <Wire.h>
#include <esp_now.h>
#include <esp_timer.h>
#include <esp_wifi.h>

int64_t node_now_us() { return esp_timer_get_time(); }

// ---- Radio ----

static const uint8_t BROADCAST[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const UBaseType_t RADIO_QUEUE = 64;  // 0.1 s of the air at its fullest, and some more

static QueueHandle_t heard_queue;  // filled in the radio's task, emptied by the sketch
static volatile uint32_t dropped;

// In the radio's task: take the time at once, and nothing else.
static void on_receive(const esp_now_recv_info_t *info, const uint8_t *data, int length) {
  struct heard entry;
  entry.at_us = node_now_us();
  if (length != NODE_FRAME_BYTES) return;
  entry.rssi_dbm = (int8_t)info->rx_ctrl->rssi;
  entry.rate = (uint8_t)info->rx_ctrl->rate;
  memcpy(entry.frame, data, NODE_FRAME_BYTES);
  if (xQueueSend(heard_queue, &entry, 0) != pdTRUE) dropped = dropped + 1;
}

const char *radio_begin(uint8_t channel, uint8_t mac[6]) {
  heard_queue = xQueueCreate(RADIO_QUEUE, sizeof(struct heard));
  if (heard_queue == nullptr) return "no memory for the radio's queue";
  if (!WiFi.mode(WIFI_STA)) return "Wi-Fi does not start";
  esp_wifi_set_ps(WIFI_PS_NONE);  // a radio that sleeps loses what it sleeps through
  if (esp_wifi_set_channel(channel, WIFI_SECOND_CHAN_NONE) != ESP_OK) return "no such CHANNEL";
  esp_wifi_get_mac(WIFI_IF_STA, mac);
  esp_now_peer_info_t peer = {};
  memcpy(peer.peer_addr, BROADCAST, sizeof(BROADCAST));
  peer.channel = channel;
  if (esp_now_init() != ESP_OK || esp_now_register_recv_cb(on_receive) != ESP_OK ||
      esp_now_add_peer(&peer) != ESP_OK) {
    return "ESP-NOW does not start";
  }
  return nullptr;
}

bool radio_next(struct heard *entry) { return xQueueReceive(heard_queue, entry, 0) == pdTRUE; }

bool radio_send(const uint8_t frame[NODE_FRAME_BYTES]) {
  return esp_now_send(BROADCAST, frame, NODE_FRAME_BYTES) == ESP_OK;
}

uint32_t radio_dropped() { return dropped; }

// ---- GPS ----

static QueueHandle_t located_queue;  // filled in the UART's task
static struct gps_parser parser;

// In the UART's task, so that the moment of a fix does not wait for the sketch.
static void on_gps() {
  struct located entry;
  while (Serial1.available() > 0) {
    if (gps_parse(&parser, (uint8_t)Serial1.read(), &entry.fix)) {
      entry.at_us = node_now_us();
      xQueueSend(located_queue, &entry, 0);
    }
  }
}

const char *gps_begin(int8_t rx_pin, int8_t tx_pin, unsigned long baud) {
  located_queue = xQueueCreate(8, sizeof(struct located));
  if (located_queue == nullptr) return "no memory for the GPS's queue";
  Serial1.setRxBufferSize(1024);
  Serial1.begin(baud, SERIAL_8N1, rx_pin, tx_pin);
  Serial1.setRxFIFOFull(8);  // call back after so many bytes, not only after 120
  Serial1.onReceive(on_gps);
  return nullptr;
}

bool gps_next(struct located *entry) { return xQueueReceive(located_queue, entry, 0) == pdTRUE; }

// ---- IMU ----

static const int64_t IMU_PERIOD_US = 10000, IMU_PAUSE_US = 100000;
static const uint8_t POWER = 0x6b, FILTER = 0x1a, FIRST = 0x3b;
static uint8_t imu_address;
static int64_t imu_read_us, imu_next_us;

static bool set_register(uint8_t number, uint8_t value) {
  Wire.beginTransmission(imu_address);
  Wire.write(number);
  Wire.write(value);
  return Wire.endTransmission() == 0;
}

static bool read_imu(struct imu_reading *reading) {
  uint8_t bytes[IMU_BYTES];
  Wire.beginTransmission(imu_address);
  Wire.write(FIRST);
  if (Wire.endTransmission(false) != 0) return false;
  if (Wire.requestFrom(imu_address, (size_t)IMU_BYTES) != IMU_BYTES) return false;
  for (int k = 0; k < IMU_BYTES; k++) bytes[k] = (uint8_t)Wire.read();
  return imu_decode(bytes, reading);
}

// Awake, with the filter at 20 Hz: a hundredth of a second sees all that it lets through.
static bool wake_imu() { return set_register(POWER, 1) && set_register(FILTER, 4); }

const char *imu_wire_begin(int sda_pin, int scl_pin, uint8_t address) {
  imu_address = address;
  if (!Wire.begin(sda_pin, scl_pin, 400000)) return "I2C does not start: check SDA_PIN and SCL_PIN";
  Wire.setTimeOut(5);  // ms; a sensor that hangs must not hold up the tick
  if (!wake_imu()) return "no IMU answers: check its wires, and IMU_ADDRESS (0x68, or 0x69 with AD0 high)";
  return nullptr;
}

bool imu_poll(struct imu *imu, bool stands) {
  int64_t now_us = node_now_us();
  struct imu_reading reading;
  if (now_us < imu_next_us) return false;
  if (!read_imu(&reading)) {
    wake_imu();  // it may have lost its power
    imu_next_us = now_us + IMU_PAUSE_US;
    return false;
  }
  imu_add(imu, &reading, (float)(now_us - imu_read_us) * 1e-6f, stands);
  imu_read_us = now_us;
  imu_next_us = now_us + IMU_PERIOD_US;
  return true;
}
