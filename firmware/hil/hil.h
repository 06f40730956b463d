/* A board in the loop: the simulation drives the traffic, this board decides, tick by tick.
 *
 * The far end is `roadsense hil`. Bytes of a serial port, a pipe or an emulated UART go in through
 * `hil_take`; answers come out through a callback. README.md beside this file has the messages.
 *
 *     static struct hil hil;
 *     hil_start(&hil, &(struct hil_board){"my board", write_bytes, clock_us, 0});
 *     for (;;) { hil_take(&hil, &byte, 1); }     each byte as it comes, or many at once
 *
 * C99, no allocation, no library. The brain is called from within `hil_take`, by the clock of the
 * simulation: nothing else may call it, and what it commands is to move no vehicle. */

#ifndef HIL_H
#define HIL_H

#include "brain.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HIL_VERSION 1
#define HIL_BAUD 921600     /* What `roadsense hil` opens a serial port with. */
#define HIL_HEAD_BYTES 6
#define HIL_CRC_BYTES 2
#define HIL_NAME_BYTES 16
#define HIL_PEER_BYTES 32
#define HIL_ANSWER_BYTES 66 /* Before the peers. */
#define HIL_MOST_IN (HIL_HEAD_BYTES + 4 + BRAIN_FRAME_BYTES + HIL_CRC_BYTES + 1)
#define HIL_MOST_OUT \
    (HIL_HEAD_BYTES + HIL_ANSWER_BYTES + BRAIN_SHOWN_PEERS * HIL_PEER_BYTES + HIL_CRC_BYTES)

/* Second byte of a message; those of a board have the highest bit. */
enum hil_type {
    HIL_HELLO = 0x00,
    HIL_BEGIN = 0x01,       /* 1 to 4 are the records of brain/replay/replay.h, but that a tick */
    HIL_FRAME = 0x02,       /* has its deadline where a record has what was commanded. */
    HIL_FIX = 0x03,
    HIL_TICK = 0x04,
    HIL_END = 0x05,
    HIL_IS_HELLO = 0x80,
    HIL_HAS_BEGUN = 0x81,
    HIL_SENDS = 0x82,
    HIL_ANSWERS = 0x84,
    HIL_HAS_ENDED = 0x85,
    HIL_REFUSES = 0xff
};

/* Why a message is refused. */
enum hil_why {
    HIL_OTHER_VERSION = 1,
    HIL_BROKEN,             /* Its CRC is wrong. */
    HIL_WRONG_SIZE,
    HIL_NO_TYPE,
    HIL_NOT_BEGUN,
    HIL_BAD_SETTINGS
};

/* Of an answer. */
enum hil_flag {
    HIL_LATE = 1,           /* The tick took longer than its deadline. */
    HIL_LEFT_OUT = 2        /* A sensor's value was none that a car has. */
};

/* Where it runs. */
struct hil_board {
    const char *name;       /* At most 16 characters of it are told. */
    void (*write)(void *context, const uint8_t *bytes, uint32_t size);
    uint32_t (*clock_us)(void *context); /* Any clock; it may begin anew at 2^32. */
    void *context;          /* Handed to both. */
};

/* All memory; to be read by others, not changed. */
struct hil {
    struct hil_board board;
    struct brain brain;
    struct brain_command command; /* The last one. */
    bool has_begun;         /* An episode runs. */
    bool has_ended;         /* The far end has said that it is done. */
    struct brain_fix fix;   /* Of the coming tick. */
    bool has_fix;
    uint8_t num_frames, num_refused;
    uint32_t took_us;
    uint32_t tick, num_in;
    uint8_t in[HIL_MOST_IN], out[HIL_MOST_OUT];
};

/* Begin: nothing has been said yet. */
void hil_start(struct hil *hil, const struct hil_board *board);

/* Take in bytes as they come; whatever they are, nothing breaks. */
void hil_take(struct hil *hil, const uint8_t *bytes, uint32_t size);

#ifdef __cplusplus
}
#endif

#endif
