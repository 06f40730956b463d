/* See gps.h. NMEA 0183 4.1 (RMC: time, status, latitude, longitude, knots, course, ...) and u-blox
 * M8 Receiver Description, UBX-NAV-PVT. */

#include "gps.h"

#define MPS_PER_KNOT 0.514444444f
#define E7 10000000

#define UBX_SYNC_1 0xb5u
#define UBX_SYNC_2 0x62u
#define UBX_HEAD 6 /* Two of sync, class, id, and the length in two bytes. */
#define UBX_NAV 0x01u
#define UBX_PVT 0x07u
#define PVT_SHORT 84u /* Of a u-blox 7; later ones send 92. */
#define PVT_LONG 92u

/* ---- NMEA ---- */

static int hex_digit(uint8_t letter)
{
    if (letter >= '0' && letter <= '9') {
        return letter - '0';
    }
    if (letter >= 'A' && letter <= 'F') {
        return letter - 'A' + 10;
    }
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* The place of the asterisk of a whole sentence; 0 where its checksum is missing or wrong. */
static uint16_t end_of(const struct gps_parser *parser)
{
    uint8_t sum = 0;
    for (uint16_t at = 1; at + 2 < parser->length; at++) {
        if (parser->bytes[at] == '*') {
            int high = hex_digit(parser->bytes[at + 1]), low = hex_digit(parser->bytes[at + 2]);
            return high >= 0 && low >= 0 && high * 16 + low == sum ? at : 0;
        }
        sum ^= parser->bytes[at];
    }
    return 0;
}

/* Begin of a sentence's field, its name being number 0; the asterisk's place if there is none. */
static uint16_t field_at(const struct gps_parser *parser, int number, uint16_t end)
{
    uint16_t at = 1;
    while (number > 0 && at < end) {
        number -= parser->bytes[at++] == ',';
    }
    return at;
}

/* Read a field as a whole number of units of 10^-digits; further digits are cut off. False where
 * the field is empty or no number of at most nine digits before the point. */
static bool read_decimal(
    const struct gps_parser *parser, int number, uint16_t end, int digits, int64_t *value)
{
    int whole = 0, behind = -1; /* Digits before the point, and behind it: -1 before it came. */
    *value = 0;
    for (uint16_t at = field_at(parser, number, end); at < end; at++) {
        uint8_t letter = parser->bytes[at];
        if (letter == ',') {
            break;
        }
        if (letter == '.' && behind < 0) {
            behind = 0;
        } else if (letter < '0' || letter > '9' || (behind < 0 && ++whole > 9)) {
            return false;
        } else if (behind < digits) {
            *value = *value * 10 + (letter - '0');
            behind += behind >= 0;
        }
    }
    for (behind = behind < 0 ? 0 : behind; behind < digits; behind++) {
        *value *= 10;
    }
    return whole > 0;
}

/* Degrees and minutes, dddmm.mmmm, with the hemisphere in the next field. */
static bool read_angle(
    const struct gps_parser *parser, int number, uint16_t end, const char hemispheres[2],
    int32_t limit_deg, int32_t *angle_e7)
{
    int64_t value;
    if (!read_decimal(parser, number, end, 7, &value)) {
        return false;
    }
    int64_t minutes_e7 = value % (100 * (int64_t)E7), degrees = value / (100 * (int64_t)E7);
    int64_t angle = degrees * E7 + (minutes_e7 + 30) / 60;
    uint8_t hemisphere = parser->bytes[field_at(parser, number + 1, end)];
    if (minutes_e7 >= 60 * (int64_t)E7 || angle > limit_deg * (int64_t)E7
        || (hemisphere != (uint8_t)hemispheres[0] && hemisphere != (uint8_t)hemispheres[1])) {
        return false;
    }
    *angle_e7 = (int32_t)(hemisphere == (uint8_t)hemispheres[0] ? angle : -angle);
    return true;
}

static bool read_sentence(struct gps_parser *parser, struct gps_fix *fix)
{
    const uint8_t *name = parser->bytes + 1;
    uint16_t end = end_of(parser);
    int64_t knots_e4, course_e4;
    if (end == 0) {
        parser->refused++;
        return false;
    }
    if (end < 7 || name[2] != 'R' || name[3] != 'M' || name[4] != 'C' || name[5] != ','
        || parser->bytes[field_at(parser, 2, end)] != 'A'
        || !read_angle(parser, 3, end, "NS", 90, &fix->place_e7[0])
        || !read_angle(parser, 5, end, "EW", 180, &fix->place_e7[1])
        || !read_decimal(parser, 7, end, 4, &knots_e4)) {
        return false;
    }
    fix->speed_mps = (float)knots_e4 * (1e-4f * MPS_PER_KNOT);
    fix->has_heading = read_decimal(parser, 8, end, 4, &course_e4) && course_e4 < 360 * 10000;
    fix->heading_deg = fix->has_heading ? (float)course_e4 * 1e-4f : 0.0f;
    return true;
}

/* ---- UBX ---- */

static int32_t read_i32(const uint8_t *bytes)
{
    union { uint32_t word; int32_t whole; } both;
    both.word = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16
        | (uint32_t)bytes[3] << 24;
    return both.whole;
}

static bool read_message(struct gps_parser *parser, struct gps_fix *fix)
{
    uint8_t first = 0, second = 0; /* Fletcher's sums, over class, id, length and payload. */
    uint16_t behind = (uint16_t)(parser->wanted - 2);
    for (uint16_t at = 2; at < behind; at++) {
        first = (uint8_t)(first + parser->bytes[at]);
        second = (uint8_t)(second + first);
    }
    if (first != parser->bytes[behind] || second != parser->bytes[behind + 1]) {
        parser->refused++;
        return false;
    }
    const uint8_t *payload = parser->bytes + UBX_HEAD;
    uint8_t kind = payload[20]; /* 2: two dimensions, 3: three, 4: with dead reckoning. */
    int32_t speed = read_i32(payload + 60), heading = read_i32(payload + 64);
    fix->place_e7[0] = read_i32(payload + 28);
    fix->place_e7[1] = read_i32(payload + 24);
    if (kind < 2 || kind > 4 || (payload[21] & 1u) == 0 || speed < 0) {
        return false;
    }
    fix->speed_mps = (float)speed * 1e-3f;
    fix->has_heading = heading >= 0 && heading < 360 * 100000;
    fix->heading_deg = fix->has_heading ? (float)heading * 1e-5f : 0.0f;
    return true;
}

/* Whether the bytes so far begin a message that is read. */
static bool is_head(struct gps_parser *parser)
{
    const uint8_t *bytes = parser->bytes;
    uint16_t length = parser->length;
    if ((length >= 2 && bytes[1] != UBX_SYNC_2) || (length >= 3 && bytes[2] != UBX_NAV)
        || (length >= 4 && bytes[3] != UBX_PVT)) {
        return false;
    }
    if (length == UBX_HEAD) {
        uint16_t size = (uint16_t)(bytes[4] | bytes[5] << 8);
        parser->wanted = (uint16_t)(size + UBX_HEAD + 2);
        return size == PVT_SHORT || size == PVT_LONG;
    }
    return true;
}

/* ---- Both ---- */

bool gps_parse(struct gps_parser *parser, uint8_t byte, struct gps_fix *fix)
{
    bool is_message = parser->length > 0 && parser->bytes[0] == UBX_SYNC_1;
    bool is_text = byte == '\r' || byte == '\n' || (byte >= ' ' && byte <= '~');
    if (!is_message && (byte == '$' || byte == UBX_SYNC_1)) {
        parser->refused += parser->length > 0; /* The one before it ended early. */
        parser->bytes[0] = byte;
        parser->length = 1;
        return false;
    }
    if (parser->length == 0) {
        return false;
    }
    if (parser->length == GPS_LONGEST || (!is_message && !is_text)) {
        parser->refused++;
        parser->length = 0;
        return false;
    }
    parser->bytes[parser->length++] = byte;
    if (is_message) {
        if (parser->length <= UBX_HEAD) {
            parser->length = is_head(parser) ? parser->length : 0;
            return false;
        }
        if (parser->length < parser->wanted) {
            return false;
        }
        parser->length = 0;
        return read_message(parser, fix);
    }
    if (byte != '\n') {
        return false;
    }
    bool is_fix = read_sentence(parser, fix);
    parser->length = 0;
    return is_fix;
}
