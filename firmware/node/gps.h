/* A satellite receiver's bytes become fixes: NMEA's RMC sentence of any talker, and u-blox's UBX
 * NAV-PVT message, both at once on one line. Whatever fails its checksum, or is no position, is
 * left out; the receiver sends the next within a second.
 *
 * C99, no allocation; whole numbers up to the place, so that no float rounds a degree. */

#ifndef NODE_GPS_H
#define NODE_GPS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GPS_LONGEST 112 /* Bytes of a sentence or message that is read. */

struct gps_fix {
    int32_t place_e7[2];    /* Latitude and longitude, 1e-7 degrees. */
    float speed_mps;        /* Over ground. */
    float heading_deg;      /* Over ground, clockwise from north, [0, 360). */
    bool has_heading;       /* NMEA leaves the field empty where the receiver hardly moves. */
};

/* Zeros are a parser that has read nothing. */
struct gps_parser {
    uint8_t bytes[GPS_LONGEST];
    uint16_t length;        /* Bytes of the present sentence or message; 0 between two. */
    uint16_t wanted;        /* Length of the present UBX message, once its head is known. */
    uint32_t refused;       /* Sentences and messages with a wrong checksum, or torn. */
};

/* Read a byte. True where it completes a fix; then `fix` is filled. */
bool gps_parse(struct gps_parser *parser, uint8_t byte, struct gps_fix *fix);

#ifdef __cplusplus
}
#endif

#endif
