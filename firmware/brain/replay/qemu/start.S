/* Begins on `qemu-system-riscv32 -M virt -bios none`: FPU on where there is one, .bss cleared, the
 * stack painted so that its deepest use can be read. EPISODES is a file to be replayed, if any. */

    .section .text.start
    .globl _start
_start:
#ifdef __riscv_flen
    li t0, 0x2000
    csrs mstatus, t0
#endif
    la sp, stack_top
    la t0, bss_begin
    la t1, bss_end
1:  bgeu t0, t1, 2f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 1b
2:  la t0, bss_end
    li t1, 0x5a5a5a5a
3:  bgeu t0, sp, 4f
    sw t1, 0(t0)
    addi t0, t0, 4
    j 3b
4:  call main
5:  j 5b

#ifdef EPISODES
    .section .rodata
    .globl episodes, episodes_end
    .balign 4
episodes:
    .incbin EPISODES
episodes_end:
#endif
