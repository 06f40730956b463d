/* See report.h. */

#include "report.h"

#include <inttypes.h>
#include <stdio.h>

#define FULL 255.0f
#define MOST_BRAKING_MPS2 8.0f
#define MOST_ACCEL_MPS2 2.6f
#define HARDLY_MPS2 0.05f
#define DIM 8.0f             /* Below it an LED is hardly seen. */
#define UNBOUND_MPS2 1e29f

const char REPORT_CMD_HEADER[] =
    "CMD,now_ms,state,causes,reason,accel_mps2,speed_mps,wish_mps2,floor_mps2,soft_mps2,hard_mps2,"
    "east_m,north_m,own_mps,heading_deg,own_mps2,turn_deg,fix_age_ms,position_sd_m,peers,heard,"
    "refused,dropped,sent,relayed,unsent,unsaid,missed,late_us,took_us\n";
const char REPORT_PEER_HEADER[] =
    "PEER,now_ms,mac,rank,gap_m,lateral_m,speed_mps,accel_mps2,age_ms,hops,needed_mps2\n";

static const char *const STATES[] = {"WAITING", "DRIVING", "SAFE"};
static const char *const REASONS[] = {"policy", "floor", "soft", "hard", "without-fix"};

/* A bound, or nothing where it is infinite. */
static const char *bound(char text[16], float value_mps2)
{
    text[0] = '\0';
    if (value_mps2 < UNBOUND_MPS2 && value_mps2 > -UNBOUND_MPS2) {
        snprintf(text, 16, "%.3f", (double)value_mps2);
    }
    return text;
}

static size_t whole(int length, size_t size)
{
    return length > 0 && (size_t)length < size ? (size_t)length : 0;
}

/* "overrun+silence" as numbers would not be read at a glance; 0 for none. */
static void name_causes(char text[64], uint32_t causes)
{
    static const char *const names[] = {"overrun", "silence", "no-fix", "no-imu",
                                        "restarted", "reversed"};
    size_t length = 0;
    text[0] = '\0';
    for (int k = 0; k < 6; k++) {
        if ((causes & 1u << k) != 0) {
            length += whole(
                snprintf(text + length, 64 - length, "%s%s", length > 0 ? "+" : "", names[k]),
                64 - length);
        }
    }
}

size_t report_command(
    char *line, size_t size, uint32_t now_ms, const struct safe *safe,
    const struct brain_command *command, const struct brain *brain, uint32_t fix_ms,
    const struct report_counts *counts)
{
    char causes[64], low[16], soft[16], hard[16], fix[16] = "";
    const struct brain_pose *now = &brain->fused.now;
    name_causes(causes, safe->causes);
    if (fix_ms != SAFE_NEVER) {
        snprintf(fix, sizeof fix, "%" PRIu32, fix_ms);
    }
    return whole(
        snprintf(
            line, size,
            "CMD,%" PRIu32 ",%s,%s,%s,%.3f,%.3f,%.3f,%s,%s,%s,%.2f,%.2f,%.2f,%.1f,%.3f,%.2f,%s,%.1f,"
            "%d,%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32
            ",%" PRIu32 ",%" PRId32 ",%" PRId32 "\n",
            now_ms, STATES[safe->state], causes, REASONS[command->reason],
            (double)command->accel_mps2, (double)command->speed_mps, (double)command->wish_mps2,
            bound(low, command->floor_mps2), bound(soft, command->soft_mps2),
            bound(hard, command->hard_mps2), (double)now->place.x_um * 1e-6,
            (double)now->place.y_um * 1e-6, (double)now->speed_mps, (double)now->heading_deg,
            (double)brain->sample.accel_mps2, (double)brain->sample.turn_deg, fix,
            (double)brain->position_sd_m, brain->num_rows, counts->heard, counts->refused,
            counts->dropped, counts->sent, counts->relayed, counts->unsent, counts->unsaid,
            counts->missed, counts->late_us, counts->took_us),
        size);
}

size_t report_peer(char *line, size_t size, uint32_t now_ms, const struct brain *brain, int row)
{
    const struct brain_peer *peer = &brain->peers[brain->row_of[row]];
    const uint8_t *mac = peer->mac;
    return whole(
        snprintf(
            line, size,
            "PEER,%" PRIu32 ",%02x:%02x:%02x:%02x:%02x:%02x,%d,%.2f,%.2f,%.2f,%.3f,%.0f,%u,%.3f\n",
            now_ms, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], peer->rank, (double)peer->gap_m,
            (double)peer->lateral_m, (double)peer->speed_mps, (double)peer->accel_mps2,
            (double)peer->age_s * 1e3, peer->hops, (double)peer->needed_mps2),
        size);
}

static uint8_t level(float value, float most)
{
    if (value < HARDLY_MPS2) {
        return 0;
    }
    float shown = value < most ? FULL * value / most : FULL;
    return (uint8_t)(shown > DIM ? shown : DIM);
}

struct report_levels report_levels_of(
    enum safe_state state, const struct brain_command *command, uint32_t now_ms)
{
    struct report_levels out;
    out.brake = level(-command->accel_mps2, MOST_BRAKING_MPS2);
    out.accel = level(command->accel_mps2, MOST_ACCEL_MPS2);
    if (state == SAFE_DRIVING) {
        out.state = command->reason == BRAIN_BY_POLICY ? 0 : 128;
    } else {
        uint32_t half_ms = state == SAFE_WAITING ? 500 : 100;
        out.state = now_ms / half_ms % 2 == 0 ? 255 : 0;
    }
    return out;
}
