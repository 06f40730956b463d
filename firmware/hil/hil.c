/* See hil.h. */

#include "hil.h"

#ifndef BRAIN_DIGEST
#define BRAIN_DIGEST 0u /* Weights that do not say which they are. */
#endif

#define FNV_BASIS 2166136261u
#define FNV_PRIME 16777619u
#define LONGEST_RUN 254u /* Of COBS. */
#define MOST_COUNTED 255

/* ---- Numbers ---- */

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

static uint8_t *put_word(uint8_t *to, uint32_t word)
{
    for (int k = 0; k < 4; k++) {
        *to++ = (uint8_t)(word >> (8 * k));
    }
    return to;
}

static uint8_t *put_float(uint8_t *to, float value)
{
    union { uint32_t word; float value; } both;
    both.value = value;
    return put_word(to, both.word);
}

static uint8_t *put_bytes(uint8_t *to, const uint8_t *bytes, uint32_t size)
{
    for (uint32_t k = 0; k < size; k++) {
        *to++ = bytes[k];
    }
    return to;
}

static uint16_t crc_of(const uint8_t *bytes, uint32_t size) /* CRC-16/CCITT-FALSE */
{
    uint32_t crc = 0xffffu;
    for (uint32_t k = 0; k < size; k++) {
        crc ^= (uint32_t)bytes[k] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc << 1) ^ ((crc & 0x8000u) != 0u ? 0x1021u : 0u);
        }
        crc &= 0xffffu;
    }
    return (uint16_t)crc;
}

static uint32_t folded(uint32_t digest, const void *data, uint32_t size) /* FNV-1a */
{
    const uint8_t *bytes = data;
    for (uint32_t k = 0; k < size; k++) {
        digest = (digest ^ bytes[k]) * FNV_PRIME;
    }
    return digest;
}

/* ---- Messages ---- */

/* The body of the message that is being written. */
static uint8_t *body(struct hil *hil) { return hil->out + HIL_HEAD_BYTES; }

/* Write the message whose body ends at `end`: head and CRC around it, and its bytes without a zero
 * (COBS: in the place of each zero the distance to the next), with one behind. */
static void say(struct hil *hil, enum hil_type type, const uint8_t *end)
{
    static const uint8_t zero = 0;
    uint32_t size = (uint32_t)(end - hil->out), from = 0;
    hil->out[0] = HIL_VERSION;
    hil->out[1] = (uint8_t)type;
    (void)put_word(hil->out + 2, hil->tick);
    uint16_t crc = crc_of(hil->out, size);
    hil->out[size++] = (uint8_t)crc;
    hil->out[size++] = (uint8_t)(crc >> 8);
    for (bool is_full = false; from < size || (from == size && !is_full);) {
        uint32_t to = from;
        while (to < size && to - from < LONGEST_RUN && hil->out[to] != 0) {
            to++;
        }
        uint8_t code = (uint8_t)(to - from + 1);
        is_full = to - from == LONGEST_RUN; /* Behind such a run there is no zero. */
        hil->board.write(hil->board.context, &code, 1);
        hil->board.write(hil->board.context, hil->out + from, to - from);
        from = is_full ? to : to + 1;
    }
    hil->board.write(hil->board.context, &zero, 1);
}

static void refuse(struct hil *hil, uint8_t type, enum hil_why why)
{
    uint8_t *to = body(hil);
    *to++ = type;
    *to++ = (uint8_t)why;
    say(hil, HIL_REFUSES, to);
}

static void say_hello(struct hil *hil)
{
    static const uint8_t zero = 0;
    uint8_t *to = put_word(body(hil), BRAIN_OBSERVATION_VERSION);
    to = put_word(to, BRAIN_DIGEST);
    to = put_float(to, BRAIN_TIME_GAP_S);
    const char *name = hil->board.name;
    for (int k = 0; k < HIL_NAME_BYTES; k++) {
        *to++ = (uint8_t)*name;
        name += *name != 0;
    }
    /* Ends what a board has said before, as its boot does. */
    hil->board.write(hil->board.context, &zero, 1);
    say(hil, HIL_IS_HELLO, to);
}

/* ---- An episode ---- */

static bool begin(struct hil *hil, const uint8_t *bytes)
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
    hil->has_fix = false;
    hil->num_frames = hil->num_refused = 0;
    hil->took_us = 0;
    hil->has_begun = brain_init(&hil->brain, &settings, word_at(bytes));
    return hil->has_begun;
}

static void count_one(uint8_t *counter)
{
    if (*counter < MOST_COUNTED) {
        ++*counter;
    }
}

