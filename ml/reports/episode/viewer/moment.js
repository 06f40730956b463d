/**
 * What an episode says of a moment: values between ticks, and sentences.
 */
import { Refusal } from "./format.js";

/** @typedef {import("./format.js").Drive} Drive */
/** @typedef {import("./format.js").Frame} Frame */

export const NOBODY = 0;
export const NEED = 1;
export const SILENCE = 2;
export const FLOOR = 3;

/**
 * The tick whose row holds at a time.
 * @param {Drive} drive
 * @param {number} t
 */
export function tickAt(drive, t) {
  const tick = Math.floor((t - drive.startS) / drive.tickS + 1e-6);
  return Math.min(Math.max(tick, 0), drive.ticks - 1);
}

/**
 * A value of a column.
 * @param {Float64Array | undefined} column
 * @param {number} tick
 * @returns {number}
 */
export function value(column, tick) {
  const found = column?.[tick];
  if (found === undefined) throw new Refusal(`The episode has no tick ${tick}.`);
  return found;
}

/**
 * What moves evenly between two ticks.
 * @param {Drive} drive
 * @param {Float64Array | undefined} column
 * @param {number} t
 */
export function between(drive, column, t) {
  const tick = tickAt(drive, t);
  const from = value(column, tick);
  if (tick + 1 >= drive.ticks) return from;
  const to = value(column, tick + 1);
  if (!Number.isFinite(to)) return from;
  const share = Math.min(Math.max((t - drive.startS) / drive.tickS - tick, 0), 1);
  return from + share * (to - from);
}

/**
 * The last frame that is sent by a time, found by halving; −1 for none.
 * @param {Drive} drive
 * @param {number} t
 */
