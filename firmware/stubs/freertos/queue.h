// Stub; see ../README.md.
#pragma once

#include "FreeRTOS.h"

typedef struct queue *QueueHandle_t;

extern "C" {
QueueHandle_t xQueueCreate(UBaseType_t length, UBaseType_t size);
BaseType_t xQueueSend(QueueHandle_t queue, const void *item, TickType_t wait);
BaseType_t xQueueReceive(QueueHandle_t queue, void *item, TickType_t wait);
}
