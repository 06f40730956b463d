// RoadSense convoy: a whole node of a convoy. It hears the other cars over ESP-NOW, knows its own place by GPS
// and IMU, lets the exported brain decide ten times a second what its car shall do, says so over serial and
// by LEDs, and sends its own beacon and what it relays in its own slot.
// README.md beside this file leads through wiring, flashing, and what the lines and LEDs mean.
//
// Board package: esp32 by Espressif 3.x (Arduino). `roadsense export MODEL --out DIR` writes this sketch with
// all that it needs to DIR/convoy: open that. Here it needs a brain beside it, and firmware/node.
#include <Arduino.h>
#include <esp_system.h>
#include <esp_task_wdt.h>
#include <esp_timer.h>

#include "settings.h"

#include "axis.h"
#include "brain.h"
#include "hil.h"
#include "node.h"
#include "report.h"
#include "safe.h"

static const int64_t NEVER_US = INT64_MIN;
static const uint32_t WATCHDOG_MS = 1000;
static const uint64_t GUARD_US = 50000;
static const float STANDS_MPS = 0.3f;
static const uint32_t STANDS_FIX_MS = 1500;

static struct brain brain;
static struct brain_settings settings = {VEHICLE_ID, {0}, {0, 0}, TIME_GAP_S};
static struct imu imu;
static struct tick tick;
static struct safe safe;
static struct axis_check axis_check;
static struct report_counts counts;
static bool has_begun;                        // the brain has: a fix with a heading came
static struct located newest = {NEVER_US, {}};  // fix; at_us is its moment, the receiver's delay taken off
static int64_t heard_us = NEVER_US;           // when a message was heard,
static int64_t imu_us = NEVER_US;             // and when the accelerometer answered
static bool has_overrun;
static volatile uint32_t commanded_ms;        // when the vehicle was commanded last
static volatile float commanded_mps2;         // and what
static volatile bool is_guarded;              // the guard has the word until the next command

static struct hil hil;                        // with a brain of its own
static bool is_in_loop;                       // a PC drives the board, until it is switched off

static uint32_t ms_of(int64_t us) { return (uint32_t)(us / 1000); }

static uint32_t age_ms(int64_t since_us, int64_t now_us) {
  if (since_us == NEVER_US || now_us - since_us >= (int64_t)SAFE_NEVER * 1000) return SAFE_NEVER;
  return (uint32_t)((now_us - since_us) / 1000);
}

// ---- What goes out ----

static void show(const struct report_levels &levels) {
  analogWrite(BRAKE_PIN, levels.brake);
  analogWrite(ACCEL_PIN, levels.accel);
  analogWrite(STATE_PIN, levels.state);
}

// The vehicle does this until the next call. An actuator goes here; it is called from two tasks, so
// that it must be short, and must not wait.
static void command_vehicle(enum safe_state state, const struct brain_command &command, uint32_t now_ms) {
  show(report_levels_of(state, &command, now_ms));
}

// In the timer's task: if the loop has not commanded for too long, the vehicle brakes all the same, and no
// less than before.
static void guard(void *) {
  uint32_t before_ms = commanded_ms, now_ms = ms_of(node_now_us());  // in this order: no age below 0
  if (safe.state == SAFE_WAITING || now_ms - before_ms < SAFE_GUARD_MS) return;
  struct safe by_guard = safe;
  by_guard.state = SAFE_SAFE;
  struct brain_command before = {};
  before.accel_mps2 = commanded_mps2;
  is_guarded = true;
  command_vehicle(SAFE_SAFE, safe_command(&by_guard, true, &before), now_ms);
}

// A whole line or none: a full buffer must not hold up the tick.
static void say(const char *line, size_t length) {
  if (length == 0 || Serial.availableForWrite() < (int)length) {
    counts.unsaid++;
    return;
  }
  Serial.write((const uint8_t *)line, length);
}

static void report(uint32_t now_ms, const struct brain_command &command, uint32_t fix_ms) {
  static char line[REPORT_BYTES];
  say(line, report_command(line, sizeof(line), now_ms, &safe, &command, &brain, fix_ms, &counts));
  for (int row = 0; row < brain.num_rows; row++) {
    say(line, report_peer(line, sizeof(line), now_ms, &brain, row));
  }
}

static void transmit(const uint8_t *frame, uint32_t *count) {
  if (radio_send(frame)) {
    ++*count;
  } else {
    counts.unsent++;
  }
}

