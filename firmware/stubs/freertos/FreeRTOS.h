// Stub; see ../README.md.
#pragma once

#include <stdint.h>

typedef int BaseType_t;
typedef unsigned int UBaseType_t;
typedef uint32_t TickType_t;
typedef struct task *TaskHandle_t;

#define pdTRUE 1
#define pdFALSE 0
