/* See brain.h. Sections carry the names of the Python modules whose twins they are; formulas and
 * constants are explained there. */

#define BRAIN_WEIGHTS
#include "brain.h"

/* The same bits on every core: no product may be fused with a sum, and none rearranged. */
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) \
    || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "brain.c needs exact arithmetic: compile it without -ffast-math or a part of it"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

/* ---- ml/vehicle.py ---- */

#define DT_S 0.1f
#define CAR_LENGTH_M 4.5f
#define STANDSTILL_GAP_M 1.5f
#define PEER_STANDSTILL_M 2.0f
#define WANTED_STANDSTILL_M 10.0f
#define MAX_BRAKING_MPS2 8.0f
#define MAX_ACCEL_MPS2 2.6f
#define MAX_SPEED_MPS 55.0f

/* ---- Arithmetic: own functions, since two libraries' differ in the last bits ---- */

#define INFINITE 1e30f
#define RADIANS_PER_DEG 0.0174532925f
#define FULL_CIRCLE_DEG 360.0f
#define HALF_CIRCLE_DEG 180.0f

static float max_of(float a, float b) { return a > b ? a : b; }
static float min_of(float a, float b) { return a < b ? a : b; }
static float within(float value, float low, float high) { return min_of(max_of(value, low), high); }
static float size_of(float a) { return a < 0.0f ? -a : a; }

static float float_of_bits(uint32_t bits)
{
    union { uint32_t bits; float value; } both;
    both.bits = bits;
    return both.value;
}

static uint32_t bits_of_float(float value)
{
    union { uint32_t bits; float value; } both;
    both.value = value;
    return both.bits;
}

/* False for NaN and the infinities. */
static bool is_number(float value) { return (bits_of_float(value) & 0x7f800000u) != 0x7f800000u; }

/* The next whole number below; |value| < 2^31. */
static int32_t floor_of(float value)
{
    int32_t whole = (int32_t)value;
    return (float)whole > value ? whole - 1 : whole;
}

/* Newton's iteration from the halved exponent; 0 for nothing above 0. */
static float square_root(float value)
{
    if (!(value > 0.0f)) {
        return 0.0f;
    }
    float root = float_of_bits((bits_of_float(value) >> 1) + 0x1fbd1df5u);
    for (int k = 0; k < 3; k++) {
        root = 0.5f * (root + value / root);
    }
    return root;
}

/* Taylor's series of sine and cosine, to 1e-8 for |turn| up to an eighth of a circle. */
static float sine_near_0(float turn)
{
    float square = turn * turn;
    float tail = 2.7557319e-6f * square - 1.9841270e-4f;
    tail = (tail * square + 8.3333333e-3f) * square - 0.16666667f;
    return turn + turn * square * tail;
}

static float cosine_near_0(float turn)
{
    float square = turn * turn;
    float tail = (2.4801587e-5f - 2.7557319e-7f * square) * square - 1.3888889e-3f;
    tail = (tail * square + 4.1666667e-2f) * square - 0.5f;
    return 1.0f + square * tail;
}

/* Sine of an angle in degrees: the nearest quarter is taken off exactly. |angle| < 1e6. */
static float sine_deg(float angle_deg)
{
    int32_t quarter = floor_of(angle_deg * (1.0f / 90.0f) + 0.5f);
    float turn = (angle_deg - 90.0f * (float)quarter) * RADIANS_PER_DEG;
    float value = (quarter & 1) != 0 ? cosine_near_0(turn) : sine_near_0(turn);
    return (quarter & 2) != 0 ? -value : value;
}

static float cosine_deg(float angle_deg) { return sine_deg(angle_deg + 90.0f); }

/* A loop: without optimisation a whole zero of the type would first be built on the stack. */
static void blank(void *memory, uint32_t size)
{
    uint8_t *bytes = memory;
    for (uint32_t at = 0; at < size; at++) {
        bytes[at] = 0;
    }
}

/* ---- Places: whole micrometres ---- */

#define UM_PER_M 1e6f

static float metres(int64_t um) { return (float)um * (1.0f / UM_PER_M); }

static int64_t micrometres(float m)
{
    float um = m * UM_PER_M;
    return (int64_t)(um < 0.0f ? um - 0.5f : um + 0.5f);
}

/* ---- ml/espnow_emulator/wire.py ---- */

#define WIRE_VERSION 2
#define AT_ID 1
#define AT_TIMESTAMP 9
#define AT_LATITUDE 13
#define AT_LONGITUDE 17
#define AT_SPEED 25
#define AT_HEADING 29
#define AT_ACCEL 33
#define AT_CONFIDENCE 79
#define AT_HOPS 83
#define AT_MAC 84
#define ID_BYTES 8
#define MAC_BYTES 6
#define MAX_HOPS 3
#define MAX_MESSAGE_SPEED_MPS 150.0f
#define PLANE_UM INT64_C(100000000000)
#define ONE_DEG_Q32 INT64_C(4294967296)
#define LEAST_CONFIDENCE 9.99990061e-6f /* The least float not below 1 / (1 + 1e5). */
#define GROUP_BIT 1u

struct message {
    uint32_t timestamp_ms;
    struct brain_pose pose;
    float accel_mps2, position_sd_m;
    uint8_t hops;
    const uint8_t *mac;
};

static uint32_t read_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16
        | (uint32_t)bytes[3] << 24;
}

static void write_u32(uint8_t *bytes, uint32_t value)
{
    for (int k = 0; k < 4; k++) {
        bytes[k] = (uint8_t)(value >> (8 * k));
    }
}

static float read_f32(const uint8_t *bytes) { return float_of_bits(read_u32(bytes)); }
static void write_f32(uint8_t *bytes, float value) { write_u32(bytes, bits_of_float(value)); }

/* Cosine of a latitude in units of 2^-30, by Taylor's series in whole numbers. */
static int64_t cosine_q30(int32_t angle_e7)
{
    int64_t angle_q30 = (int64_t)angle_e7 * INT64_C(4797524517) / 10000000 / 256;
    int64_t square_q30 = angle_q30 * angle_q30 / 1073741824, term = 1073741824, sum = term;
    for (int k = 1; k <= 9; k++) {
        term = -term * square_q30 / 1073741824 / (2 * k * (2 * k - 1));
        sum += term;
    }
    return sum;
}

/* `GeoReference.at`: millimetres to a degree on the ellipsoid of WGS 84. The two radii are
 * a (1 - e2) / (1 - u)^(3/2) and a cos(latitude) / (1 - u)^(1/2) with u = e2 sin(latitude)^2. They
 * must be exact to 1e-8, so that a place on the air and one that was reckoned fit; a float holds
 * the powers of 1 - u, less 1. */
static void touch(struct brain *brain)
{
    const int64_t meridian_mm = 110574276, equator_mm = 111319491;
    int64_t cosine = cosine_q30(brain->settings.reference_e7[0]);
    float cosine_1 = (float)cosine * (1.0f / 1073741824.0f);
    float u = 6.69437999e-3f * (1.0f - cosine_1 * cosine_1);
    float meridian_more = u * (1.5f + u * (1.875f + u * 2.1875f));
    float parallel_more = u * (0.5f + u * (0.375f + u * 0.3125f));
    brain->mm_per_deg[0] = meridian_mm + (int64_t)((float)meridian_mm * meridian_more);
    brain->mm_per_deg[1] =
        (equator_mm + (int64_t)((float)equator_mm * parallel_more)) * cosine / 1073741824;
    for (int k = 0; k < 2; k++) {
        int64_t reference = (int64_t)brain->settings.reference_e7[k] * ONE_DEG_Q32;
        brain->reference_q32[k] = reference / 10000000;
        brain->reference_rest_um[k] =
            reference % 10000000 * brain->mm_per_deg[k] / 10000000 * 1000 / ONE_DEG_Q32;
    }
}

static bool is_on_plane(int64_t um) { return um <= PLANE_UM && um >= -PLANE_UM; }

/* Micrometres from the reference to an angle on the wire; false beyond 100 km of it. */
static bool place_of_degrees(const struct brain *brain, int axis, float angle_deg, int64_t *um)
{
    int64_t from_q32 = (int64_t)(angle_deg * 4294967296.0f) - brain->reference_q32[axis];
    if (from_q32 > 16 * ONE_DEG_Q32 || from_q32 < -16 * ONE_DEG_Q32) {
        return false;
    }
    *um = from_q32 * brain->mm_per_deg[axis] / 1048576 * 1000 / 4096
        - brain->reference_rest_um[axis];
    return is_on_plane(*um);
}

static float degrees_of_place(const struct brain *brain, int axis, int64_t um)
{
    um += brain->reference_rest_um[axis];
    int64_t from_q32 = um * 4194304 / brain->mm_per_deg[axis] * 1024 / 1000;
    return (float)(brain->reference_q32[axis] + from_q32) * (1.0f / 4294967296.0f);
}

static bool is_name(const uint8_t *id)
{
    int length = 0;
    while (length < ID_BYTES && id[length] >= 0x21 && id[length] <= 0x7e) {
        length++;
    }
    bool ends = length > 0 && length < ID_BYTES;
    for (int k = length; k < ID_BYTES; k++) {
        ends = ends && id[k] == 0;
    }
    return ends;
}

static bool is_address(const uint8_t *mac)
{
    bool is_empty = true;
    for (int k = 0; k < MAC_BYTES; k++) {
        is_empty = is_empty && mac[k] == 0;
    }
    return !is_empty && (mac[0] & GROUP_BIT) == 0;
}