// The own slot: the own beacon first, then what others said.
static void send() {
  uint8_t frame[BRAIN_FRAME_BYTES];
  if (brain_beacon(&brain, frame)) transmit(frame, &counts.sent);
  while (brain_relay(&brain, frame)) transmit(frame, &counts.relayed);
}

// ---- What comes in ----

static void hear() {
  struct heard entry;
  while (radio_next(&entry)) {
    if (!has_begun) continue;  // without a place of its own it could not tell where the others are
    if (brain_receive(&brain, entry.frame, ms_of(entry.at_us))) {
      heard_us = entry.at_us;
      counts.heard++;
    } else {
      counts.refused++;
    }
  }
}

static bool stands(int64_t now_us) {
  return newest.fix.speed_mps < STANDS_MPS && age_ms(newest.at_us, now_us) < STANDS_FIX_MS;
}

// Take the newest fix that came since the last tick; false where none did.
static bool take_fix() {
  struct located entry;
  bool is_new = false;
  while (gps_next(&entry)) {
    newest = entry;
    newest.at_us -= (int64_t)GPS_DELAY_MS * 1000;
    axis_fix(&axis_check, newest.at_us, newest.fix.speed_mps);
    is_new = true;
  }
  // A course over ground of a car that hardly moves is noise.
  if (is_new && newest.fix.speed_mps < BRAIN_HEADING_HOLD_MPS) newest.fix.has_heading = false;
  return is_new;
}

// The brain begins where the car first moves: there it has a place and a heading.
static void begin_brain(uint32_t now_ms) {
  settings.reference_e7[0] = newest.fix.place_e7[0];
  settings.reference_e7[1] = newest.fix.place_e7[1];
  has_begun = brain_init(&brain, &settings, now_ms);
}

static void sense(int64_t now_us, uint32_t now_ms) {
  struct imu_mean mean = {};
  if (imu_take(&imu, &mean)) axis_add(&axis_check, mean.forward_mps2);
  bool is_new = take_fix();
  if (!has_begun && is_new && newest.fix.has_heading) begin_brain(now_ms);
  if (!has_begun) return;
  struct brain_fix fix = {};
  if (is_new) {
    memcpy(fix.place_e7, newest.fix.place_e7, sizeof(fix.place_e7));
    fix.speed_mps = newest.fix.speed_mps;
    fix.heading_deg = newest.fix.heading_deg;
    fix.has_heading = newest.fix.has_heading;
    fix.age_ms = age_ms(newest.at_us, now_us);
  }
  struct brain_sample sample = {mean.forward_mps2, mean.turn_deg, -1.0f, -1.0f};
  brain_sense(&brain, now_ms, is_new ? &fix : nullptr, &sample);
}

// ---- The tick ----

static void run_tick() {
  int64_t now_us = node_now_us();
  uint32_t now_ms = ms_of(now_us);
  hear();
  sense(now_us, now_ms);
  struct brain_command of_brain = brain_step(&brain, now_ms);
  uint32_t fix_ms = has_begun ? age_ms(newest.at_us, now_us) : SAFE_NEVER;
  struct safe_facts facts = {
      has_overrun || is_guarded, age_ms(heard_us, now_us), fix_ms, age_ms(imu_us, now_us),
      axis_is_reversed(&axis_check)};
  // What this tick itself took too long for is known now, and not only at the next one.
  facts.has_overrun = facts.has_overrun || node_now_us() - tick.due_us > TICK_US;
  safe_judge(&safe, &facts, now_ms);
  struct brain_command command = safe_command(&safe, has_begun, &of_brain);
  command_vehicle(safe.state, command, now_ms);
  commanded_ms = ms_of(node_now_us());
  commanded_mps2 = command.accel_mps2;
  is_guarded = false;
  if (has_begun) send();
  counts.dropped = radio_dropped();
  counts.missed = tick.missed;
  counts.late_us = tick.late_us;
  report(now_ms, command, fix_ms);
  has_overrun = tick_end(&tick, node_now_us());
  counts.took_us = tick.took_us;  // reported by the next one
}

// ---- In the loop: `roadsense hil` drives the board over the serial port, instead of sensors and radio ----

// The far end says hello; from the answer on, nothing but answers may be written.
static void write_answer(void *, const uint8_t *bytes, uint32_t size) {
  if (!is_in_loop) {
    if (hil.out[1] != HIL_IS_HELLO) return;  // what a terminal sends is not worth an answer
    const uint8_t zero = 0;                  // ends the line before it
    is_in_loop = true;
    Serial.write(&zero, 1);
  }
  Serial.write(bytes, size);
}

