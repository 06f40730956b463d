/* The brain at the wheel of a batch of egos on a host, behind arrays instead of bytes and fixes: what
 * a simulation's boards hold of their peers and of themselves is put in the place of the peer table
 * and the fusion, and all behind them is the brain's own code. For this reason it is one unit with
 * brain.c; never part of a sketch. */

#include "brain.c"

enum { HEARD, AGE_S, X_M, Y_M, SPEED, HEADING, ACCEL, SD_M, HOPS, PEER_COLUMNS };
enum { OWN_X_M, OWN_Y_M, OWN_SPEED, OWN_HEADING, OWN_ACCEL, OWN_SD_M, LAST_COMMAND, OWN_COLUMNS };

#define UNCHANGED_S 0.05f /* An age grows by a tick; by less than half of it, it is of another message. */

/* Of the calls below; ml/controllers/board.py asks for it before it makes one. */
int32_t batch_version(void) { return 2; }
int32_t batch_bytes(void) { return (int32_t)sizeof(struct brain); }
int32_t batch_sources(void) { return BRAIN_SOURCES; }
float batch_time_gap_s(void) { return BRAIN_TIME_GAP_S; }

/* Begin an episode; false where the time gap is none. */
bool batch_begin(struct brain *brain, float time_gap_s)
{
    struct brain_settings settings = {"ego", {2, 0, 0, 0, 0, 1}, {0, 0}, time_gap_s};
    return brain_init(brain, &settings, 0);
}

static struct brain_place place_at(double x_m, double y_m)
{
    struct brain_place place = {(int64_t)(x_m * 1e6), (int64_t)(y_m * 1e6)};
    return place;
}

static void hold(struct brain_peer *peer, const double *row, int64_t now_ms)
{
    struct brain_place place = place_at(row[X_M], row[Y_M]);
    float age_s = (float)row[AGE_S];
    bool is_new = !peer->heard || peer->sent.place.x_um != place.x_um
        || peer->sent.place.y_um != place.y_um || age_s < peer->age_s + UNCHANGED_S;
    peer->heard = true;
    peer->sequence += is_new;
    /* Where the age comes from is not known here; whole milliseconds are as a board has it. */
    peer->timestamp_ms = now_ms - (int64_t)(row[AGE_S] * 1000.0 + 0.5);
    peer->age_s = age_s;
    peer->sent.place = place;
    peer->sent.speed_mps = (float)row[SPEED];
    peer->sent.heading_deg = (float)row[HEADING];
    peer->accel_mps2 = (float)row[ACCEL];
    peer->position_sd_m = (float)row[SD_M];
    peer->hops = (uint8_t)row[HOPS];
}

/* What the policy wishes within its bounds, ahead of the low-pass. */
static float held_mps2(struct brain_command command)
{
    float wish = max_of(command.wish_mps2, command.floor_mps2);
    return min_of(min_of(wish, command.soft_mps2), command.hard_mps2);
}

/* Decide a tick of `count` egos: peers (count, sources, PEER_COLUMNS), own (count, OWN_COLUMNS), and
 * accel_mps2 (count), which is filled. `smooth` is false where another drives, and the low-pass
 * would go on from what that one did. */
void batch_step(
    struct brain *brains, int32_t count, int32_t sources, bool smooth, const double *peers,
    const double *own, double *accel_mps2)
{
    for (int32_t e = 0; e < count; e++) {
        struct brain *brain = &brains[e];
        const double *mine = own + (int64_t)e * OWN_COLUMNS;
        brain->now_ms += BRAIN_TICK_MS;
        for (int32_t s = 0; s < sources; s++) {
            const double *row = peers + ((int64_t)e * sources + s) * PEER_COLUMNS;
            if (row[HEARD] > 0.0) {
                hold(&brain->peers[s], row, brain->now_ms);
            } else if (brain->peers[s].heard) {
                forget(brain, s);
            }
        }
        brain->fused.now.place = place_at(mine[OWN_X_M], mine[OWN_Y_M]);
        brain->fused.now.speed_mps = (float)mine[OWN_SPEED];
        brain->fused.now.heading_deg = (float)mine[OWN_HEADING];
        brain->sample.accel_mps2 = (float)mine[OWN_ACCEL];
        brain->position_sd_m = (float)mine[OWN_SD_M];
        brain->commands_mps2[0] = (float)mine[LAST_COMMAND];
        struct brain_command command = decide(brain);
        accel_mps2[e] = (double)(smooth ? command.accel_mps2 : held_mps2(command));
    }
}
