/* What an inertial sensor reads becomes what a car does: its mean forward acceleration, by the axis
 * and sign that the self-test found (docs/self-test.md), and its turn, about whichever direction
 * gravity says is up. C99, no allocation. */

#ifndef NODE_IMU_H
#define NODE_IMU_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IMU_BYTES 14 /* Of an MPU-6050, from its register 0x3b on. */

/* By the sensor's own axes x, y and z. */
struct imu_reading {
    float accel_mps2[3];    /* With gravity: a sensor at rest reads 9.81 upwards. */
    float turn_dps[3];      /* Right-handed about each axis. */
};

/* How the board lies in the car. */
struct imu_mounting {
    int axis;               /* 0, 1 or 2: x, y or z lies along the car. */
    float sign;             /* 1 where it points forward, -1 backward. */
    float bias_mps2;        /* That the forward acceleration reads too much. */
};

/* What a car did since it was last asked. */
struct imu_mean {
    float accel_mps2[3];    /* The sensor's mean, as it reads. */
    float forward_mps2;     /* Along the car, the bias taken off. */
    float turn_deg;         /* Clockwise; 0 until the gyroscope's own bias is known. */
};

struct imu {
    struct imu_mounting mounting;
    float accel_sum[3], turn_sum_deg[3];
    uint32_t count;
    bool has_up;
    float up_mps2[3];       /* Slow mean of the acceleration: gravity. */
    float turn_bias_dps[3], stood_s;
};

/* Read "x", "-x", "y", ... as the self-test writes it; false for anything else, or a bias beyond
 * 5 m/s². */
bool imu_mounting_of(const char *forward, float bias_mps2, struct imu_mounting *mounting);

/* Decode acceleration, temperature and turn of an MPU-6050 at ±2 g and ±250 degrees a second. False
 * where it feels no gravity on any axis: it is asleep, having lost its power for a moment. */
bool imu_decode(const uint8_t bytes[IMU_BYTES], struct imu_reading *reading);

void imu_begin(struct imu *imu, const struct imu_mounting *mounting);

/* Add a reading. `step_s` is the time since the last one; `stands` says that the car surely does
 * not move, from which the gyroscope's bias is learnt. */
void imu_add(struct imu *imu, const struct imu_reading *reading, float step_s, bool stands);

/* Take the mean since the last call; false where nothing was read since. */
bool imu_take(struct imu *imu, struct imu_mean *mean);

#ifdef __cplusplus
}
#endif

#endif
