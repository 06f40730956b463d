/* The brain of the ego's board: all that it computes from what its radio and its sensors bring to
 * the acceleration that its vehicle shall have.
 *
 * The twin of `ml/onboard` (the board), `ml/espnow_emulator/wire.py` and `peer_table.py` (what is
 * heard) and `ml/policies/deep_set_policy.py` (the network), function by function under the same
 * names. Per tick of 100 ms:
 *
 *     brain_receive(&brain, frame, received_ms)      for each frame that the radio brought
 *     brain_sense(&brain, now_ms, &fix, &sample)     what the own sensors say
 *     command = brain_step(&brain, now_ms)
 *     brain_beacon(&brain, frame)                    to be broadcast, the own state
 *     while (brain_relay(&brain, frame))             to be broadcast, what others said
 *
 * C99, float alone, no allocation, no library. Positions are whole micrometres, and a float only
 * as a difference of two of them: a float of metres from a far origin would be as coarse as a
 * centimetre. Times are the board's own milliseconds; that `millis()` begins anew at 2^32 does not
 * matter, as long as some call comes in any 24 days. One brain is not to be used by two tasks at
 * once: hand frames of a radio's callback over by a queue. */

#ifndef BRAIN_H
#define BRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "weights.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BRAIN_FRAME_BYTES 90
#define BRAIN_TICK_MS 100
#define BRAIN_SOURCES 16     /* Cars of which something is held at once. */
#define BRAIN_SHOWN_PEERS 8  /* Rows of the observation; the nearest where more are heard. */
#define BRAIN_HISTORY 3      /* Earlier messages of a peer that are kept. */
#define BRAIN_SPEED_TICKS 5
#define BRAIN_BUCKETS 12     /* Of the window of clock offsets, 5 s each. */
#define BRAIN_SEEN 16        /* Messages of a source that are known again, not to be relayed twice. */
#define BRAIN_WAITING 24     /* Frames that wait to be relayed. */
#define BRAIN_STEPS 32       /* Ticks of the own past: a fix may be 3 s late. A power of two. */
#define BRAIN_CORRECTIONS 8  /* Fixes of the own past; a power of two. */

/* What does not change until the next `brain_init`. */
struct brain_settings {
    char id[8];             /* Own name: 1 to 7 visible ASCII characters, zeros after them. */
    uint8_t mac[6];         /* Own address, as the radio has it: two boards with one address do not
                             * hear each other. */
    int32_t reference_e7[2]; /* Latitude and longitude within 100 km of the drive, 1e-7 degrees,
                              * latitude within 80 degrees and longitude within 178. */
    float time_gap_s;       /* That the driver has set; BRAIN_TIME_GAP_S is usual. */
};

/* A fix of the satellite receiver. */
struct brain_fix {
    int32_t place_e7[2];    /* Latitude and longitude, 1e-7 degrees. */
    float speed_mps;        /* Over ground. */
    float heading_deg;      /* Over ground, clockwise from north. */
    bool has_heading;       /* A receiver that hardly moves has none: the last one is kept. With a
                             * compass there always is one. */
    uint32_t age_ms;        /* How long ago its moment was. */
};

/* What else the sensors say, of a tick. */
struct brain_sample {
    float accel_mps2;       /* Mean forward acceleration since the last tick, its bias taken off. */
    float turn_deg;         /* Turn since then by the gyroscope, clockwise; 0 without one. */
    float vehicle_mps;      /* The vehicle's speedometer; below 0 without one. */
    float range_m;          /* Distance to the car ahead by a ranging sensor; below 0 for none. */
};

/* Who had the last word on a command. */
enum brain_reason {
    BRAIN_BY_POLICY,
    BRAIN_BY_FLOOR,         /* The safety layer: no harder braking than anybody demands. */
    BRAIN_BY_SOFT_BOUND,    /* The safety layer: silence, unknown peers or nobody heard. */
    BRAIN_BY_HARD_BOUND,    /* The safety layer: a peer demands braking, or no room is left. */
    BRAIN_WITHOUT_FIX       /* No fix with a heading yet: nothing is known, nothing is commanded.
                             * Somebody else must drive: ask for this before a command is used. */
};

struct brain_command {
    float accel_mps2;       /* What the vehicle shall do until the next tick. */
    float speed_mps;        /* The same as a speed at the end of the tick; without a fix that of the
                             * speedometer, 0 without one. */
    float wish_mps2;        /* What the policy wished. */
    float soft_mps2;        /* The safety layer's bounds; see ml/onboard/safety_layer.py. */
    float hard_mps2;
    float floor_mps2;
    enum brain_reason reason;
};

/* x east, y north in micrometres from the reference. */
struct brain_place {
    int64_t x_um;
    int64_t y_um;
};

struct brain_pose {
    struct brain_place place;
    float speed_mps;
    float rest_mps;         /* What the rounding of a speed that was summed up has lost. */
    float heading_deg;
};

