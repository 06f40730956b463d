/* Notices an accelerometer that points backwards, as `ml.calibration.fits.forward_axis` does in a log:
 * over windows of five seconds the speed that GPS gained is held against the mean acceleration. It
 * takes a minute of speeding up and braking; until then, and where the two do not surely go against
 * each other, nothing is said. C99. */

#ifndef CONVOY_AXIS_H
#define CONVOY_AXIS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zeros know nothing. */
struct axis_check {
    bool has_begun;             /* A window has. */
    int64_t begun_us;
    float begun_mps;
    float accel_sum;            /* Of the window's readings. */
    uint32_t readings, windows;
    float gains, gains_squared, accels, accels_squared, products; /* Sums over the windows. */
};

/* Add a tick's forward acceleration. */
void axis_add(struct axis_check *check, float forward_mps2);

/* Take in a fix: its moment and speed. */
void axis_fix(struct axis_check *check, int64_t moment_us, float speed_mps);

/* Whether the accelerometer surely points backwards. */
bool axis_is_reversed(const struct axis_check *check);

#ifdef __cplusplus
}
#endif

#endif