static uint32_t clock_us(void *) { return (uint32_t)node_now_us(); }

// Read the serial port. A node that drives a car, or brakes one, is deaf on it.
static bool listen() {
  bool is_heard = false;
  while (Serial.available() > 0) {
    uint8_t byte = (uint8_t)Serial.read();
    if (safe.state != SAFE_WAITING) continue;
    hil_take(&hil, &byte, 1);
    is_heard = true;
  }
  return is_heard;
}

// What the brain commands there moves no vehicle; the LEDs show it, the third one steadily lit.
static void loop_with_pc() {
  if (listen()) {
    struct report_levels levels = report_levels_of(SAFE_DRIVING, &hil.command, 0);
    levels.state = 255;
    show(levels);
  } else {
    delay(1);
  }
  esp_task_wdt_reset();
}

// ---- Begin ----

// Nothing can be driven: say why, for ever.
static void fail(const char *why) {
  for (bool is_lit = true;; is_lit = !is_lit) {
    analogWrite(STATE_PIN, is_lit ? 255 : 0);
    Serial.printf("FAIL,%s\n", why);
    delay(1000);
  }
}

static bool was_fault() {
  esp_reset_reason_t why = esp_reset_reason();
  return why == ESP_RST_PANIC || why == ESP_RST_INT_WDT || why == ESP_RST_TASK_WDT || why == ESP_RST_WDT ||
         why == ESP_RST_BROWNOUT;
}

// A loop that does not come round for a second starts the board anew.
static bool begin_watchdog() {
  esp_task_wdt_config_t config = {};
  config.timeout_ms = WATCHDOG_MS;
  config.trigger_panic = true;
  esp_err_t answer = esp_task_wdt_reconfigure(&config);
  if (answer == ESP_ERR_INVALID_STATE) answer = esp_task_wdt_init(&config);
  return answer == ESP_OK && esp_task_wdt_add(nullptr) == ESP_OK;
}

static bool begin_guard() {
  esp_timer_create_args_t args = {};
  args.callback = guard;
  args.name = "guard";
  esp_timer_handle_t timer;
  return esp_timer_create(&args, &timer) == ESP_OK && esp_timer_start_periodic(timer, GUARD_US) == ESP_OK;
}

static const char *begin_all() {
  struct imu_mounting mounting;
  if (!imu_mounting_of(FORWARD_AXIS, FORWARD_BIAS_MPS2, &mounting)) {
    return "FORWARD_AXIS is x, -x, y, -y, z or -z, and FORWARD_BIAS_MPS2 within 5 of 0";
  }
  imu_begin(&imu, &mounting);
  const char *why = imu_wire_begin(SDA_PIN, SCL_PIN, IMU_ADDRESS);
  if (why == nullptr) why = gps_begin(GPS_RX_PIN, GPS_TX_PIN, GPS_BAUD);
  if (why == nullptr) why = radio_begin(CHANNEL, settings.mac);
  if (why != nullptr) return why;
  if (!brain_init(&brain, &settings, ms_of(node_now_us()))) {
    return "VEHICLE_ID is one to seven visible letters, and TIME_GAP_S between 0 and 5";
  }
  return begin_watchdog() && begin_guard() ? nullptr : "watchdog or timer does not start";
}

void setup() {
  Serial.setRxBufferSize(4096);
  Serial.setTxBufferSize(16384);
  Serial.begin(921600);
  pinMode(BRAKE_PIN, OUTPUT);
  pinMode(ACCEL_PIN, OUTPUT);
  pinMode(STATE_PIN, OUTPUT);
  const char *why = begin_all();
  if (why != nullptr) fail(why);
  say(REPORT_CMD_HEADER, strlen(REPORT_CMD_HEADER));
  say(REPORT_PEER_HEADER, strlen(REPORT_PEER_HEADER));
  int64_t now_us = node_now_us();
  commanded_ms = ms_of(now_us);
  static const struct hil_board board = {"convoy", write_answer, clock_us, nullptr};
  hil_start(&hil, &board);
  safe_begin(&safe, was_fault(), ms_of(now_us));
  tick_begin(&tick, now_us);
}

void loop() {
  if (is_in_loop) return loop_with_pc();
  listen();
  int64_t now_us = node_now_us();
  if (imu_poll(&imu, stands(now_us))) imu_us = now_us;
  if (tick_is_due(&tick, now_us)) {
    run_tick();
    esp_task_wdt_reset();
  } else {
    delay(1);
  }
}
