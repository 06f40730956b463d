/* Replays episodes on a bare core and prints of each tick, in hexadecimal: its digest, the bits of
 * its command, the rows of its observation and the instructions that it took. Then the deepest use
 * of the stack by the brain and its replay, in bytes. `-icount shift=0` makes the counts exact. */

#include "bare.h"
#include "replay.h"

#define PAINTED 0x5a5a5a5au

extern const uint8_t episodes[], episodes_end[];
extern uint32_t bss_end[], stack_top[];

static void put_word(uint32_t word, char end)
{
    for (int shift = 28; shift >= 0; shift -= 4) {
        put("0123456789abcdef"[(word >> shift) & 15]);
    }
    put(end);
}

static uint32_t stack_bytes(void)
{
    const uint32_t *deepest = bss_end;
    while (deepest < stack_top && *deepest == PAINTED) {
        deepest++;
    }
    return (uint32_t)((const uint8_t *)stack_top - (const uint8_t *)deepest);
}

int main(void)
{
    static struct brain brain;
    static struct replay_tick tick;
    uint32_t size = (uint32_t)(episodes_end - episodes), at = 0;
    for (;;) {
        uint32_t before = instructions();
        if (!replay_next(&brain, episodes, size, &at, &tick)) {
            break;
        }
        uint32_t took = instructions() - before;
        union { float value; uint32_t bits; } command = {tick.command.accel_mps2};
        put_word(tick.digest, ' ');
        put_word(command.bits, ' ');
        put_word((uint32_t)tick.num_rows, ' ');
        put_word(took, '\n');
    }
    put_word(stack_bytes(), '\n');
    *POWER = at == size ? 0x5555u : 0x13333u;
    for (;;) {
    }
}
