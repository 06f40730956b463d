// Stub; see README.md.
#pragma once

#include <stddef.h>
#include <stdint.h>

class TwoWire {
 public:
  bool begin(int sda, int scl, uint32_t hz = 0);
  void setTimeOut(uint16_t ms);
  void beginTransmission(uint8_t address);
  uint8_t endTransmission(bool stop = true);
  size_t requestFrom(uint8_t address, size_t size, bool stop = true);
  size_t write(uint8_t byte);
  int read();
};

extern TwoWire Wire;