static void receive(struct hil *hil, const uint8_t *bytes)
{
    uint32_t began_us = hil->board.clock_us(hil->board.context);
    bool is_taken = brain_receive(&hil->brain, bytes + 4, word_at(bytes));
    hil->took_us += hil->board.clock_us(hil->board.context) - began_us;
    count_one(&hil->num_frames);
    if (!is_taken) {
        count_one(&hil->num_refused);
    }
}

static void take_fix(struct hil *hil, const uint8_t *bytes)
{
    hil->fix.place_e7[0] = whole_at(bytes);
    hil->fix.place_e7[1] = whole_at(bytes + 4);
    hil->fix.speed_mps = float_at(bytes + 8);
    hil->fix.heading_deg = float_at(bytes + 12);
    hil->fix.has_heading = bytes[16] != 0;
    hil->fix.age_ms = word_at(bytes + 17);
    hil->has_fix = true;
}

static uint32_t send(struct hil *hil, bool is_relay, const uint8_t *frame, uint32_t digest)
{
    uint8_t *to = body(hil);
    *to++ = is_relay;
    say(hil, HIL_SENDS, put_bytes(to, frame, BRAIN_FRAME_BYTES));
    return folded(digest, frame, BRAIN_FRAME_BYTES);
}

/* Of the frames that are sent, the command and the observation; that of `struct replay_tick`. */
static uint32_t digest_of(const struct hil *hil, uint32_t digest)
{
    static const float none[BRAIN_PEER_FEATURES];
    const struct brain *brain = &hil->brain;
    digest = folded(digest, &hil->command, sizeof hil->command);
    digest = folded(digest, brain->ego_row, sizeof brain->ego_row);
    for (int p = 0; p < BRAIN_SHOWN_PEERS; p++) {
        const float *row = p < brain->num_rows ? brain->peer_rows[p] : none;
        digest = folded(digest, row, sizeof none);
    }
    return digest;
}

static uint8_t *put_peer(uint8_t *to, const struct brain_peer *peer)
{
    to = put_bytes(to, peer->mac, sizeof peer->mac);
    *to++ = peer->hops;
    *to++ = (uint8_t)peer->rank;
    to = put_float(to, peer->age_s);
    to = put_float(to, peer->gap_m);
    to = put_float(to, peer->speed_mps);
    to = put_float(to, peer->now_accel_mps2);
    to = put_float(to, peer->needed_mps2);
    return put_float(to, peer->difference_sd_m);
}

static void answer(struct hil *hil, uint8_t flags, uint32_t digest)
{
    const struct brain *brain = &hil->brain;
    const struct brain_command *command = &hil->command;
    const float commanded[] = {
        command->accel_mps2, command->speed_mps, command->wish_mps2, command->soft_mps2,
        command->hard_mps2, command->floor_mps2};
    uint8_t *to = put_word(body(hil), hil->took_us);
    for (int k = 0; k < 6; k++) {
        to = put_float(to, commanded[k]);
    }
    *to++ = (uint8_t)command->reason;
    *to++ = flags;
    *to++ = hil->num_frames;
    *to++ = hil->num_refused;
    const int64_t own_um[] = {brain->fused.now.place.x_um, brain->fused.now.place.y_um};
    for (int k = 0; k < 2; k++) {
        uint64_t bits = (uint64_t)own_um[k];
        to = put_word(put_word(to, (uint32_t)bits), (uint32_t)(bits >> 32));
    }
    to = put_float(to, brain->fused.now.speed_mps);
    to = put_float(to, brain->fused.now.heading_deg);
    to = put_float(to, brain->position_sd_m);
    to = put_word(to, digest);
    bool is_blind = command->reason == BRAIN_WITHOUT_FIX;
    int count = is_blind ? 0 : brain->num_heard;
    count = count < BRAIN_SHOWN_PEERS ? count : BRAIN_SHOWN_PEERS;
    *to++ = (uint8_t)count;
    *to++ = 0;
    for (int rank = 0; rank < count; rank++) {
        to = put_peer(to, &brain->peers[brain->order[rank]]);
    }
    say(hil, HIL_ANSWERS, to);
}

