/* A board on a bare core under QEMU, at its serial port. Its time is that of one instruction a
 * cycle at 160 MHz, which `-icount shift=0` makes exact; code in flash takes up to twice as long.
 * It sleeps until bytes come, so that it takes no time of whoever drives the traffic. */

#include "bare.h"
#include "hil.h"

#define CYCLES_A_US 160u
#define UART_INTERRUPTS (UART + 1)
#define UART_LINE 10u
#define PLIC_PRIORITY ((volatile uint32_t *)0x0c000000)
#define PLIC_ENABLED ((volatile uint32_t *)0x0c002000)
#define PLIC_CLAIM ((volatile uint32_t *)0x0c200004)

static void write_bytes(void *context, const uint8_t *bytes, uint32_t size)
{
    (void)context;
    for (uint32_t k = 0; k < size; k++) {
        put((char)bytes[k]);
    }
}

static uint32_t clock_us(void *context)
{
    (void)context;
    return instructions() / CYCLES_A_US;
}

/* Interrupts wake the core, and are never taken. */
static void wake_for_bytes(void)
{
    PLIC_PRIORITY[UART_LINE] = 1;
    *PLIC_ENABLED = 1u << UART_LINE;
    *UART_INTERRUPTS = 1;
    __asm__ volatile(".insn i 0x73, 2, x0, %0, 0x304" : : "r"(1u << 11)); /* csrs mie */
}

int main(void)
{
    static struct hil hil;
    static const struct hil_board board = {"qemu", write_bytes, clock_us, 0};
    hil_start(&hil, &board);
    wake_for_bytes();
    while (!hil.has_ended) {
        while ((*UART_STATUS & 1) != 0) {
            uint8_t byte = *UART;
            hil_take(&hil, &byte, 1);
        }
        uint32_t line = *PLIC_CLAIM;
        *PLIC_CLAIM = line;
        if (!hil.has_ended && (*UART_STATUS & 1) == 0) {
            __asm__ volatile("wfi");
        }
    }
    *POWER = 0x5555;
    for (;;) {
    }
}
