/* See replay.h. */

#include "replay.h"

enum { BEGIN = 1, FRAME = 2, FIX = 3, TICK = 4 };

static uint32_t word_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16
        | (uint32_t)bytes[3] << 24;
}

static int32_t whole_at(const uint8_t *bytes)
{
    union { uint32_t word; int32_t whole; } both;
    both.word = word_at(bytes);
    return both.whole;
}

static float float_at(const uint8_t *bytes)
{
    union { uint32_t word; float value; } both;
    both.word = word_at(bytes);
    return both.value;
}

static void fold(uint32_t *digest, const void *data, uint32_t size) /* FNV-1a */
{
    const uint8_t *bytes = data;
    for (uint32_t k = 0; k < size; k++) {
        *digest = (*digest ^ bytes[k]) * 16777619u;
    }
}

static bool begin(struct brain *brain, const uint8_t *bytes)
{
    struct brain_settings settings;
    for (int k = 0; k < 8; k++) {
        settings.id[k] = (char)bytes[4 + k];
    }
    for (int k = 0; k < 6; k++) {
        settings.mac[k] = bytes[12 + k];
    }
    settings.reference_e7[0] = whole_at(bytes + 18);
    settings.reference_e7[1] = whole_at(bytes + 22);
    settings.time_gap_s = float_at(bytes + 26);
    return brain_init(brain, &settings, word_at(bytes));
}

static void observe(const struct brain *brain, struct replay_tick *tick)
{
    tick->own_um[0] = brain->fused.now.place.x_um;
    tick->own_um[1] = brain->fused.now.place.y_um;
    tick->own_mps = brain->fused.now.speed_mps;
    tick->own_deg = brain->fused.now.heading_deg;
    for (int i = 0; i < BRAIN_EGO_FEATURES; i++) {
        tick->ego_row[i] = brain->ego_row[i];
    }
    tick->num_rows = brain->num_rows;
    for (int p = 0; p < BRAIN_SHOWN_PEERS; p++) {
        bool is_shown = p < brain->num_rows;
        tick->row_of[p] = is_shown ? brain->row_of[p] : 0;
        for (int i = 0; i < BRAIN_PEER_FEATURES; i++) {
            tick->peer_rows[p][i] = is_shown ? brain->peer_rows[p][i] : 0.0f;
        }
    }
}

static void send(struct brain *brain, struct replay_tick *tick, uint32_t *digest)
{
    uint8_t frame[BRAIN_FRAME_BYTES];
    tick->num_relayed = 0;
    for (int k = 0; k < BRAIN_FRAME_BYTES; k++) {
        tick->beacon[k] = 0;
    }
    (void)brain_beacon(brain, tick->beacon);
    fold(digest, tick->beacon, BRAIN_FRAME_BYTES);
    while (brain_relay(brain, frame)) {
        tick->num_relayed++;
        fold(digest, frame, BRAIN_FRAME_BYTES);
    }
}

bool replay_next(
    struct brain *brain, const uint8_t *episode, uint32_t size, uint32_t *at,
    struct replay_tick *tick)
{
    static const uint32_t sizes[] = {0, 30, 4 + BRAIN_FRAME_BYTES, 21, 24};
    struct brain_fix fix;
    bool has_fix = false;
    tick->num_refused = 0;
    while (*at < size) {
        uint32_t kind = episode[*at];
        const uint8_t *bytes = episode + *at + 1;
        if (kind < BEGIN || kind > TICK || size - *at - 1 < sizes[kind]) {
            return false;
        }
        if (kind == BEGIN && !begin(brain, bytes)) {
            return false;
        }
        *at += 1 + sizes[kind];
        if (kind == FRAME) {
            tick->num_refused += !brain_receive(brain, bytes + 4, word_at(bytes));
        } else if (kind == FIX) {
            fix.place_e7[0] = whole_at(bytes);
            fix.place_e7[1] = whole_at(bytes + 4);
            fix.speed_mps = float_at(bytes + 8);
            fix.heading_deg = float_at(bytes + 12);
            fix.has_heading = bytes[16] != 0;
            fix.age_ms = word_at(bytes + 17);
            has_fix = true;
        } else if (kind == TICK) {
            struct brain_sample sample = {
                float_at(bytes + 4), float_at(bytes + 8), float_at(bytes + 12),
                float_at(bytes + 16)};
            uint32_t now_ms = word_at(bytes);
            (void)brain_sense(brain, now_ms, has_fix ? &fix : 0, &sample);
            tick->command = brain_step(brain, now_ms);
            tick->recorded_mps2 = float_at(bytes + 20);
            observe(brain, tick);
            tick->digest = 2166136261u;
            send(brain, tick, &tick->digest);
            fold(&tick->digest, &tick->command, sizeof tick->command);
            fold(&tick->digest, tick->ego_row, sizeof tick->ego_row);
            fold(&tick->digest, tick->peer_rows, sizeof tick->peer_rows);
            return true;
        }
    }
    return false;
}

int32_t replay_all(
    const uint8_t *episode, uint32_t size, struct replay_tick *ticks, int32_t most)
{
    static struct brain brain;
    uint32_t at = 0;
    int32_t count = 0;
    while (count < most && replay_next(&brain, episode, size, &at, &ticks[count])) {
        count++;
    }
    return at == size ? count : -1;
}