static bool is_within(float value, float low, float high) { return value >= low && value <= high; }

/* Read the bytes of a message; false where they are none. */
static bool unpack(const struct brain *brain, const uint8_t *frame, struct message *message)
{
    if (frame[0] != WIRE_VERSION || !is_name(frame + AT_ID) || frame[AT_HOPS] > MAX_HOPS) {
        return false;
    }
    for (int at = AT_LATITUDE; at < AT_CONFIDENCE - 2; at += 4) {
        if (!is_number(read_f32(frame + at))) {
            return false;
        }
    }
    float confidence = read_f32(frame + AT_CONFIDENCE);
    float latitude_deg = read_f32(frame + AT_LATITUDE);
    float longitude_deg = read_f32(frame + AT_LONGITUDE);
    struct brain_pose *pose = &message->pose;
    pose->speed_mps = read_f32(frame + AT_SPEED);
    pose->rest_mps = 0.0f;
    pose->heading_deg = read_f32(frame + AT_HEADING);
    message->accel_mps2 = read_f32(frame + AT_ACCEL);
    if (!is_within(confidence, LEAST_CONFIDENCE, 1.0f) || !is_within(latitude_deg, -90.0f, 90.0f)
        || !is_within(longitude_deg, -180.0f, 180.0f) || !is_within(pose->speed_mps, 0.0f, MAX_MESSAGE_SPEED_MPS)
        || !is_within(pose->heading_deg, 0.0f, FULL_CIRCLE_DEG)
        || pose->heading_deg == FULL_CIRCLE_DEG
        || !is_within(message->accel_mps2, -100.0f, 100.0f)) {
        return false;
    }
    message->mac = frame + AT_MAC;
    if (!is_address(message->mac)) {
        return false;
    }
    message->timestamp_ms = read_u32(frame + AT_TIMESTAMP);
    message->hops = frame[AT_HOPS];
    message->position_sd_m = (1.0f - confidence) / confidence;
    return place_of_degrees(brain, 0, latitude_deg, &pose->place.y_um)
        && place_of_degrees(brain, 1, longitude_deg, &pose->place.x_um);
}

/* ---- ml/espnow_emulator/peer_table.py and relays.py ---- */

#define BUCKET_MS 5000
#define MINUTE_MS 60000
#define EMPTY_MS INT64_MAX
#define REBOOT_MS 1000
#define RELAYED_MS 1500 /* Older than the source's newest: not relayed, nor among BRAIN_SEEN any more. */
#define WRAP_MS INT64_C(4294967296)

/* The own clock, carried on over its 2^32. */
static int64_t carried_on(const struct brain *brain, uint32_t ms)
{
    uint32_t ahead = ms - (uint32_t)brain->now_ms;
    return ahead < 0x80000000u ? brain->now_ms + ahead : brain->now_ms + (int64_t)ahead - WRAP_MS;
}

static void move_clock(struct brain *brain, uint32_t now_ms)
{
    int64_t now = carried_on(brain, now_ms);
    if (now > brain->now_ms) {
        brain->now_ms = now;
    }
}

static void clear_window(struct brain_peer *peer)
{
    peer->smallest_ms = EMPTY_MS;
    for (int k = 0; k < BRAIN_BUCKETS; k++) {
        peer->bucket_ms[k] = EMPTY_MS;
    }
}

static void move_on(struct brain *brain, int64_t elapsed_ms)
{
    int64_t newer = elapsed_ms / BUCKET_MS, older = brain->window;
    if (newer <= older) {
        return;
    }
    brain->window = newer;
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        struct brain_peer *peer = &brain->peers[s];
        peer->smallest_ms = EMPTY_MS;
        for (int place = 0; place < BRAIN_BUCKETS; place++) {
            int64_t back = (newer - place) % BRAIN_BUCKETS;
            if (newer - (back < 0 ? back + BRAIN_BUCKETS : back) > older) {
                peer->bucket_ms[place] = EMPTY_MS;
            }
            if (peer->bucket_ms[place] < peer->smallest_ms) {
                peer->smallest_ms = peer->bucket_ms[place];
            }
        }
    }
}

static void note_reception(
    struct brain *brain, struct brain_peer *peer, int64_t offset_ms, int64_t elapsed_ms)
{
    int64_t bucket = elapsed_ms / BUCKET_MS;
    if (elapsed_ms < 0 || bucket < brain->window - BRAIN_BUCKETS + 1) {
        return;
    }
    int64_t *kept_ms = &peer->bucket_ms[bucket % BRAIN_BUCKETS];
    *kept_ms = offset_ms < *kept_ms ? offset_ms : *kept_ms;
    peer->smallest_ms = offset_ms < peer->smallest_ms ? offset_ms : peer->smallest_ms;
}

static bool is_same_address(const uint8_t *one, const uint8_t *other)
{
    bool same = true;
    for (int k = 0; k < MAC_BYTES; k++) {
        same = same && one[k] == other[k];
    }
    return same;
}

/* Of the pairs with a car, none is in order any more. */
static void leave_order(struct brain *brain, int s)
{
    for (int o = 0; o < BRAIN_SOURCES; o++) {
        brain->ahead_m[s][o] = brain->ahead_m[o][s] = 0.0f;
    }
}

static void forget(struct brain *brain, int s)
{
    blank(&brain->peers[s], sizeof brain->peers[s]);
    clear_window(&brain->peers[s]);
    leave_order(brain, s);
}

/* Whose place a source has, or is given: a free one, else that of a car not heard for a minute. */
static struct brain_peer *place_of(struct brain *brain, const uint8_t *mac, int64_t received_ms)
{
    int free = -1;
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        struct brain_peer *peer = &brain->peers[s];
        if (!peer->heard) {
            free = free < 0 || brain->peers[free].heard ? s : free;
        } else if (is_same_address(peer->mac, mac)) {
            return peer;
        } else if (free < 0 && received_ms - peer->received_ms > MINUTE_MS) {
            free = s;
        }
    }
    if (free < 0) {
        return 0;
    }
    struct brain_peer *peer = &brain->peers[free];
    forget(brain, free);
    for (int k = 0; k < MAC_BYTES; k++) {
        peer->mac[k] = mac[k];
    }
    return peer;
}

/* The source's clock, carried on over its 2^32, for a message that came at `received_ms`. A clock
 * that begins anew at 2^32 goes on as time does; one that jumps back otherwise is of a new start. */
static int64_t timestamp_of(const struct brain_peer *peer, uint32_t sent_ms, int64_t received_ms)
{
    if (!peer->heard) {
        return (int64_t)sent_ms;
    }
    uint32_t newest_ms = (uint32_t)peer->timestamp_ms;
    int64_t begun_ms = peer->timestamp_ms - (int64_t)newest_ms;
    uint32_t forward_ms = sent_ms - newest_ms, back_ms = newest_ms - sent_ms;
    if (sent_ms < newest_ms && (int64_t)forward_ms <= received_ms - peer->received_ms + REBOOT_MS) {
        begun_ms += WRAP_MS;
    } else if (sent_ms > newest_ms && back_ms <= REBOOT_MS && begun_ms > 0) {
        begun_ms -= WRAP_MS;
    }
    return begun_ms + (int64_t)sent_ms;
}

static void enter(
    struct brain *brain, struct brain_peer *peer, const struct message *message,
    int64_t received_ms)
{
    int64_t timestamp_ms = timestamp_of(peer, message->timestamp_ms, received_ms);
    bool is_new_start = peer->heard && timestamp_ms < peer->timestamp_ms - REBOOT_MS;
    if (is_new_start) {
        clear_window(peer);
    }
    note_reception(brain, peer, received_ms - timestamp_ms, received_ms - brain->start_ms);
    if (peer->heard && !is_new_start && timestamp_ms <= peer->timestamp_ms) {
        return;
    }
    peer->heard = true;
    peer->received_ms = received_ms;
    peer->timestamp_ms = timestamp_ms;
    peer->sequence++;
    peer->hops = message->hops;
    peer->sent = message->pose;
    peer->accel_mps2 = message->accel_mps2;
    peer->position_sd_m = message->position_sd_m;
}

/* False where it was marked before. */
static bool mark_seen(struct brain_peer *peer, uint32_t timestamp_ms)
{
    int kept = peer->num_seen < BRAIN_SEEN ? peer->num_seen : BRAIN_SEEN;
    for (int k = 0; k < kept; k++) {
        if (peer->seen_ms[k] == timestamp_ms) {
            return false;
        }
    }
    peer->seen_ms[peer->num_seen % BRAIN_SEEN] = timestamp_ms;
    /* From twice the ring back to once it: the place stays, and the ring stays full. */
    peer->num_seen = (uint8_t)(peer->num_seen + 1 < 2 * BRAIN_SEEN ? peer->num_seen + 1 : BRAIN_SEEN);
    return true;
}

/* Whether a place lies before the car, as it stood in its own newest beacon. */
static bool is_ahead(const struct brain *brain, const struct brain_place *place)
{
    float east_m = metres(place->x_um - brain->sent.place.x_um);
    float north_m = metres(place->y_um - brain->sent.place.y_um);
    float heading_deg = brain->sent.heading_deg;
    return brain->has_sent
        && east_m * sine_deg(heading_deg) + north_m * cosine_deg(heading_deg) >= 0.0f;
}

