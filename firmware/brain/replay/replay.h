/* Drives a brain with a recorded episode: what a radio and sensors brought, in bytes.
 *
 * Little-endian records without padding, each a byte that says which and then:
 *
 *     1 begin    u32 now_ms, char[8] id, u8[6] mac, i32[2] reference_e7, f32 time_gap_s
 *     2 frame    u32 received_ms, u8[90]
 *     3 fix      i32[2] place_e7, f32 speed_mps, f32 heading_deg, u8 has_heading, u32 age_ms
 *     4 tick     u32 now_ms, f32 accel_mps2, turn_deg, vehicle_mps, range_m (the sample), and
 *                f32 what the vehicle was commanded by whoever recorded it
 *
 * A tick senses, with the fix before it if there was one, steps, sends its beacon and relays. */

#ifndef REPLAY_H
#define REPLAY_H

#include "brain.h"

/* What came of a tick. */
struct replay_tick {
    int64_t own_um[2];      /* What the board believes of itself; x east, y north. */
    float own_mps, own_deg;
    struct brain_command command;
    float recorded_mps2;
    float ego_row[BRAIN_EGO_FEATURES];
    float peer_rows[BRAIN_SHOWN_PEERS][BRAIN_PEER_FEATURES];
    uint8_t row_of[BRAIN_SHOWN_PEERS];
    int32_t num_rows;
    int32_t num_relayed;
    int32_t num_refused;    /* Frames since the last tick that were no messages. */
    uint32_t digest;        /* Of the bits of all before, and of all frames that were sent. */
    uint8_t beacon[BRAIN_FRAME_BYTES];
    uint8_t padding[2];
};

/* Moves `at` past the next tick and says what came of it; false at the end, or where the bytes are
 * no episode (`at` is below `size` then). */
bool replay_next(
    struct brain *brain, const uint8_t *episode, uint32_t size, uint32_t *at,
    struct replay_tick *tick);

/* Replays a whole episode into an array of at most `most` ticks; returns how many, or -1. */
int32_t replay_all(
    const uint8_t *episode, uint32_t size, struct replay_tick *ticks, int32_t most);

#endif