/* What is held of a peer. */
struct brain_peer {
    bool heard;             /* In the last minute. */
    bool counts;            /* And is a car ahead; `PeerView.heard`. */
    bool behind;            /* Was behind the ego, and did not pass it since. */
    uint8_t mac[6];
    uint8_t hops;
    uint32_t sequence;      /* Of the newest message, from 1 on. */
    int64_t timestamp_ms;   /* By the source's clock, carried on over its 2^32. */
    int64_t received_ms;    /* By the own clock. */
    struct brain_pose sent;
    float accel_mps2;
    float position_sd_m;
    int64_t smallest_ms;    /* Of (reception - timestamp) in the last minute. */
    int64_t bucket_ms[BRAIN_BUCKETS];
    uint32_t seen_ms[BRAIN_SEEN];
    uint8_t num_seen;
    /* From tick to tick; `Memory` and the last three of `PeerView`. */
    float age_s, travelled_m, now_mps, now_mps2, usual_mps2;
    uint32_t newest, followed;
    float sent_mps2[BRAIN_HISTORY + 1], sent_mps[BRAIN_HISTORY + 1];
    int64_t sent_ms[BRAIN_HISTORY + 1];
    /* Of this tick; `Estimate` and `Demands`. */
    float gap_m, speed_mps, now_accel_mps2, gap_sent_m, difference_sd_m, room_m, lateral_m;
    float turn_deg, needed_mps2;
    int rank;
};

struct brain_step_kept {
    int64_t begin_ms, end_ms;
    struct brain_pose before;
    float accel_mps2, turn_deg;
};

struct brain_correction {
    int64_t fix_ms;
    uint32_t step;
    struct brain_place then, fix;
    float sine, cosine, east_mps, north_mps, faster_mps, turn_deg;
};

/* What the board believes of itself; `Fusion`. */
struct brain_fusion {
    struct brain_pose now;
    int64_t now_ms, fix_ms;
    uint32_t num_steps, num_corrections;
    struct brain_step_kept steps[BRAIN_STEPS];
    struct brain_correction corrections[BRAIN_CORRECTIONS];
};

/* All memory; `brain_init` fills it. Nothing in it is to be changed by others. */
struct brain {
    struct brain_settings settings;
    int64_t reference_q32[2]; /* Degrees, in 2^-32; and what that lacks, micrometres. */
    int64_t reference_rest_um[2];
    int64_t mm_per_deg[2];    /* North and east. */
    int64_t now_ms, start_ms;
    int64_t window;         /* Number of the present bucket. */
    struct brain_peer peers[BRAIN_SOURCES];
    float ahead_m[BRAIN_SOURCES][BRAIN_SOURCES];
    struct brain_fusion fused;
    struct brain_sample sample;
    bool has_begun;         /* A tick has been decided. */
    float position_sd_m;
    float commands_mps2[2];
    float speeds_mps[BRAIN_SPEED_TICKS + 1];
    float silent_share;
    uint32_t messages;
    int order[BRAIN_SOURCES], num_heard;
    float needed_mps2, missing_m;
    float soft_mps2, hard_mps2, floor_mps2;
    /* The observation of the last tick. */
    float ego_row[BRAIN_EGO_FEATURES];
    float peer_rows[BRAIN_SHOWN_PEERS][BRAIN_PEER_FEATURES];
    uint8_t row_of[BRAIN_SHOWN_PEERS]; /* Whose rows those are, by place in `peers`. */
    int num_rows;
    /* What waits to be relayed: a ring, of which the oldest is at `first_waiting`. */
    uint8_t waiting[BRAIN_WAITING][BRAIN_FRAME_BYTES];
    int first_waiting, num_waiting, num_of_slot;
    bool has_sent;
    struct brain_pose sent; /* In the own newest beacon. */
};

/* Begin: nothing is known, nobody heard. False, and nothing done, where a setting is none. */
bool brain_init(struct brain *brain, const struct brain_settings *settings, uint32_t now_ms);

/* Take in what the radio brought, once its length is seen to be BRAIN_FRAME_BYTES; in the order of
 * reception. False for bytes that are no message
 * (`wire.unpack`), for an own one that came back, and where sixteen others were heard in the last
 * minute. */
bool brain_receive(
    struct brain *brain, const uint8_t frame[BRAIN_FRAME_BYTES], uint32_t received_ms);

/* Take in what the own sensors say, once a tick. `fix` is NULL where none was delivered since the
 * last call. The first one that has a heading, and is not older than BRAIN_STEPS ticks, begins all;
 * without a compass a car has none until it moves: the first metres are somebody else's to drive.
 * False where a value is no number or none that a car has, or a fix too late: it is left out, a
 * sample's as 0. */
bool brain_sense(
    struct brain *brain, uint32_t now_ms, const struct brain_fix *fix,
    const struct brain_sample *sample);

/* Decide a tick, after `brain_sense`. */
struct brain_command brain_step(struct brain *brain, uint32_t now_ms);

/* Write the own message, and open the own slot for what waits. False, and nothing written, where
 * there was no fix yet, and after so long without one (a quarter of an hour) that others would
 * refuse the place; what waits may be relayed all the same. */
bool brain_beacon(struct brain *brain, uint8_t frame[BRAIN_FRAME_BYTES]);

/* Write the next message of others that is to be sent on in this slot; false where none is left. */
bool brain_relay(struct brain *brain, uint8_t frame[BRAIN_FRAME_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
