/* See axis.h; the constants are those of `ml/calibration/fits/forward_axis.py`. */

#include "axis.h"

#include <math.h>

#define WINDOW_US 5000000
#define LONGEST_US 8000000     /* Fixes were lost: the window says little. */
#define LEAST_READINGS 25u     /* Half of a window's ticks. */
#define LEAST_WINDOWS 12u
#define LEAST_SWING_MPS2 0.3f
#define LEAST_CORRELATION 0.3f
#define SURELY 2.58f           /* Standard deviations. */

void axis_add(struct axis_check *check, float forward_mps2)
{
    check->accel_sum += forward_mps2;
    check->readings++;
}

void axis_fix(struct axis_check *check, int64_t moment_us, float speed_mps)
{
    int64_t length_us = moment_us - check->begun_us;
    if (check->has_begun && length_us < WINDOW_US) {
        return;
    }
    if (check->has_begun && length_us <= LONGEST_US && check->readings >= LEAST_READINGS) {
        float gain = (speed_mps - check->begun_mps) / ((float)length_us * 1e-6f);
        float accel = check->accel_sum / (float)check->readings;
        check->windows++;
        check->gains += gain;
        check->gains_squared += gain * gain;
        check->accels += accel;
        check->accels_squared += accel * accel;
        check->products += gain * accel;
    }
    check->has_begun = true;
    check->begun_us = moment_us;
    check->begun_mps = speed_mps;
    check->accel_sum = 0.0f;
    check->readings = 0;
}

bool axis_is_reversed(const struct axis_check *check)
{
    float count = (float)check->windows;
    if (check->windows < LEAST_WINDOWS) {
        return false;
    }
    float gain = check->gains / count, accel = check->accels / count;
    float gain_var = check->gains_squared / count - gain * gain;
    float accel_var = check->accels_squared / count - accel * accel;
    float together = check->products / count - gain * accel;
    if (gain_var < LEAST_SWING_MPS2 * LEAST_SWING_MPS2 || accel_var <= 0.0f || together >= 0.0f) {
        return false;
    }
    /* Fisher's z: the least correlation that so many windows leave. */
    float against = fminf(-together / sqrtf(gain_var * accel_var), 1.0f - 1e-6f);
    return atanhf(against) - SURELY / sqrtf(count - 3.0f) >= atanhf(LEAST_CORRELATION);
}
