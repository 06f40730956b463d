/* See imu.h. Scales: MPU-6000/6050 Register Map, revision 4.2. */

#include "imu.h"

#include <math.h>

#define MPS2_PER_STEP (9.80665f / 16384.0f)
#define DPS_PER_STEP (1.0f / 131.0f)
#define MOST_BIAS_MPS2 5.0f
#define LONGEST_STEP_S 0.3f  /* After a longer pause it is unknown how the car turned. */
#define UP_S 20.0f           /* Longer than a car speeds up or brakes. */
#define BIAS_S 10.0f
#define LEAST_STOOD_S 1.0f
#define LEAST_UP_MPS2 1.0f

bool imu_mounting_of(const char *forward, float bias_mps2, struct imu_mounting *mounting)
{
    bool is_turned = forward[0] == '-';
    const char *name = forward + is_turned;
    if (name[0] < 'x' || name[0] > 'z' || name[1] != '\0'
        || !(bias_mps2 >= -MOST_BIAS_MPS2 && bias_mps2 <= MOST_BIAS_MPS2)) {
        return false;
    }
    mounting->axis = name[0] - 'x';
    mounting->sign = is_turned ? -1.0f : 1.0f;
    mounting->bias_mps2 = bias_mps2;
    return true;
}

static float word_at(const uint8_t *bytes)
{
    int32_t value = bytes[0] << 8 | bytes[1];
    return (float)(value < 32768 ? value : value - 65536);
}

bool imu_decode(const uint8_t bytes[IMU_BYTES], struct imu_reading *reading)
{
    for (int k = 0; k < 3; k++) {
        reading->accel_mps2[k] = word_at(bytes + 2 * k) * MPS2_PER_STEP;
        reading->turn_dps[k] = word_at(bytes + 8 + 2 * k) * DPS_PER_STEP; /* 6: temperature */
    }
    const float *accel = reading->accel_mps2;
    return accel[0] != 0.0f || accel[1] != 0.0f || accel[2] != 0.0f;
}

void imu_begin(struct imu *imu, const struct imu_mounting *mounting)
{
    *imu = (struct imu){0};
    imu->mounting = *mounting;
}

void imu_add(struct imu *imu, const struct imu_reading *reading, float step_s, bool stands)
{
    float step = step_s >= 0.0f && step_s <= LONGEST_STEP_S ? step_s : 0.0f;
    float up_share = imu->has_up ? step / UP_S : 1.0f;
    float window_s = imu->stood_s < BIAS_S ? imu->stood_s : BIAS_S;
    float bias_share = stands && step > 0.0f ? step / (window_s + step) : 0.0f;
    for (int k = 0; k < 3; k++) {
        imu->up_mps2[k] += up_share * (reading->accel_mps2[k] - imu->up_mps2[k]);
        imu->turn_bias_dps[k] += bias_share * (reading->turn_dps[k] - imu->turn_bias_dps[k]);
        imu->accel_sum[k] += reading->accel_mps2[k];
        imu->turn_sum_deg[k] += (reading->turn_dps[k] - imu->turn_bias_dps[k]) * step;
    }
    imu->has_up = true;
    imu->stood_s += stands ? step : 0.0f;
    imu->count++;
}

bool imu_take(struct imu *imu, struct imu_mean *mean)
{
    float up_mps2 = 0.0f, turn = 0.0f;
    if (imu->count == 0) {
        return false;
    }
    for (int k = 0; k < 3; k++) {
        mean->accel_mps2[k] = imu->accel_sum[k] / (float)imu->count;
        up_mps2 += imu->up_mps2[k] * imu->up_mps2[k];
        turn += imu->turn_sum_deg[k] * imu->up_mps2[k];
        imu->accel_sum[k] = imu->turn_sum_deg[k] = 0.0f;
    }
    up_mps2 = sqrtf(up_mps2);
    imu->count = 0;
    mean->forward_mps2 =
        imu->mounting.sign * mean->accel_mps2[imu->mounting.axis] - imu->mounting.bias_mps2;
    /* About an axis that points up, right-handed is counterclockwise seen from above. */
    bool is_known = imu->stood_s >= LEAST_STOOD_S && up_mps2 >= LEAST_UP_MPS2;
    mean->turn_deg = is_known ? -turn / up_mps2 : 0.0f;
    return true;
}
