/* See safe.h. */

#include "safe.h"

#define DT_S (1e-3f * (float)BRAIN_TICK_MS)

void safe_begin(struct safe *safe, bool after_fault, uint32_t now_ms)
{
    *safe = (struct safe){0};
    safe->state = after_fault ? SAFE_SAFE : SAFE_WAITING;
    safe->has_restarted = after_fault;
    safe->fault_ms = now_ms;
}

void safe_judge(struct safe *safe, const struct safe_facts *facts, uint32_t now_ms)
{
    uint32_t causes = 0;
    causes |= facts->has_overrun ? (uint32_t)SAFE_OVERRUN : 0u;
    causes |= facts->message_ms > SAFE_SILENT_MS ? (uint32_t)SAFE_SILENCE : 0u;
    causes |= facts->fix_ms > SAFE_FIX_MS ? (uint32_t)SAFE_NO_FIX : 0u;
    causes |= facts->imu_ms > SAFE_IMU_MS ? (uint32_t)SAFE_NO_IMU : 0u;
    causes |= facts->is_reversed ? (uint32_t)SAFE_REVERSED : 0u;
    if (causes != 0) {
        safe->fault_ms = now_ms;
        safe->state = safe->state == SAFE_WAITING ? SAFE_WAITING : SAFE_SAFE;
    } else if (safe->state == SAFE_WAITING || now_ms - safe->fault_ms >= SAFE_CLEAR_MS) {
        safe->state = SAFE_DRIVING;
        safe->has_restarted = false;
    }
    safe->causes = causes | (safe->has_restarted ? (uint32_t)SAFE_RESTARTED : 0u);
}

struct brain_command safe_command(
    const struct safe *safe, bool has_brain, const struct brain_command *of_brain)
{
    struct brain_command out = {0};
    out.reason = BRAIN_WITHOUT_FIX;
    if (has_brain) {
        out = *of_brain;
    }
    if (safe->state == SAFE_WAITING) {
        out.accel_mps2 = 0.0f;
    } else if (safe->state == SAFE_SAFE && out.accel_mps2 > SAFE_MPS2) {
        float speed_mps = out.speed_mps + (SAFE_MPS2 - out.accel_mps2) * DT_S;
        out.speed_mps = speed_mps > 0.0f ? speed_mps : 0.0f;
        out.accel_mps2 = SAFE_MPS2;
    }
    return out;
}