static void drop_oldest(struct brain *brain)
{
    brain->first_waiting = (brain->first_waiting + 1) % BRAIN_WAITING;
    brain->num_waiting--;
    brain->num_of_slot -= brain->num_of_slot > 0;
}

static void keep_for_relay(
    struct brain *brain, const uint8_t *frame, const struct message *message)
{
    if (message->hops >= MAX_HOPS || !is_ahead(brain, &message->pose.place)) {
        return;
    }
    if (brain->num_waiting == BRAIN_WAITING) {
        drop_oldest(brain);
    }
    uint8_t *kept = brain->waiting[(brain->first_waiting + brain->num_waiting++) % BRAIN_WAITING];
    for (int at = 0; at < BRAIN_FRAME_BYTES; at++) {
        kept[at] = frame[at];
    }
    for (int k = 0; k < ID_BYTES; k++) {
        kept[AT_ID + k] = (uint8_t)brain->settings.id[k];
    }
    kept[AT_HOPS]++;
}

/* Age of the newest message, s; `PeerTable.age_est_ms`. */
static void estimate_age(struct brain *brain)
{
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        struct brain_peer *peer = &brain->peers[s];
        if (!peer->heard) {
            continue;
        }
        int64_t offset_ms = peer->smallest_ms;
        if (offset_ms == EMPTY_MS) {
            offset_ms = peer->received_ms - peer->timestamp_ms;
        }
        peer->age_s = (float)(brain->now_ms - peer->timestamp_ms - offset_ms) / 1000.0f;
    }
}

/* ---- ml/onboard/fusion.py ---- */

#define SLOWEST_FOR_HEADING_MPS 0.1f

static float full_circle(float heading_deg)
{
    if (heading_deg >= 0.0f && heading_deg < FULL_CIRCLE_DEG) {
        return heading_deg;
    }
    float rest =
        heading_deg - FULL_CIRCLE_DEG * (float)floor_of(heading_deg * (1.0f / FULL_CIRCLE_DEG));
    return rest >= 0.0f && rest < FULL_CIRCLE_DEG ? rest : 0.0f;
}

static float turn_between(float from_deg, float to_deg)
{
    float turn_deg = to_deg - from_deg;
    if (turn_deg >= -HALF_CIRCLE_DEG && turn_deg < HALF_CIRCLE_DEG) {
        return turn_deg;
    }
    float circles = (turn_deg + HALF_CIRCLE_DEG) * (1.0f / FULL_CIRCLE_DEG);
    return turn_deg - FULL_CIRCLE_DEG * (float)floor_of(circles);
}

static float seconds(int64_t ms) { return (float)ms / 1000.0f; }

/* Add to the speed, and keep what its rounding loses (Kahan's sum): it would be seconds' worth of
 * ticks, and a tenth of a millimetre, until the next fix. A car does not roll backwards, and is no
 * faster than a message may say. */
static void speed_up(struct brain_pose *pose, float gain_mps)
{
    float before_mps = pose->speed_mps, gain = gain_mps + pose->rest_mps;
    float now_mps = before_mps + gain;
    pose->rest_mps = gain - (now_mps - before_mps);
    pose->speed_mps = within(now_mps, 0.0f, MAX_MESSAGE_SPEED_MPS);
    if (pose->speed_mps != now_mps) {
        pose->rest_mps = 0.0f;
    }
}

static struct brain_pose reckon(
    struct brain_pose before, float accel_mps2, float turn_deg, float share, float step_s)
{
    float since_s = share * step_s;
    struct brain_pose now = before;
    speed_up(&now, accel_mps2 * since_s);
    float way_m = 0.5f * (before.speed_mps + now.speed_mps) * since_s;
    float direction_deg = before.heading_deg + 0.5f * share * turn_deg;
    now.place.x_um += micrometres(way_m * sine_deg(direction_deg));
    now.place.y_um += micrometres(way_m * cosine_deg(direction_deg));
    now.heading_deg = full_circle(before.heading_deg + share * turn_deg);
    return now;
}

static struct brain_pose corrected(
    const struct brain_correction *one, int64_t at_ms, struct brain_pose pose)
{
    float since_s = seconds(at_ms - one->fix_ms);
    float east_m = metres(pose.place.x_um - one->then.x_um);
    float north_m = metres(pose.place.y_um - one->then.y_um);
    float turned_east_m = east_m * one->cosine + north_m * one->sine;
    float turned_north_m = north_m * one->cosine - east_m * one->sine;
    pose.place.x_um = one->fix.x_um + micrometres(turned_east_m + one->east_mps * since_s);
    pose.place.y_um = one->fix.y_um + micrometres(turned_north_m + one->north_mps * since_s);
    speed_up(&pose, one->faster_mps);
    pose.heading_deg = full_circle(pose.heading_deg + one->turn_deg);
    return pose;
}

static void start(struct brain_fusion *fused, int64_t now_ms, struct brain_pose pose)
{
    fused->now = pose;
    fused->now_ms = fused->fix_ms = now_ms;
    fused->num_steps = fused->num_corrections = 0;
}

static void advance(struct brain_fusion *fused, int64_t now_ms, float accel_mps2, float turn_deg)
{
    struct brain_step_kept *step = &fused->steps[fused->num_steps % BRAIN_STEPS];
    if (fused->now.speed_mps < BRAIN_HEADING_HOLD_MPS) {
        turn_deg = 0.0f;
    }
    fused->num_steps++;
    step->begin_ms = fused->now_ms;
    step->end_ms = now_ms;
    step->before = fused->now;
    step->accel_mps2 = accel_mps2;
    step->turn_deg = turn_deg;
    float step_s = seconds(now_ms - fused->now_ms);
    fused->now = reckon(fused->now, accel_mps2, turn_deg, 1.0f, step_s);
    fused->now_ms = now_ms;
}

/* What was believed of a moment in a kept step when that step was made; `_then`. */
static struct brain_pose believed_then(const struct brain_step_kept *step, int64_t fix_ms)
{
    float step_s = seconds(step->end_ms - step->begin_ms);
    float share = fix_ms < step->end_ms ? seconds(fix_ms - step->begin_ms) / step_s : 1.0f;
    return reckon(step->before, step->accel_mps2, step->turn_deg, share, step_s);
}

static bool correct(
    struct brain_fusion *fused, int64_t fix_ms, struct brain_pose fix, bool has_heading)
{
    uint32_t number = fused->num_steps - 1;
    uint32_t oldest = fused->num_steps > BRAIN_STEPS ? fused->num_steps - BRAIN_STEPS : 0;
    while (number > oldest && fused->steps[number % BRAIN_STEPS].begin_ms >= fix_ms) {
        number--;
    }
    const struct brain_step_kept *step = &fused->steps[number % BRAIN_STEPS];
    if (fix_ms < step->begin_ms || fix_ms < fused->fix_ms || fix_ms > fused->now_ms) {
        return false;
    }
    uint32_t made = fused->num_corrections;
    uint32_t first = made > BRAIN_CORRECTIONS ? made - BRAIN_CORRECTIONS : 0;
    if (first > 0 && fused->corrections[first % BRAIN_CORRECTIONS].step >= number) {
        return false;
    }
    struct brain_pose then = believed_then(step, fix_ms);
    for (uint32_t k = first; k < made; k++) {
        const struct brain_correction *earlier = &fused->corrections[k % BRAIN_CORRECTIONS];
        if (earlier->step >= number) {
            then = corrected(earlier, fix_ms, then);
        }
    }
    float turn_deg = has_heading ? turn_between(then.heading_deg, fix.heading_deg) : 0.0f;
    float direction_deg = then.heading_deg + turn_deg;
    struct brain_correction *one = &fused->corrections[made % BRAIN_CORRECTIONS];
    fused->num_corrections = made + 1;
    one->fix_ms = fix_ms;
    one->step = fused->num_steps - 1;
    one->then = then.place;
    one->fix = fix.place;
    one->sine = sine_deg(turn_deg);
    one->cosine = cosine_deg(turn_deg);
    one->faster_mps = fix.speed_mps - then.speed_mps - then.rest_mps;
    one->east_mps = one->faster_mps * sine_deg(direction_deg);
    one->north_mps = one->faster_mps * cosine_deg(direction_deg);
    one->turn_deg = turn_deg;
    fused->now = corrected(one, fused->now_ms, fused->now);
    fused->fix_ms = fix_ms;
    return true;
}

static float heading_growth(float speed_mps)
{
    float fast_mps = max_of(speed_mps, max_of(BRAIN_HEADING_HOLD_MPS, SLOWEST_FOR_HEADING_MPS));
    return max_of(BRAIN_HEADING_FULL_MPS / fast_mps, 1.0f);
}

static float fused_sd_m(float age_s, float speed_mps)
{
    float speed_m = BRAIN_SPEED_SD_MPS * age_s;
    float bias_m = 0.5f * BRAIN_BIAS_SD_MPS2 * age_s * age_s;
    float noise_mps = BRAIN_ACCEL_SD_MPS2 * age_s;
    float along_m2 =
        speed_m * speed_m + bias_m * bias_m + noise_mps * noise_mps * age_s * (0.1f / 3.0f);
    float heading_deg = BRAIN_HEADING_SD_DEG * heading_growth(speed_mps);
    float turned_deg = 0.5f * max_of(BRAIN_GYRO_SD_DPS, 0.0f) * age_s;
    float across_m = RADIANS_PER_DEG * speed_mps * age_s;
    float across_m2 =
        (heading_deg * heading_deg + turned_deg * turned_deg) * across_m * across_m;
    return square_root(BRAIN_GPS_M2 + max_of(along_m2, across_m2));
}

