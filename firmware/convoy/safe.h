/* When a node may command, and what it commands when it may not. C99, no allocation.
 *
 *     WAITING   The driver drives. Since the start something has been missing that a command needs.
 *     DRIVING   The brain commands.
 *     SAFE      Something that a command needs was lost. The node brakes gently until the car stands,
 *               or harder where the brain asks for it; it drives again after a second without a fault.
 *
 * A board that starts anew after a fault of its own, amid a drive, begins in SAFE. */

#ifndef CONVOY_SAFE_H
#define CONVOY_SAFE_H

#include <stdbool.h>
#include <stdint.h>

#include "brain.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SAFE_MPS2 (-1.5f)        /* As hard as the brain itself brakes for silence alone. */
#define SAFE_SILENT_MS 2000u     /* The longest burst of losses of a healthy convoy was 1.5 s. */
#define SAFE_FIX_MS 5000u        /* Two fixes of a receiver that sends one a second may be lost. */
#define SAFE_IMU_MS 500u
#define SAFE_GUARD_MS 250u       /* After so long without a command the guard takes the word. */
#define SAFE_CLEAR_MS 1000u      /* So long without a fault before the brain commands again. */
#define SAFE_NEVER UINT32_MAX    /* An age of what never came. */

enum safe_state { SAFE_WAITING, SAFE_DRIVING, SAFE_SAFE };

/* What is amiss; they add up. */
enum safe_cause {
    SAFE_OVERRUN = 1,   /* The brain's tick took longer than a tick, or did not come at all. */
    SAFE_SILENCE = 2,   /* No message of anybody was heard lately. */
    SAFE_NO_FIX = 4,    /* The newest fix is old, or there was none yet with a heading. */
    SAFE_NO_IMU = 8,    /* The accelerometer does not answer. */
    SAFE_RESTARTED = 16, /* The board began anew after a fault of its own. */
    SAFE_REVERSED = 32  /* The accelerometer points backwards. */
};

struct safe {
    enum safe_state state;
    uint32_t causes;        /* Of this tick. */
    uint32_t fault_ms;      /* When there was a cause last. */
    bool has_restarted;     /* And has not driven since. */
};

/* What a tick knows of what a command needs; ages in ms. */
struct safe_facts {
    bool has_overrun;       /* The last tick did. */
    uint32_t message_ms;    /* Since a message was heard. */
    uint32_t fix_ms;        /* Since the moment of the newest fix. */
    uint32_t imu_ms;        /* Since the accelerometer answered. */
    bool is_reversed;       /* See axis.h. */
};

/* Begin; `after_fault` where the watchdog or a crash has started the board anew. */
void safe_begin(struct safe *safe, bool after_fault, uint32_t now_ms);

/* Judge a tick. */
void safe_judge(struct safe *safe, const struct safe_facts *facts, uint32_t now_ms);

/* What the vehicle is to do, of what the brain commands: that; nothing while waiting; and in SAFE no
 * less braking than SAFE_MPS2. `has_brain`: the brain has decided this tick. */
struct brain_command safe_command(
    const struct safe *safe, bool has_brain, const struct brain_command *of_brain);

#ifdef __cplusplus
}
#endif

#endif
