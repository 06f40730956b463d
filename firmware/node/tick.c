/* See tick.h. */

#include "tick.h"

void tick_begin(struct tick *tick, int64_t now_us)
{
    *tick = (struct tick){0};
    tick->due_us = tick->next_us = now_us + TICK_US;
}

bool tick_is_due(struct tick *tick, int64_t now_us)
{
    if (now_us < tick->next_us) {
        return false;
    }
    int64_t past = (now_us - tick->next_us) / TICK_US;
    tick->missed += (uint32_t)past;
    tick->due_us = tick->next_us + past * TICK_US;
    tick->late_us = (int32_t)(now_us - tick->next_us < INT32_MAX ? now_us - tick->next_us : INT32_MAX);
    tick->next_us = tick->due_us + TICK_US;
    return true;
}

bool tick_end(struct tick *tick, int64_t now_us)
{
    int64_t took_us = now_us - tick->due_us;
    tick->took_us = (int32_t)(took_us < INT32_MAX ? took_us : INT32_MAX);
    return took_us > TICK_US || tick->late_us >= TICK_US;
}