/* ---- ml/onboard/prediction.py ---- */

#define BRAKING_MPS2 1.0f
#define HORIZON_S 1.0f
#define TURN_LIMIT 2.0f

/* Returns the way since the message, and fills speed and acceleration now. */
static float travelled(const struct brain_peer *peer, float *now_mps, float *now_mps2)
{
    float speed = peer->sent.speed_mps, accel = peer->accel_mps2, age = peer->age_s;
    float lasting = accel < -BRAKING_MPS2 ? age : min_of(age, HORIZON_S);
    float now = speed + accel * lasting;
    if (now <= 0.0f && accel < 0.0f) {
        *now_mps = *now_mps2 = 0.0f;
        return speed * speed / (-2.0f * accel);
    }
    *now_mps = now;
    *now_mps2 = accel;
    return 0.5f * (speed + now) * lasting + now * (age - lasting);
}

static void travel(struct brain_peer *peer)
{
    peer->travelled_m = travelled(peer, &peer->now_mps, &peer->now_mps2);
}

static float along(float east_m, float north_m, float heading_deg, float turn_deg)
{
    float mean_deg = heading_deg + 0.5f * turn_deg;
    float ahead_m = east_m * sine_deg(mean_deg) + north_m * cosine_deg(mean_deg);
    float half = within(0.5f * turn_deg * RADIANS_PER_DEG, -0.5f * TURN_LIMIT, 0.5f * TURN_LIMIT);
    float sine = sine_near_0(half); /* Of up to 1: to 2.5e-8 there. */
    return sine == 0.0f ? ahead_m : ahead_m * (half / sine);
}

/* ---- ml/onboard/cars_ahead.py ---- */

#define FORGOTTEN_S 60.0f
#define BEHIND_M 25.0f
#define BEHIND_SDS 3.0f
#define ONCOMING_DEG 135.0f

static bool is_behind(const struct brain *brain, const struct brain_peer *peer, float turn_deg)
{
    const struct brain_pose *own = &brain->fused.now;
    float east_m = metres(peer->sent.place.x_um - own->place.x_um);
    float north_m = metres(peer->sent.place.y_um - own->place.y_um);
    float sd_m = peer->position_sd_m + brain->position_sd_m;
    float least_m = peer->behind ? CAR_LENGTH_M : -max_of(BEHIND_M, BEHIND_SDS * sd_m);
    float now_mps, now_mps2, way_m = travelled(peer, &now_mps, &now_mps2);
    return along(east_m, north_m, own->heading_deg, turn_deg) + way_m < least_m;
}

static void find_cars_ahead(struct brain *brain)
{
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        struct brain_peer *peer = &brain->peers[s];
        peer->counts = false;
        if (!peer->heard) {
            continue;
        }
        if (peer->age_s > FORGOTTEN_S) {
            forget(brain, s);
            continue;
        }
        float turn_deg = turn_between(brain->fused.now.heading_deg, peer->sent.heading_deg);
        bool is_oncoming = size_of(turn_deg) > ONCOMING_DEG;
        if (!is_oncoming) {
            peer->behind = is_behind(brain, peer, turn_deg);
        }
        peer->counts = !is_oncoming && !peer->behind;
        if (!peer->counts) {
            peer->newest = peer->followed = 0;
            leave_order(brain, s);
        }
    }
}

/* ---- ml/onboard/silent_cars.py ---- */

#define SILENT_S 0.3f
#define CERTAIN_M 2.0f
#define IDM_ACCEL_MPS2 1.5f
#define IDM_TWO_ROOTS 3.87298335f /* 2 sqrt(1.5 * 2.5) */
#define IDM_TIME_GAP_S 1.2f
#define LEAST_GAP_M 0.5f
#define UNDISTURBED_MPS2 0.2f

static float pull_mps2(float speed_mps, float ahead_mps, float gap_m)
{
    float braking = speed_mps * (speed_mps - ahead_mps) / IDM_TWO_ROOTS;
    float wanted = PEER_STANDSTILL_M + max_of(speed_mps * IDM_TIME_GAP_S + braking, 0.0f);
    float share = wanted / max_of(gap_m, LEAST_GAP_M);
    return -min_of(IDM_ACCEL_MPS2 * share * share, MAX_BRAKING_MPS2);
}

static int car_ahead(const struct brain *brain, int s)
{
    int nearest = -1;
    for (int o = 0; o < BRAIN_SOURCES; o++) {
        if (!brain->peers[o].counts || brain->ahead_m[s][o] < CERTAIN_M) {
            continue;
        }
        if (nearest < 0 || brain->ahead_m[s][o] < brain->ahead_m[s][nearest]) {
            nearest = o;
        }
    }
    return nearest;
}

static float distance_m(const struct brain_peer *from, const struct brain_peer *to)
{
    float turn_deg = turn_between(from->sent.heading_deg, to->sent.heading_deg);
    float east_m = metres(to->sent.place.x_um - from->sent.place.x_um);
    float north_m = metres(to->sent.place.y_um - from->sent.place.y_um);
    float apart_m = along(east_m, north_m, from->sent.heading_deg, turn_deg);
    return apart_m + to->travelled_m - from->travelled_m;
}

static float accel_of_silent(const struct brain_peer *peer, float disturbance_mps2)
{
    float sent_mps = peer->sent.speed_mps, sent_mps2 = peer->accel_mps2;
    bool brakes = sent_mps2 < -BRAKING_MPS2;
    float accel = brakes || peer->age_s <= HORIZON_S ? sent_mps2 : 0.0f;
    if (!brakes && peer->now_mps < sent_mps && disturbance_mps2 > -UNDISTURBED_MPS2) {
        float share = peer->now_mps / sent_mps;
        float square = share * share;
        accel = max_of(accel, IDM_ACCEL_MPS2 * (1.0f - square * square));
    }
    return max_of(accel + disturbance_mps2, -MAX_BRAKING_MPS2);
}

static void follow_on(struct brain *brain)
{
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        struct brain_peer *peer = &brain->peers[s];
        if (peer->counts && peer->sequence != peer->followed) {
            travel(peer);
        }
    }
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        struct brain_peer *peer = &brain->peers[s];
        if (!peer->counts || peer->age_s <= SILENT_S) {
            continue;
        }
        float before = peer->now_mps, pull = 0.0f;
        int o = car_ahead(brain, s);
        if (o >= 0) {
            float gap_m = distance_m(peer, &brain->peers[o]) - CAR_LENGTH_M;
            pull = pull_mps2(before, brain->peers[o].now_mps, gap_m);
        }
        if (peer->sequence != peer->followed) {
            peer->followed = peer->sequence;
            peer->usual_mps2 = max_of(pull, -IDM_ACCEL_MPS2);
            continue;
        }
        float accel = accel_of_silent(peer, min_of(pull - peer->usual_mps2, 0.0f));
        float now = max_of(before + accel * DT_S, 0.0f);
        peer->travelled_m += 0.5f * (before + now) * DT_S;
        peer->now_mps = now;
    }
}

/* ---- ml/onboard/peer_order.py ---- */

#define FRESH_S 1.5f
#define STALE_S 10.0f
#define APART_M 10.0f
#define ORDER_SHARE 0.1f
#define STALER_S 0.3f

static void compare_pairs(struct brain *brain)
{
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        const struct brain_peer *peer = &brain->peers[s];
        if (!peer->counts || peer->age_s > STALE_S) {
            continue;
        }
        for (int o = s + 1; o < BRAIN_SOURCES; o++) {
            const struct brain_peer *other = &brain->peers[o];
            float before_m = brain->ahead_m[s][o];
            bool known = before_m != 0.0f;
            float older_s = max_of(peer->age_s, other->age_s);
            if (!other->counts || older_s > (known ? FRESH_S : STALE_S)) {
                continue;
            }
            float ahead_m = distance_m(peer, other);
            if (known) {
                ahead_m = before_m + ORDER_SHARE * (ahead_m - before_m);
            } else if (older_s > FRESH_S && size_of(ahead_m) < APART_M) {
                continue;
            }
            brain->ahead_m[s][o] = ahead_m;
            brain->ahead_m[o][s] = -ahead_m;
        }
    }
}

static void queue_up(struct brain *brain)
{
    bool changed = true;
    for (int k = 0; k < BRAIN_SOURCES && changed; k++) {
        changed = false;
        for (int s = 0; s < BRAIN_SOURCES; s++) {
            struct brain_peer *peer = &brain->peers[s];
            for (int o = 0; o < BRAIN_SOURCES; o++) {
                const struct brain_peer *other = &brain->peers[o];
                if (!(peer->counts && other->counts) || brain->ahead_m[s][o] < CERTAIN_M) {
                    continue;
                }
                float behind_m = other->gap_m - CAR_LENGTH_M - STANDSTILL_GAP_M;
                if (peer->age_s > other->age_s + STALER_S && peer->gap_m > behind_m) {
                    peer->gap_m = behind_m;
                    peer->speed_mps = min_of(peer->speed_mps, other->speed_mps);
                    peer->now_accel_mps2 = min_of(peer->now_accel_mps2, other->now_accel_mps2);
                    changed = true;
                }
            }
        }
    }
}

