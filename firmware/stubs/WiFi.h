// Stub; see README.md.
#pragma once

#include "esp_wifi.h"

class WiFiClass {
 public:
  bool mode(wifi_mode_t mode);
};

extern WiFiClass WiFi;
