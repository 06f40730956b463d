/* Frames by the million, sound ones with bytes changed and plain rubbish, between ticks whose own
 * sensors lie as well: run with the sanitizers, it must end without a word. `fuzz FRAMES SEED`. */

#include <stdio.h>
#include <stdlib.h>

#include "brain.h"

static uint32_t state;

static uint32_t draw(void) /* xorshift */
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static float any_float(float usual)
{
    union { uint32_t bits; float value; } both;
    both.bits = draw();
    return draw() % 8 == 0 ? both.value : usual * (float)(draw() % 1000) * 1e-3f;
}

static void make(uint8_t frame[BRAIN_FRAME_BYTES], const uint8_t *own)
{
    for (int k = 0; k < BRAIN_FRAME_BYTES; k++) {
        frame[k] = own[k];
    }
    frame[84] = 0x02;
    frame[89] = (uint8_t)(draw() % 24); /* More sources than there are places. */
    frame[83] = (uint8_t)(draw() % 4);
    frame[9] = (uint8_t)draw();
    frame[10] = (uint8_t)draw();
    uint32_t changes = draw() % 4;
    for (uint32_t k = 0; k < changes; k++) {
        frame[draw() % BRAIN_FRAME_BYTES] = (uint8_t)draw();
    }
    if (draw() % 64 == 0) {
        for (int k = 0; k < BRAIN_FRAME_BYTES; k++) {
            frame[k] = (uint8_t)draw();
        }
    }
}

int main(int count, char **arguments)
{
    static struct brain brain;
    static struct brain_settings settings = {
        "v0", {2, 0, 0, 0, 1, 0}, {328000000, 350000000}, BRAIN_TIME_GAP_S};
    uint8_t frame[BRAIN_FRAME_BYTES], own[BRAIN_FRAME_BYTES] = {0};
    long frames = count > 1 ? atol(arguments[1]) : 1000000, taken = 0, wild = 0;
    state = count > 2 ? (uint32_t)atol(arguments[2]) | 1u : 1u;
    uint32_t now_ms = draw();
    if (!brain_init(&brain, &settings, now_ms)) {
        return 1;
    }
    for (long k = 0; k < frames; k++) {
        make(frame, own);
        uint32_t received_ms = now_ms - (draw() % 16 == 0 ? draw() : draw() % 100);
        taken += brain_receive(&brain, frame, received_ms);
        if (draw() % 8 != 0) {
            continue;
        }
        now_ms += draw() % 1024 == 0 ? draw() / 2 : draw() % 200;
        struct brain_fix fix = {
            {328000000 + (int32_t)(draw() % 20000), 350000000 + (int32_t)(draw() % 20000)},
            any_float(40.0f), any_float(359.0f), draw() % 4 != 0, draw() % 400};
        if (draw() % 16 == 0) {
            fix.place_e7[draw() % 2] = (int32_t)(draw() >> 1);
            fix.age_ms = draw();
        }
        struct brain_sample sample = {
            any_float(5.0f), any_float(10.0f), any_float(40.0f), any_float(60.0f)};
        (void)brain_sense(&brain, now_ms, draw() % 4 == 0 ? &fix : 0, &sample);
        struct brain_command command = brain_step(&brain, now_ms);
        wild += !(command.accel_mps2 >= -8.0f && command.accel_mps2 <= 2.6f);
        (void)brain_beacon(&brain, own);
        while (brain_relay(&brain, frame)) {
        }
        if (draw() % 4096 == 0 && !brain_init(&brain, &settings, now_ms)) {
            return 1;
        }
    }
    printf("%ld frames, %ld taken, %ld commands that no vehicle can do\n", frames, taken, wild);
    return wild != 0;
}