/* ---- ml/onboard/memory.py ---- */

static void remember(struct brain *brain)
{
    for (int back = BRAIN_SPEED_TICKS; back > 0; back--) {
        brain->speeds_mps[back] = brain->speeds_mps[back - 1];
    }
    brain->speeds_mps[0] = brain->fused.now.speed_mps;
    bool is_new = false;
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        struct brain_peer *peer = &brain->peers[s];
        if (!peer->counts || peer->sequence == peer->newest) {
            continue;
        }
        bool first = peer->newest == 0;
        for (int back = BRAIN_HISTORY; back >= 0; back--) {
            bool is_present = back == 0 || first;
            peer->sent_mps2[back] = is_present ? peer->accel_mps2 : peer->sent_mps2[back - 1];
            peer->sent_mps[back] = is_present ? peer->sent.speed_mps : peer->sent_mps[back - 1];
            peer->sent_ms[back] = is_present ? peer->timestamp_ms : peer->sent_ms[back - 1];
        }
        brain->messages++;
        is_new = is_new || first;
        peer->newest = peer->sequence;
    }
    if (is_new) {
        brain->messages = 0;
    }
}

/* ---- ml/onboard/estimator.py ---- */

static float difference_sd_m(float peer_sd_m, float own_sd_m)
{
    const float alone = BRAIN_ALONE_SHARE; /* sqrt(1 - common_share^2) */
    float alone_m = own_sd_m * alone, apart_m = peer_sd_m - BRAIN_COMMON_SHARE * own_sd_m;
    return square_root(apart_m * apart_m + alone_m * alone_m);
}

static void predict(struct brain *brain)
{
    const struct brain_pose *own = &brain->fused.now;
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        struct brain_peer *peer = &brain->peers[s];
        if (!peer->counts) {
            continue;
        }
        float east_m = metres(peer->sent.place.x_um - own->place.x_um);
        float north_m = metres(peer->sent.place.y_um - own->place.y_um);
        float turn_deg = turn_between(own->heading_deg, peer->sent.heading_deg);
        float mean_deg = own->heading_deg + 0.5f * turn_deg;
        peer->gap_sent_m = along(east_m, north_m, own->heading_deg, turn_deg) - CAR_LENGTH_M;
        peer->gap_m = peer->gap_sent_m + peer->travelled_m;
        peer->speed_mps = peer->now_mps;
        peer->now_accel_mps2 = peer->now_mps2;
        peer->difference_sd_m = difference_sd_m(peer->position_sd_m, brain->position_sd_m);
        peer->lateral_m = north_m * sine_deg(mean_deg) - east_m * cosine_deg(mean_deg);
        peer->turn_deg = turn_deg;
    }
    queue_up(brain);
    int count = 0;
    for (int s = 0; s < BRAIN_SOURCES; s++) { /* An insertion sort, nearest first. */
        if (!brain->peers[s].counts) {
            continue;
        }
        int at = count;
        while (at > 0 && brain->peers[brain->order[at - 1]].gap_m > brain->peers[s].gap_m) {
            brain->order[at] = brain->order[at - 1];
            at--;
        }
        brain->order[at] = s;
        count++;
    }
    brain->num_heard = count;
    for (int rank = 0; rank < count; rank++) {
        struct brain_peer *peer = &brain->peers[brain->order[rank]];
        peer->rank = rank;
        peer->room_m = peer->gap_m - (float)rank * CAR_LENGTH_M;
    }
}

/* ---- ml/onboard/safety_layer.py ---- */

#define COMFORT_LIMIT_MPS2 2.2f
#define URGENT_MPS2 3.0f
#define RELEASE_MPS3 2.5f
#define MARGIN_M 1.0f
#define MARGIN_SDS 2.0f
#define RESERVE_M 1.0f
#define DELAY_S 0.15f
#define ALARM_MPS2 2.5f
#define BRAKED_MPS2 2.0f
#define ALARMED_MPS2 4.5f
#define RESPONSE_S 0.4f
#define SILENCE_MARGIN_M 4.0f
#define SILENCE_GAIN 0.25f
#define SILENCE_MPS2 1.5f
#define BRAKE_ALLOWANCE_MPS2 1.0f
#define CREEP_MPS2 1.0f
#define RECENT_S 0.7f
#define USUAL_PER_S 0.42f
#define SILENCE_S 1.0f
#define RECORD_S 20.0f
#define DRIFT_MPS2 0.3f
#define CALM_MPS2 1.5f
#define CALM_SHARE 0.7f
#define MATCH_S 1.0f
#define UNKNOWN_PEER_CLOSING_MPS 3.0f
#define UNKNOWN_PEER_GAIN 0.5f
#define MIN_MESSAGES 60
#define LEAST_ROOM_M 0.1f

static float margin_m(float position_sd_m, int rank)
{
    return MARGIN_M + MARGIN_SDS * position_sd_m + STANDSTILL_GAP_M * (float)rank;
}

static float needed_braking(
    float own_mps, float free_m, float speed_mps, float accel_mps2, float match_s)
{
    float left_m = free_m - own_mps * DELAY_S;
    float stop_m = INFINITE;
    if (speed_mps <= 0.0f) {
        stop_m = 0.0f;
    } else if (accel_mps2 < -BRAKING_MPS2) {
        stop_m = speed_mps * speed_mps / (-2.0f * accel_mps2);
    }
    float needed = own_mps * own_mps / (2.0f * max_of(left_m + stop_m, LEAST_ROOM_M));
    float closing = max_of(own_mps - speed_mps, 0.0f);
    float room_m = max_of(max_of(left_m, 0.5f * match_s * closing), LEAST_ROOM_M);
    return min_of(max_of(needed, closing * closing / (2.0f * room_m)), MAX_BRAKING_MPS2);
}

static float needed_in_alarm(float own_mps, float free_m, float speed_mps)
{
    float stop_m = speed_mps * speed_mps / (2.0f * ALARMED_MPS2);
    float left_m = max_of(free_m + stop_m - own_mps * DELAY_S, LEAST_ROOM_M);
    return min_of(own_mps * own_mps / (2.0f * left_m), MAX_BRAKING_MPS2);
}

static float missing_room(float own_mps, float gap_sent_m, float speed_sent_mps)
{
    float own_stop_m = own_mps * RESPONSE_S + own_mps * own_mps / (2.0f * MAX_BRAKING_MPS2);
    float lead_stops_m = gap_sent_m + speed_sent_mps * speed_sent_mps / (2.0f * MAX_BRAKING_MPS2);
    return own_stop_m + SILENCE_MARGIN_M - lead_stops_m;
}

static float braking_for_s(float age_s, float silent_share, float time_gap_s)
{
    float usual = USUAL_PER_S * time_gap_s, exception = 1.0f;
    if (usual > 0.0f) {
        exception = within(2.0f - 2.0f * silent_share / usual, 0.0f, 1.0f);
    }
    return RECENT_S + exception * max_of(age_s - RECENT_S, 0.0f);
}

static float silent_share_after(float share, float age_s)
{
    return share + DT_S / RECORD_S * ((age_s > SILENCE_S ? 1.0f : 0.0f) - share);
}

static float urgency(float needed_mps2)
{
    float share = (needed_mps2 - COMFORT_LIMIT_MPS2) / (URGENT_MPS2 - COMFORT_LIMIT_MPS2);
    return within(share, 0.0f, 1.0f);
}

/* `_peer_needs`; the alarm is `ahead` cars ahead of it, if > 0. */
static float peer_needs(
    float own_mps, const struct brain_peer *peer, float free_m, int ahead, float match_s)
{
    float speed = peer->speed_mps, accel = peer->now_accel_mps2;
    float own_need = needed_braking(own_mps, free_m, speed, accel, match_s);
    if (peer->age_s > SILENT_S) {
        bool braked = accel < -BRAKED_MPS2;
        if (ahead > 0 || braked) {
            own_need = max_of(own_need, needed_in_alarm(own_mps, free_m, speed));
        }
        if (braked) {
            float sent_free_m = free_m - peer->gap_m + peer->gap_sent_m;
            float need = needed_in_alarm(own_mps, sent_free_m, peer->sent.speed_mps);
            own_need = max_of(own_need, need);
        }
    }
    return own_need;
}

/* Returns the distance to the car in front less the margin; infinite where none is heard. */
static float demand(struct brain *brain, float own_mps)
{
    int alarm = -1;
    bool calm = true;
    for (int rank = 0; rank < brain->num_heard; rank++) {
        const struct brain_peer *peer = &brain->peers[brain->order[rank]];
        float speed = peer->speed_mps, accel = peer->now_accel_mps2;
        if (accel < -ALARM_MPS2 || speed <= 0.0f) {
            alarm = rank;
        }
        calm = calm && accel > -CALM_MPS2 && speed > CALM_SHARE * own_mps;
    }
    float match_s = calm ? MATCH_S : 0.0f;
    float needed = 0.0f, lead_free = INFINITE, missing = -INFINITE;
    for (int rank = 0; rank < brain->num_heard; rank++) {
        struct brain_peer *peer = &brain->peers[brain->order[rank]];
        float margin = margin_m(peer->difference_sd_m, rank);
        float free_m = peer->gap_m - (float)rank * CAR_LENGTH_M - margin;
        float own_need = peer_needs(own_mps, peer, free_m, alarm - rank, match_s);
        float reserve_m = RESERVE_M * urgency(own_need);
        if (reserve_m > 0.0f) {
            own_need = peer_needs(own_mps, peer, free_m - reserve_m, alarm - rank, match_s);
        }
        peer->needed_mps2 = own_need;
        needed = max_of(needed, own_need);
        if (rank > 0) {
            continue;
        }
        lead_free = free_m;
        missing = missing_room(own_mps, peer->gap_sent_m, peer->sent.speed_mps);
        float braking_s =
            braking_for_s(peer->age_s, brain->silent_share, brain->settings.time_gap_s);
        if (calm && braking_s < peer->age_s) {
            float unsure_s = peer->age_s - braking_s;
            float drift_m = 0.5f * DRIFT_MPS2 * unsure_s * unsure_s;
            float recent_m = peer->gap_m - braking_s * peer->speed_mps - drift_m;
            missing = min_of(missing, missing_room(own_mps, recent_m, peer->speed_mps));
        }
    }
    brain->needed_mps2 = needed;
    brain->missing_m = missing;
    return lead_free;
}

