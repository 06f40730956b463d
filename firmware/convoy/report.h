/* What a node says of a tick: lines for the serial port, and levels for three LEDs. C99.
 *
 *     CMD,...    what is commanded, by whom, and what of itself it believes: a line a tick
 *     PEER,...   what it knows of a car, for each that the observation shows
 *
 * Their headers name the columns. An empty field is a bound that does not bind. */

#ifndef CONVOY_REPORT_H
#define CONVOY_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "brain.h"
#include "safe.h"

#ifdef __cplusplus
extern "C" {
#endif

#define REPORT_BYTES 400 /* Of the longest line, its end included. */

extern const char REPORT_CMD_HEADER[], REPORT_PEER_HEADER[];

/* Counts since the start, and times of the last tick. */
struct report_counts {
    uint32_t heard;         /* Messages that the brain took in. */
    uint32_t refused;       /* Frames that were none, or its own that came back. */
    uint32_t dropped;       /* That found the queue full. */
    uint32_t sent, relayed; /* Own beacons, and others' messages. */
    uint32_t unsent;        /* Of both, that the radio did not take. */
    uint32_t unsaid;        /* Lines that found the serial port's buffer full. */
    uint32_t missed;        /* Ticks that could not begin. */
    int32_t late_us, took_us;
};

/* Write a line with its end; returns its length, 0 where it does not fit. */
size_t report_command(
    char *line, size_t size, uint32_t now_ms, const struct safe *safe,
    const struct brain_command *command, const struct brain *brain, uint32_t fix_ms,
    const struct report_counts *counts);

/* The same of the observation's row number `row`. */
size_t report_peer(char *line, size_t size, uint32_t now_ms, const struct brain *brain, int row);

/* Brightness, 0 to 255. */
struct report_levels {
    uint8_t brake;          /* By commanded braking; full at 8 m/s2. */
    uint8_t accel;          /* By commanded acceleration; full at 2.6 m/s2. */
    uint8_t state;          /* Slow blinking: waiting. Fast: safe state. Half: a bound has the word. */
};

struct report_levels report_levels_of(
    enum safe_state state, const struct brain_command *command, uint32_t now_ms);

#ifdef __cplusplus
}
#endif

#endif
