/* What a bare `qemu-system-riscv32 -M virt` gives a program, and what the compiler calls that no
 * library brings. Included once by a program that starts with start.S. */

#ifndef BARE_H
#define BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART ((volatile uint8_t *)0x10000000)
#define UART_STATUS (UART + 5)
#define POWER ((volatile uint32_t *)0x100000)

/* What the compiler calls for copies; it must not see calls of themselves in their loops. */
#define PLAIN __attribute__((optimize("no-tree-loop-distribute-patterns")))

PLAIN void *memset(void *to, int value, size_t size)
{
    uint8_t *bytes = to;
    for (size_t k = 0; k < size; k++) {
        bytes[k] = (uint8_t)value;
    }
    return to;
}

PLAIN void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *bytes = to;
    const uint8_t *others = from;
    bool is_behind = bytes > others;
    for (size_t k = 0; k < size; k++) {
        size_t at = is_behind ? size - 1 - k : k;
        bytes[at] = others[at];
    }
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    return memmove(to, from, size);
}

static uint32_t instructions(void)
{
    uint32_t count;
    __asm__ volatile(".insn i 0x73, 2, %0, x0, -1278" : "=r"(count)); /* csrr minstret */
    return count;
}

static void put(char letter)
{
    while ((*UART_STATUS & 0x20) == 0) {
    }
    *UART = (uint8_t)letter;
}

#endif