static float soft_bound_mps2(const struct brain *brain, float closing_mps)
{
    if (brain->num_heard == 0) {
        return 0.0f;
    }
    float limit = -SILENCE_GAIN * brain->missing_m;
    if (brain->messages < MIN_MESSAGES) {
        limit = min_of(limit, UNKNOWN_PEER_GAIN * (UNKNOWN_PEER_CLOSING_MPS - closing_mps));
    }
    return max_of(limit, -SILENCE_MPS2);
}

static float floor_mps2(float needed_mps2)
{
    return -max_of(SILENCE_MPS2, needed_mps2 + BRAKE_ALLOWANCE_MPS2);
}

static float hard_bound_mps2(float needed_mps2, float lead_free_m, float before_mps2)
{
    float limit = lead_free_m < 0.0f ? -CREEP_MPS2 : MAX_ACCEL_MPS2;
    if (needed_mps2 > COMFORT_LIMIT_MPS2) {
        limit = min_of(limit, -urgency(needed_mps2) * max_of(needed_mps2, URGENT_MPS2));
    }
    return min_of(limit, before_mps2 + RELEASE_MPS3 * DT_S);
}

static void bound(struct brain *brain)
{
    float own_mps = brain->fused.now.speed_mps, closing_mps = 0.0f;
    if (brain->num_heard > 0) {
        const struct brain_peer *lead = &brain->peers[brain->order[0]];
        closing_mps = own_mps - lead->speed_mps;
        brain->silent_share = silent_share_after(brain->silent_share, lead->age_s);
    }
    float lead_free_m = demand(brain, own_mps);
    brain->soft_mps2 = soft_bound_mps2(brain, closing_mps);
    brain->hard_mps2 = hard_bound_mps2(brain->needed_mps2, lead_free_m, brain->hard_mps2);
    brain->floor_mps2 = floor_mps2(brain->needed_mps2);
}

/* ---- ml/onboard/spacing.py ---- */

/* (a^8 + b^8)^(1/8), with the larger of the two taken out so that nothing overflows. */
static float wanted_gap_m(float speed_mps, float time_gap_s)
{
    float driven_m = time_gap_s * speed_mps;
    float larger_m = max_of(WANTED_STANDSTILL_M, driven_m);
    float share = min_of(WANTED_STANDSTILL_M, driven_m) / larger_m;
    float power = share * share;
    power *= power;
    power *= power;
    return larger_m * square_root(square_root(square_root(1.0f + power)));
}

/* ---- ml/onboard/observation/kernel.py ---- */

#define SLOWEST_MPS 2.0f
#define NOBODY_GAP_M 150.0f
#define NOBODY_AGE_S 10.0f

static void hold_row(float *row, const float limits[][3], int size)
{
    for (int i = 0; i < size; i++) {
        row[i] = within(row[i] / limits[i][0], limits[i][1], limits[i][2]);
    }
}

static void write_peer(const struct brain_peer *peer, float own_mps, float *row)
{
    row[PEER_GAP] = peer->gap_m;
    row[PEER_TIME_GAP] = peer->gap_m / max_of(own_mps, SLOWEST_MPS);
    row[PEER_LATERAL] = peer->lateral_m;
    row[PEER_RELATIVE_SPEED] = peer->speed_mps - own_mps;
    row[PEER_SPEED] = peer->sent.speed_mps;
    row[PEER_ACCEL] = peer->accel_mps2;
    row[PEER_HEADING_SIN] = sine_deg(peer->turn_deg);
    row[PEER_HEADING_COS] = cosine_deg(peer->turn_deg);
    row[PEER_AGE] = peer->age_s;
    row[PEER_HOPS] = (float)peer->hops;
    row[PEER_POSITION_SD] = peer->position_sd_m;
    row[PEER_CARS_BETWEEN] = (float)peer->rank;
    row[PEER_ROOM] = peer->room_m;
    row[PEER_NEEDED_BRAKING] = peer->needed_mps2;
    for (int back = 1; back <= BRAIN_HISTORY; back++) {
        float *past = row + PEER_ACCEL_1_BEFORE + 3 * (back - 1);
        past[0] = peer->sent_mps2[back];
        past[1] = peer->sent_mps[back] - peer->sent.speed_mps;
        past[2] = seconds(peer->sent_ms[0] - peer->sent_ms[back]);
    }
    hold_row(row, PEER_LIMITS, BRAIN_PEER_FEATURES);
}

static void write_lead(const struct brain *brain, float own_mps, float *row)
{
    row[EGO_NEAREST_GAP] = NOBODY_GAP_M;
    row[EGO_NEAREST_AGE] = NOBODY_AGE_S;
    row[EGO_NEAREST_CLOSING] = row[EGO_NEAREST_ACCEL] = row[EGO_NEAREST_SD] = 0.0f;
    if (brain->num_heard > 0) {
        const struct brain_peer *lead = &brain->peers[brain->order[0]];
        row[EGO_NEAREST_GAP] = lead->gap_m;
        row[EGO_NEAREST_CLOSING] = -(lead->speed_mps - own_mps);
        row[EGO_NEAREST_ACCEL] = lead->now_accel_mps2;
        row[EGO_NEAREST_AGE] = lead->age_s;
        row[EGO_NEAREST_SD] = lead->difference_sd_m;
    }
}

static void fill(struct brain *brain)
{
    float speed = brain->fused.now.speed_mps, *row = brain->ego_row;
    row[EGO_PEERS_HEARD] = row[EGO_HARDEST_BRAKING] = 0.0f;
    row[EGO_SILENCE] = NOBODY_AGE_S;
    brain->num_rows = 0;
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        const struct brain_peer *peer = &brain->peers[s];
        if (!peer->counts || peer->age_s > BRAIN_TIME_TO_LIVE_S) {
            continue;
        }
        row[EGO_PEERS_HEARD] += 1.0f;
        row[EGO_SILENCE] = min_of(row[EGO_SILENCE], peer->age_s);
        row[EGO_HARDEST_BRAKING] = max_of(row[EGO_HARDEST_BRAKING], -peer->accel_mps2);
        if (peer->rank < BRAIN_SHOWN_PEERS) {
            brain->row_of[brain->num_rows] = (uint8_t)s;
            write_peer(peer, speed, brain->peer_rows[brain->num_rows++]);
        }
    }
    write_lead(brain, speed, row);
    float range_m = brain->sample.range_m, gap_s = brain->settings.time_gap_s;
    row[EGO_SPEED] = speed;
    row[EGO_ACCEL] = brain->sample.accel_mps2;
    row[EGO_POSITION_SD] = brain->position_sd_m;
    row[EGO_LAST_COMMAND] = brain->commands_mps2[0];
    row[EGO_EARLIER_COMMAND] = brain->commands_mps2[1];
    row[EGO_SPEED_CHANGE] = speed - brain->speeds_mps[BRAIN_SPEED_TICKS];
    row[EGO_RANGE] = max_of(range_m, 0.0f);
    row[EGO_RANGE_VALID] = range_m >= 0.0f ? 1.0f : 0.0f;
    row[EGO_NEAREST_TIME_GAP] = row[EGO_NEAREST_GAP] / max_of(speed, SLOWEST_MPS);
    row[EGO_WANTED_TIME_GAP] = gap_s;
    row[EGO_GAP_ERROR] = row[EGO_NEAREST_GAP] - wanted_gap_m(speed, gap_s);
    row[EGO_NEEDED_BRAKING] = brain->needed_mps2;
    row[EGO_MISSING_ROOM] = brain->num_heard > 0 ? brain->missing_m : 0.0f;
    hold_row(row, EGO_LIMITS, BRAIN_EGO_FEATURES);
}

/* ---- ml/policies/deep_set_policy.py ---- */

#if BRAIN_INT16

/* The network in whole numbers: ml/export/fixed_point.py, its twin, says how scales are chosen. A
 * value of n fraction bits is a whole number of 2^-n; a bias holds the half that rounds what is
 * shifted out. Nothing overflows, whatever comes in: a product of two int16 is at most 2^30, a row
 * has fewer than 2^8 of them, and a bias is below 2^53, so that a sum is far from the end of int64;
 * and what leaves a layer is held within bounds. gcc and clang shift the sign in. */
struct layer {
    const int16_t *weight; /* A row per output. */
    const int64_t *bias;
    const uint8_t *shift;
    int num_in, num_out;
};