export function lastSent(drive, t) {
  let low = 0;
  let high = drive.frames.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (/** @type {Frame} */ (drive.frames[middle]).sentS <= t) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * The newest own frames of a peer by a time, the newest last, each with the relayed copy that told the ego instead.
 * @param {Drive} drive
 * @param {number} slot
 * @param {number} t
 * @param {number} most
 * @returns {{frame: Frame, relayed: Frame | null}[]}
 */
export function lastPackets(drive, slot, t, most) {
  const found = [];
  /** @type {Map<number, Frame>} */
  const relayed = new Map();
  for (let i = lastSent(drive, t); i >= 0 && found.length < most; i--) {
    const frame = /** @type {Frame} */ (drive.frames[i]);
    if (frame.source !== slot) continue;
    if (frame.hops === 0) found.unshift({ frame, relayed: relayed.get(frame.number) ?? null });
    else if (isReceived(frame) && frame.arrivalS <= t) relayed.set(frame.number, frame);
  }
  return found;
}

/** @param {Frame} frame */
export function isReceived(frame) {
  return frame.fate === 1 || frame.fate === 2;
}

/**
 * How often the message that is held of a peer was relayed; NaN where that is not recorded.
 * @param {Drive} drive
 * @param {number} slot
 * @param {number} tick
 */
export function hopsHeld(drive, slot, tick) {
  const held = value(drive.ofPeers.number[slot - 1], tick);
  const t = drive.startS + tick * drive.tickS;
  for (let i = lastSent(drive, t); i >= 0; i--) {
    const frame = /** @type {Frame} */ (drive.frames[i]);
    if (frame.source === slot && frame.number === held && frame.fate === 1 && frame.arrivalS <= t + 1e-6) return frame.hops;
    if (frame.source === slot && frame.hops === 0 && frame.number < held) break;
  }
  return NaN;
}

/**
 * The lowest and the highest acceleration that the safety layer lets pass.
 * @param {Drive} drive
 * @param {number} tick
 * @returns {[number, number]}
 */
export function allowed(drive, tick) {
  const { floor_mps2: floor, soft_mps2: soft, hard_mps2: hard } = drive.ofEgo;
  const high = Math.min(value(soft, tick), value(hard, tick));
  return [Math.min(value(floor, tick), high), high];
}

/**
 * The colour that a car has everywhere.
 * @param {Drive} drive
 * @param {number} slot
 * @returns {"ego" | "front" | "brake" | "other"}
 */
export function roleOf(drive, slot) {
  if (slot === 0) return "ego";
  if (slot === 1) return "front";
  return slot === drive.brakeSlot ? "brake" : "other";
}

/**
 * A number as it is read: a true minus, and a dash for what is not known.
 * @param {number} x
 * @param {number} [digits]
 */
export function say(x, digits = 1) {
  if (!Number.isFinite(x)) return "–";
  const text = x.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

/**
 * Who decides in a tick, as a name and a reason.
 * @param {Drive} drive
 * @param {number} tick
 * @returns {{who: string, why: string, slot: number}}
 */
export function decision(drive, tick) {
  const ego = drive.ofEgo;
  const slot = value(ego.deciding_slot, tick);
  const need = slot > 0 ? value(drive.ofPeers.needed_mps2[slot - 1], tick) : 0;
  const car = `Car ${slot}`;
  const wish = value(ego.wish_mps2, tick);
  const [low, high] = allowed(drive, tick);
  const wished = `wished ${say(wish)}`;
  switch (value(ego.holder, tick)) {
    case NEED:
      return slot === 0
        ? { who: "The safety layer", why: `${wished}, held to ${say(high)} m/s² while an earlier braking is let go`, slot }
        : { who: car, why: `its message demands braking at ${say(need)} m/s²; ${wished}, held to ${say(high)}`, slot };
    case SILENCE:
      return slot === 0
        ? { who: "Silence", why: `nobody has been heard; ${wished}, held to ${say(high)} m/s²`, slot }
        : {
            who: `${car}'s silence`,
            why: `its message is ${say(value(drive.ofPeers.age_s[slot - 1], tick), 2)} s old; ${wished}, held to ${say(high)} m/s²`,
            slot,
          };
    case FLOOR:
      return { who: "The floor", why: `nothing demands more; ${wished}, held to ${say(low)} m/s²`, slot };
    default: {
      const command = value(ego.command_mps2, tick);
      if (!Number.isFinite(wish) && Number.isFinite(command)) {
        return { who: "The vehicle", why: `no answer of the board came in time; its safe state is ${say(command)} m/s²`, slot };
      }
      if (!Number.isFinite(wish)) return { who: "Nobody", why: "no wish is recorded: SUMO drives, or the episode ends here", slot };
      const demand = need > 0.05 ? `; hardest demand: car ${slot}, ${say(need)}` : "";
      const layer = drive.safetyLayer ? "" : " (no safety layer)";
      return { who: "The driver", why: `${say(wish)} m/s² as wished${layer}${demand}`, slot: demand ? slot : 0 };
    }
  }
}

/**
 * All of a moment in sentences, for who does not see the picture.
 * @param {Drive} drive
 * @param {number} t
 */
export function tell(drive, t) {
  const tick = tickAt(drive, t);
  const lead = value(drive.ofEgo.lead_slot, tick);
  const gap = value(drive.ofEgo.gap_m, tick);
  const parts = [`gap ${say(gap)} m`];
  const { believed_gap_m: believed, position_sd_m: sd, age_s: age } = drive.ofPeers;
  if (lead > 0 && Number.isFinite(value(believed[lead - 1], tick))) {
    parts.push(
      `believed ${say(value(believed[lead - 1], tick))} ± ${say(2 * value(sd[lead - 1], tick))} m from a message ` +
        `${say(value(age[lead - 1], tick), 2)} s old`,
    );
  } else {
    parts.push("the car in front is not heard");
  }
  const ttc = value(drive.ofEgo.ttc_s, tick);
  parts.push(ttc >= 60 ? "not closing" : `time to collision ${say(ttc)} s`);
  parts.push(`speed ${say(value(drive.ofCars.speed_mps[0], tick))} m/s`);
  const { who, why } = decision(drive, tick);
  return `${parts.join(", ")}. ${who} decides: ${why}.`;
}
