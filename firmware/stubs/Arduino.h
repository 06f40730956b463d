// Stub; see README.md.
#pragma once

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <functional>

#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"

#define OUTPUT 0x03
#define SERIAL_8N1 0x800001c

uint32_t millis();
void delay(uint32_t ms);
void pinMode(uint8_t pin, uint8_t mode);
void analogWrite(uint8_t pin, int value);

class HardwareSerial {
 public:
  explicit HardwareSerial(uint8_t number) : number_(number) {}
  size_t setRxBufferSize(size_t size);
  size_t setTxBufferSize(size_t size);
  bool setRxFIFOFull(uint8_t bytes);
  void begin(unsigned long baud, uint32_t config = SERIAL_8N1, int8_t rx = -1, int8_t tx = -1);
  void onReceive(std::function<void(void)> taken, bool only_on_timeout = false);
  int available();
  int availableForWrite();
  int read();
  size_t write(const uint8_t *bytes, size_t size);
  size_t printf(const char *format, ...) __attribute__((format(printf, 2, 3)));

 private:
  uint8_t number_;
};

extern HardwareSerial Serial, Serial1;