#define LARGEST INT16_MAX
#define TANH_END ((8 << BRAIN_TANH_BITS) - 1)
#define FINE_BITS (BRAIN_TANH_BITS - BRAIN_STEP_BITS)

static const struct layer PHI_0 = {
    PHI_0_WEIGHT, PHI_0_BIAS, PHI_0_SHIFT, BRAIN_PEER_FEATURES, BRAIN_HIDDEN};
static const struct layer PHI_1 = {
    PHI_1_WEIGHT, PHI_1_BIAS, PHI_1_SHIFT, BRAIN_HIDDEN, BRAIN_EMBEDDED};
static const struct layer HEAD_0 = {
    HEAD_0_WEIGHT, HEAD_0_BIAS, HEAD_0_SHIFT, BRAIN_FEATURES, BRAIN_HEAD_0};
static const struct layer HEAD_1 = {
    HEAD_1_WEIGHT, HEAD_1_BIAS, HEAD_1_SHIFT, BRAIN_HEAD_0, BRAIN_HEAD_1};
static const struct layer ACTION = {ACTION_WEIGHT, ACTION_BIAS, ACTION_SHIFT, BRAIN_HEAD_1, 1};

/* Features within their limits, which fit an int16 at this scale. */
static void to_whole(const float *row, int size, int bits, int16_t *out)
{
    for (int i = 0; i < size; i++) {
        out[i] = (int16_t)floor_of(row[i] * (float)(1 << bits) + 0.5f);
    }
}

/* Output k of a layer, within bounds. */
static int32_t output(const struct layer *layer, int k, const int16_t *in, int32_t low, int32_t high)
{
    const int16_t *weight = layer->weight + k * layer->num_in;
    int64_t sum = layer->bias[k];
    for (int i = 0; i < layer->num_in; i++) {
        sum += (int32_t)weight[i] * in[i];
    }
    sum >>= layer->shift[k];
    return sum < low ? low : sum > high ? high : (int32_t)sum;
}

static void layer_relu(const struct layer *layer, const int16_t *in, int16_t *out)
{
    for (int k = 0; k < layer->num_out; k++) {
        out[k] = (int16_t)output(layer, k, in, 0, LARGEST);
    }
}

/* tanh is linear between the values of its table. */
static void layer_tanh(const struct layer *layer, const int16_t *in, int16_t *out)
{
    for (int k = 0; k < layer->num_out; k++) {
        int32_t value = output(layer, k, in, -TANH_END, TANH_END);
        int32_t size = value < 0 ? -value : value;
        int32_t at = size >> FINE_BITS, rest = size & ((1 << FINE_BITS) - 1);
        int32_t more = (TANH[at + 1] - TANH[at]) * rest + (1 << (FINE_BITS - 1));
        size = TANH[at] + (more >> FINE_BITS);
        out[k] = (int16_t)(value < 0 ? -size : size);
    }
}

/* As `pool` in float, below. */
static void pool(const struct brain *brain, int16_t features[BRAIN_FEATURES])
{
    int16_t row[BRAIN_PEER_FEATURES], hidden[BRAIN_HIDDEN], embedded[BRAIN_EMBEDDED];
    int16_t *maximum = features + BRAIN_EGO_FEATURES, *mean = maximum + BRAIN_EMBEDDED;
    int32_t sums[BRAIN_EMBEDDED] = {0}, count = brain->num_rows > 0 ? brain->num_rows : 1;
    to_whole(brain->ego_row, BRAIN_EGO_FEATURES, BRAIN_FEATURE_BITS, features);
    for (int k = 0; k < BRAIN_EMBEDDED; k++) {
        maximum[k] = 0;
    }
    for (int p = 0; p < brain->num_rows; p++) {
        to_whole(brain->peer_rows[p], BRAIN_PEER_FEATURES, BRAIN_PEER_BITS, row);
        layer_relu(&PHI_0, row, hidden);
        layer_relu(&PHI_1, hidden, embedded);
        for (int k = 0; k < BRAIN_EMBEDDED; k++) {
            maximum[k] = embedded[k] > maximum[k] ? embedded[k] : maximum[k];
            sums[k] += embedded[k];
        }
    }
    for (int k = 0; k < BRAIN_EMBEDDED; k++) {
        mean[k] = (int16_t)((sums[k] + count / 2) / count);
    }
}

/* The bounds of an int16 of UNIT_BITS are those of an action. */
static float action(const struct brain *brain)
{
    int16_t features[BRAIN_FEATURES], first[BRAIN_HEAD_0], second[BRAIN_HEAD_1];
    pool(brain, features);
    layer_tanh(&HEAD_0, features, first);
    layer_tanh(&HEAD_1, first, second);
    int32_t mean = output(&ACTION, 0, second, INT16_MIN, INT16_MAX);
    return (float)mean * (1.0f / (float)(1 << BRAIN_UNIT_BITS));
}

#else

/* tanh(x) = (1 - e) / (1 + e) with e = exp(-2 |x|), and exp by Taylor's series after the whole
 * powers of 2 are taken off; absolute error below 1e-7. */
static float hyperbolic_tangent(float value)
{
    float twice = -2.0f * size_of(value);
    if (!(twice > -20.0f)) {
        return value < 0.0f ? -1.0f : 1.0f;
    }
    int32_t power = floor_of(twice * 1.44269504f + 0.5f);
    float rest = (twice - (float)power * 0.693359375f) + (float)power * 2.12194440e-4f;
    float e = 1.0f + rest * (1.0f / 7.0f);
    for (int k = 6; k >= 1; k--) {
        static const float share[] = {0.0f, 1.0f, 0.5f, 1.0f / 3.0f, 0.25f, 0.2f, 1.0f / 6.0f};
        e = 1.0f + rest * share[k] * e;
    }
    e *= float_of_bits((uint32_t)(power + 127) << 23);
    float size = (1.0f - e) / (1.0f + e);
    return value < 0.0f ? -size : size;
}

/* out = weights in + bias; `weights` has a row per output. */
static void layer(
    const float *in, int num_in, const float *weights, const float *bias, int num_out, float *out)
{
    for (int k = 0; k < num_out; k++) {
        float sum = bias[k];
        for (int i = 0; i < num_in; i++) {
            sum += weights[k * num_in + i] * in[i];
        }
        out[k] = sum;
    }
}

/* The features of the set of peers; the maximum and the mean of their embeddings behind the ego's
 * own. φ ends in a ReLU, so that 0 is at once the neutral element of the sum and of the maximum. */
static void pool(const struct brain *brain, float features[BRAIN_FEATURES])
{
    float hidden[BRAIN_HIDDEN], embedded[BRAIN_EMBEDDED];
    float *maximum = features + BRAIN_EGO_FEATURES, *mean = maximum + BRAIN_EMBEDDED;
    for (int i = 0; i < BRAIN_FEATURES; i++) {
        features[i] = i < BRAIN_EGO_FEATURES ? brain->ego_row[i] : 0.0f;
    }
    for (int p = 0; p < brain->num_rows; p++) {
        layer(brain->peer_rows[p], BRAIN_PEER_FEATURES, PHI_0_WEIGHT, PHI_0_BIAS, BRAIN_HIDDEN,
              hidden);
        for (int k = 0; k < BRAIN_HIDDEN; k++) {
            hidden[k] = max_of(hidden[k], 0.0f);
        }
        layer(hidden, BRAIN_HIDDEN, PHI_1_WEIGHT, PHI_1_BIAS, BRAIN_EMBEDDED, embedded);
        for (int k = 0; k < BRAIN_EMBEDDED; k++) {
            float value = max_of(embedded[k], 0.0f);
            maximum[k] = max_of(maximum[k], value);
            mean[k] += value;
        }
    }
    for (int k = 0; k < BRAIN_EMBEDDED; k++) {
        mean[k] /= (float)(brain->num_rows > 0 ? brain->num_rows : 1);
    }
}

static float action(const struct brain *brain)
{
    float features[BRAIN_FEATURES], first[BRAIN_HEAD_0], second[BRAIN_HEAD_1], mean;
    pool(brain, features);
    layer(features, BRAIN_FEATURES, HEAD_0_WEIGHT, HEAD_0_BIAS, BRAIN_HEAD_0, first);
    for (int k = 0; k < BRAIN_HEAD_0; k++) {
        first[k] = hyperbolic_tangent(first[k]);
    }
    layer(first, BRAIN_HEAD_0, HEAD_1_WEIGHT, HEAD_1_BIAS, BRAIN_HEAD_1, second);
    for (int k = 0; k < BRAIN_HEAD_1; k++) {
        second[k] = hyperbolic_tangent(second[k]);
    }
    layer(second, BRAIN_HEAD_1, ACTION_WEIGHT, ACTION_BIAS, 1, &mean);
    return within(mean, -1.0f, 1.0f);
}

#endif

/* ---- ml/onboard/actuation.py ---- */

static float accel_from_action(float mean)
{
    return mean * (mean < 0.0f ? MAX_BRAKING_MPS2 : MAX_ACCEL_MPS2);
}

