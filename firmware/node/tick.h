/* When a tick is due, and whether it came too late. Times in µs of one clock that never wraps. C99. */

#ifndef NODE_TICK_H
#define NODE_TICK_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TICK_US 100000

struct tick {
    int64_t due_us;         /* Of the present tick, once it has begun; before, of the next one. */
    int64_t next_us;
    uint32_t missed;        /* Ticks whose whole time had passed before they could begin. */
    int32_t late_us;        /* By how much the present one began late. */
    int32_t took_us;        /* From when the last one was due until it ended. */
};

/* The first tick is due a period from now. */
void tick_begin(struct tick *tick, int64_t now_us);

/* True where a tick begins. Ticks stay on their grid, which is the slot that others hear this board
 * in; one that is past is left out and counted, never made up for. */
bool tick_is_due(struct tick *tick, int64_t now_us);

/* End a tick; true where it overran: ticks were missed before it, or it ends after the next one
 * was due. */
bool tick_end(struct tick *tick, int64_t now_us);

#ifdef __cplusplus
}
#endif

#endif