static void tick(struct hil *hil, const uint8_t *bytes)
{
    struct brain_sample sample = {
        float_at(bytes + 4), float_at(bytes + 8), float_at(bytes + 12), float_at(bytes + 16)};
    uint32_t now_ms = word_at(bytes), deadline_us = word_at(bytes + 20), digest = FNV_BASIS;
    uint8_t frame[BRAIN_FRAME_BYTES] = {0};
    uint32_t began_us = hil->board.clock_us(hil->board.context);
    bool is_sound = brain_sense(&hil->brain, now_ms, hil->has_fix ? &hil->fix : 0, &sample);
    hil->command = brain_step(&hil->brain, now_ms);
    bool has_beacon = brain_beacon(&hil->brain, frame);
    hil->took_us += hil->board.clock_us(hil->board.context) - began_us;
    digest = has_beacon ? send(hil, false, frame, digest) : folded(digest, frame, sizeof frame);
    while (brain_relay(&hil->brain, frame)) {
        digest = send(hil, true, frame, digest);
    }
    uint8_t flags = (uint8_t)((hil->took_us > deadline_us ? HIL_LATE : 0)
                              | (is_sound ? 0 : HIL_LEFT_OUT));
    answer(hil, flags, digest_of(hil, digest));
    hil->has_fix = false;
    hil->num_frames = hil->num_refused = 0;
    hil->took_us = 0;
}

/* ---- What comes in ---- */

/* The bytes of a message, its zeros back in their places; 0 where they are none. */
static uint32_t unstuffed(uint8_t *bytes, uint32_t size)
{
    uint32_t from = 0, to = 0;
    while (from < size) {
        uint32_t code = bytes[from++];
        if (code - 1 > size - from) {
            return 0;
        }
        for (uint32_t k = 1; k < code; k++) {
            bytes[to++] = bytes[from++];
        }
        if (code <= LONGEST_RUN && from < size) {
            bytes[to++] = 0;
        }
    }
    return to;
}

static void obey(struct hil *hil, uint8_t type, const uint8_t *bytes, uint32_t size)
{
    static const uint8_t sizes[] = {0, 30, 4 + BRAIN_FRAME_BYTES, 21, 24, 0};
    if (type > HIL_END) {
        refuse(hil, type, HIL_NO_TYPE);
    } else if (size != sizes[type]) {
        refuse(hil, type, HIL_WRONG_SIZE);
    } else if (type == HIL_HELLO) {
        hil->has_begun = hil->has_ended = false;
        say_hello(hil);
    } else if (type == HIL_BEGIN) {
        if (begin(hil, bytes)) {
            say(hil, HIL_HAS_BEGUN, body(hil));
        } else {
            refuse(hil, type, HIL_BAD_SETTINGS);
        }
    } else if (type == HIL_END) {
        hil->has_begun = false;
        hil->has_ended = true;
        say(hil, HIL_HAS_ENDED, body(hil));
    } else if (!hil->has_begun) {
        refuse(hil, type, HIL_NOT_BEGUN);
    } else if (type == HIL_FRAME) {
        receive(hil, bytes);
    } else if (type == HIL_FIX) {
        take_fix(hil, bytes);
    } else {
        tick(hil, bytes);
    }
}

static void end_message(struct hil *hil)
{
    uint32_t stuffed = hil->num_in;
    hil->num_in = 0;
    if (stuffed == 0) {
        return;
    }
    uint32_t size = stuffed <= HIL_MOST_IN ? unstuffed(hil->in, stuffed) : 0;
    if (size < HIL_HEAD_BYTES + HIL_CRC_BYTES) {
        refuse(hil, HIL_REFUSES, HIL_WRONG_SIZE);
        return;
    }
    size -= HIL_CRC_BYTES;
    uint32_t crc = (uint32_t)hil->in[size] | (uint32_t)hil->in[size + 1] << 8;
    if (crc != crc_of(hil->in, size)) {
        refuse(hil, HIL_REFUSES, HIL_BROKEN);
        return;
    }
    hil->tick = word_at(hil->in + 2);
    if (hil->in[0] != HIL_VERSION) {
        refuse(hil, hil->in[1], HIL_OTHER_VERSION);
        return;
    }
    obey(hil, hil->in[1], hil->in + HIL_HEAD_BYTES, size - HIL_HEAD_BYTES);
}

void hil_start(struct hil *hil, const struct hil_board *board)
{
    hil->board = *board;
    hil->has_begun = hil->has_ended = false;
    hil->tick = hil->num_in = 0;
}

void hil_take(struct hil *hil, const uint8_t *bytes, uint32_t size)
{
    for (uint32_t k = 0; k < size; k++) {
        if (bytes[k] == 0) {
            end_message(hil);
        } else if (hil->num_in < HIL_MOST_IN) {
            hil->in[hil->num_in++] = bytes[k];
        } else {
            hil->num_in = HIL_MOST_IN + 1; /* Too long: nothing of it is kept. */
        }
    }
}