/* `command_egos`. */
static struct brain_command command_ego(struct brain *brain, float wish_mps2)
{
    struct brain_command out = {0.0f, 0.0f, wish_mps2, INFINITE, INFINITE, -INFINITE,
                                BRAIN_BY_POLICY};
    float speed = brain->sample.vehicle_mps, wish = wish_mps2;
    if (speed < 0.0f) {
        speed = brain->fused.now.speed_mps;
    }
    if (BRAIN_SAFETY_LAYER) {
        out.soft_mps2 = brain->soft_mps2;
        out.hard_mps2 = brain->hard_mps2;
        out.floor_mps2 = brain->floor_mps2;
    }
    if (wish < out.floor_mps2) {
        wish = out.floor_mps2;
        out.reason = BRAIN_BY_FLOOR;
    }
    if (wish > out.soft_mps2) {
        wish = out.soft_mps2;
        out.reason = BRAIN_BY_SOFT_BOUND;
    }
    if (BRAIN_LAG_SHARE < 1.0f) {
        wish = brain->commands_mps2[0] + BRAIN_LAG_SHARE * (wish - brain->commands_mps2[0]);
    }
    if (wish > out.hard_mps2) {
        wish = out.hard_mps2;
        out.reason = BRAIN_BY_HARD_BOUND;
    }
    out.speed_mps = within(speed + wish * DT_S, 0.0f, MAX_SPEED_MPS);
    /* Only where the speed was held is less commanded than was wished. */
    out.accel_mps2 = within(wish, (0.0f - speed) / DT_S, (MAX_SPEED_MPS - speed) / DT_S);
    out.accel_mps2 = within(out.accel_mps2, -MAX_BRAKING_MPS2, MAX_ACCEL_MPS2);
    brain->commands_mps2[1] = brain->commands_mps2[0];
    brain->commands_mps2[0] = out.accel_mps2;
    return out;
}

/* ---- ml/onboard/board.py ---- */

bool brain_init(struct brain *brain, const struct brain_settings *settings, uint32_t now_ms)
{
    const int32_t *reference_e7 = settings->reference_e7;
    if (!is_name((const uint8_t *)settings->id) || !is_address(settings->mac)
        || !is_within((float)reference_e7[0], -80e7f, 80e7f)
        || !is_within((float)reference_e7[1], -178e7f, 178e7f)
        || !is_within(settings->time_gap_s, 0.0f, 5.0f)) {
        return false;
    }
    blank(brain, sizeof *brain);
    brain->settings = *settings;
    brain->now_ms = brain->start_ms = (int64_t)now_ms;
    brain->hard_mps2 = MAX_ACCEL_MPS2;
    brain->sample.vehicle_mps = brain->sample.range_m = -1.0f;
    for (int s = 0; s < BRAIN_SOURCES; s++) {
        clear_window(&brain->peers[s]);
    }
    touch(brain);
    return true;
}

bool brain_receive(
    struct brain *brain, const uint8_t frame[BRAIN_FRAME_BYTES], uint32_t received_ms)
{
    struct message message;
    if (!unpack(brain, frame, &message) || is_same_address(message.mac, brain->settings.mac)) {
        return false;
    }
    int64_t received = carried_on(brain, received_ms);
    move_on(brain, received - brain->start_ms);
    struct brain_peer *peer = place_of(brain, message.mac, received);
    if (peer == 0) {
        return false;
    }
    /* Before it is entered: what jumps back farther than a reboot does would be the newest then. */
    uint32_t older_ms = (uint32_t)peer->timestamp_ms - message.timestamp_ms;
    bool is_late = peer->heard && older_ms > RELAYED_MS && older_ms < 0x80000000u;
    enter(brain, peer, &message, received);
    if (mark_seen(peer, message.timestamp_ms) && !is_late) {
        keep_for_relay(brain, frame, &message);
    }
    return true;
}

static bool is_sane(float value, float limit) { return is_within(value, -limit, limit); }

bool brain_sense(
    struct brain *brain, uint32_t now_ms, const struct brain_fix *fix,
    const struct brain_sample *sample)
{
    struct brain_fusion *fused = &brain->fused;
    bool is_sound = true, has_begun = fused->num_steps > 0;
    move_clock(brain, now_ms);
    brain->sample = *sample;
    float *values[] = {&brain->sample.accel_mps2, &brain->sample.turn_deg,
                       &brain->sample.vehicle_mps, &brain->sample.range_m};
    const float limits[] = {100.0f, FULL_CIRCLE_DEG, MAX_MESSAGE_SPEED_MPS, 1e6f};
    for (int k = 0; k < 4; k++) {
        if (!is_sane(*values[k], limits[k])) {
            *values[k] = k < 2 ? 0.0f : -1.0f;
            is_sound = false;
        }
    }
    struct brain_pose pose = {{0, 0}, 0.0f, 0.0f, 0.0f};
    int64_t fix_ms = 0;
    if (fix != 0) {
        pose.speed_mps = fix->speed_mps;
        pose.heading_deg = fix->has_heading ? fix->heading_deg : 0.0f; /* Which nobody reads. */
        fix_ms = brain->now_ms - (int64_t)fix->age_ms;
        int64_t from_e7[2];
        for (int k = 0; k < 2; k++) {
            from_e7[k] = (int64_t)fix->place_e7[k] - brain->settings.reference_e7[k];
        }
        pose.place.y_um = from_e7[0] * brain->mm_per_deg[0] / 10000;
        pose.place.x_um = from_e7[1] * brain->mm_per_deg[1] / 10000;
        if (!is_within(pose.speed_mps, 0.0f, MAX_MESSAGE_SPEED_MPS)
            || !is_within(pose.heading_deg, 0.0f, FULL_CIRCLE_DEG)
            || pose.heading_deg == FULL_CIRCLE_DEG || !is_on_plane(pose.place.x_um)
            || !is_on_plane(pose.place.y_um)) {
            fix = 0;
            is_sound = false;
        }
    }
    if (!has_begun) {
        if (fix == 0 || !fix->has_heading) {
            return is_sound;
        }
        if (fix->age_ms > BRAIN_STEPS * BRAIN_TICK_MS) {
            return false;
        }
        start(fused, fix_ms, pose);
    }
    advance(fused, brain->now_ms, brain->sample.accel_mps2, brain->sample.turn_deg);
    if (fix != 0) {
        is_sound = correct(fused, fix_ms, pose, fix->has_heading) && is_sound;
    }
    return is_sound;
}

/* From what is held of the peers and believed of itself to a command. */
static struct brain_command decide(struct brain *brain)
{
    if (!brain->has_begun) {
        for (int back = 0; back <= BRAIN_SPEED_TICKS; back++) {
            brain->speeds_mps[back] = brain->fused.now.speed_mps;
        }
        brain->has_begun = true;
    }
    find_cars_ahead(brain);
    follow_on(brain);
    compare_pairs(brain);
    remember(brain);
    predict(brain);
    bound(brain);
    fill(brain);
    return command_ego(brain, accel_from_action(action(brain)));
}

struct brain_command brain_step(struct brain *brain, uint32_t now_ms)
{
    move_clock(brain, now_ms);
    move_on(brain, brain->now_ms - brain->start_ms);
    estimate_age(brain);
    if (brain->fused.num_steps == 0) {
        float speed_mps = max_of(brain->sample.vehicle_mps, 0.0f);
        return (struct brain_command){0.0f, speed_mps, 0.0f, 0.0f, 0.0f, 0.0f, BRAIN_WITHOUT_FIX};
    }
    float fix_age_s = seconds(brain->fused.now_ms - brain->fused.fix_ms);
    brain->position_sd_m = fused_sd_m(fix_age_s, brain->fused.now.speed_mps);
    return decide(brain);
}

bool brain_beacon(struct brain *brain, uint8_t frame[BRAIN_FRAME_BYTES])
{
    const struct brain_fusion *fused = &brain->fused;
    brain->num_of_slot = brain->num_waiting;
    float fix_age_s = seconds(fused->now_ms - fused->fix_ms);
    float sd_m = fused_sd_m(fix_age_s, fused->now.speed_mps);
    float confidence = 1.0f / (1.0f + sd_m);
    if (fused->num_steps == 0 || confidence < LEAST_CONFIDENCE
        || !is_on_plane(fused->now.place.x_um) || !is_on_plane(fused->now.place.y_um)) {
        return false;
    }
    for (int at = 0; at < BRAIN_FRAME_BYTES; at++) {
        frame[at] = 0;
    }
    frame[0] = WIRE_VERSION;
    for (int k = 0; k < ID_BYTES; k++) {
        frame[AT_ID + k] = (uint8_t)brain->settings.id[k];
    }
    for (int k = 0; k < MAC_BYTES; k++) {
        frame[AT_MAC + k] = brain->settings.mac[k];
    }
    write_u32(frame + AT_TIMESTAMP, (uint32_t)fused->now_ms);
    write_f32(frame + AT_LATITUDE, degrees_of_place(brain, 0, fused->now.place.y_um));
    write_f32(frame + AT_LONGITUDE, degrees_of_place(brain, 1, fused->now.place.x_um));
    write_f32(frame + AT_SPEED, fused->now.speed_mps);
    write_f32(frame + AT_HEADING, fused->now.heading_deg);
    write_f32(frame + AT_ACCEL, brain->sample.accel_mps2);
    write_f32(frame + AT_CONFIDENCE, confidence);
    brain->sent = fused->now;
    brain->has_sent = true;
    return true;
}

bool brain_relay(struct brain *brain, uint8_t frame[BRAIN_FRAME_BYTES])
{
    if (brain->num_of_slot == 0) {
        return false;
    }
    for (int at = 0; at < BRAIN_FRAME_BYTES; at++) {
        frame[at] = brain->waiting[brain->first_waiting][at];
    }
    drop_oldest(brain);
    return true;
}
