/* A board on this machine: bytes in at standard input, out at standard output. Ends with either. */

#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "hil.h"

static void write_bytes(void *context, const uint8_t *bytes, uint32_t size)
{
    (void)context;
    (void)fwrite(bytes, 1, size, stdout);
}

static uint32_t clock_us(void *context)
{
    struct timespec now;
    (void)context;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
}

int main(void)
{
    static struct hil hil;
    static const struct hil_board board = {"host", write_bytes, clock_us, 0};
    static uint8_t bytes[4096];
    ssize_t size;
    hil_start(&hil, &board);
    while (!hil.has_ended && (size = read(0, bytes, sizeof bytes)) > 0) {
        hil_take(&hil, bytes, (uint32_t)size);
        if (fflush(stdout) != 0) {
            return 1;
        }
    }
    return 0;
}
