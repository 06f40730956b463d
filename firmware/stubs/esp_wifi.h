// Stub; see README.md.
#pragma once

#include <stdint.h>

#include "esp_err.h"

typedef enum { WIFI_MODE_NULL, WIFI_MODE_STA } wifi_mode_t;
#define WIFI_STA WIFI_MODE_STA
typedef enum { WIFI_IF_STA, WIFI_IF_AP } wifi_interface_t;
typedef enum { WIFI_PS_NONE } wifi_ps_type_t;
typedef enum { WIFI_SECOND_CHAN_NONE } wifi_second_chan_t;
typedef struct {
  signed rssi : 8;
  unsigned rate : 5;
} wifi_pkt_rx_ctrl_t;

extern "C" {
esp_err_t esp_wifi_set_ps(wifi_ps_type_t type);
esp_err_t esp_wifi_set_channel(uint8_t primary, wifi_second_chan_t second);
esp_err_t esp_wifi_get_mac(wifi_interface_t interface, uint8_t mac[6]);
}
