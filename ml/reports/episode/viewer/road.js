/**
 * The road: above it the packets, on it the cars where they are, below where the driver believes them.
 */
import { between, decision, isReceived, lastSent, roleOf, say, tickAt, value } from "./moment.js";
import { ink, prepare, roundMarks, write } from "./paint.js";

/** @typedef {import("./format.js").Drive} Drive */
/** @typedef {import("./format.js").Frame} Frame */
/** @typedef {import("./paint.js").Palette} Palette */

const SHOWN_S = 0.12;
const RELAYED_SHOWN_S = 0.3;
const AIR = 74;
const LANE = 30;
const SPACE = 30;
const BELOW = 40;
const BEHIND_M = 14;
const NEAR_M = 70;
const LEAST_M = 40;
const AROUND_S = 3;
const OLD_S = 3;
const SIDE = 8;

/**
 * How far ahead the road is drawn, tick by tick, m: to the farthest car, and the scale changes slowly.
 * @param {Drive} drive
 */
function reachOf(drive) {
  const around = Math.round(AROUND_S / drive.tickS);
  const ego = drive.ofCars.route_pos_m[0];
  const farthest = Float64Array.from({ length: drive.ticks }, (_, tick) =>
    drive.ofCars.route_pos_m.reduce((most, column) => Math.max(most, value(column, tick) - value(ego, tick)), LEAST_M),
  );
  /** @param {Float64Array} column @param {(part: Float64Array) => number} of */
  const near = (column, of) => column.map((_, tick) => of(column.subarray(Math.max(tick - around, 0), tick + around + 1)));
  const most = near(farthest, (part) => Math.max(...part));
  return near(most, (part) => part.reduce((sum, x) => sum + x, 0) / part.length);
}

/** @type {WeakMap<Drive, Float64Array>} */
const reach = new WeakMap();

/**
 * Draw a moment.
 * @param {HTMLCanvasElement} canvas
 * @param {Drive} drive
 * @param {number} t
 * @param {Palette} colours
 * @param {{near: boolean}} view
 */
export function drawRoad(canvas, drive, t, colours, { near }) {
  const lanes = drive.cutIn ? 2 : 1;
  const height = AIR + lanes * LANE + SPACE + LANE + BELOW;
  const { pen, width } = prepare(canvas, height);
  if (!reach.has(drive)) reach.set(drive, reachOf(drive));
  const far = near ? NEAR_M : between(drive, reach.get(drive), t) * 1.02;
  const scale = (width - 2 * SIDE) / (far + BEHIND_M);
  /** @param {number} m */
  const x = (m) => SIDE + (m + BEHIND_M) * scale;
  const tick = tickAt(drive, t);
  const egoAt = between(drive, drive.ofCars.route_pos_m[0], t);
  const { slot: deciding } = decision(drive, tick);
  const trueY = AIR + (lanes - 1) * LANE + LANE / 2;
  const knownY = AIR + lanes * LANE + SPACE + LANE / 2;
  const carHigh = 14;
  const carLong = Math.max(drive.carLengthM * scale, 9);

  pen.fillStyle = ink(colours, "asphalt");
  pen.fillRect(0, AIR, width, lanes * LANE);
  if (lanes > 1) {
    pen.strokeStyle = ink(colours, "lane");
    pen.setLineDash([10, 8]);
    line(pen, 0, AIR + LANE, width, AIR + LANE);
    pen.setLineDash([]);
  }
  pen.strokeStyle = ink(colours, "rule");
  pen.lineWidth = 1;
  pen.strokeRect(0.5, knownY - LANE / 2 + 0.5, width - 1, LANE - 1);
  write(pen, "true", 4, AIR - 7, { colour: ink(colours, "soft"), size: 11 });
  write(pen, "believed", 4, knownY - LANE / 2 - 7, { colour: ink(colours, "soft"), size: 11 });
  for (const mark of roundMarks(0, far, width / 90)) {
    if (x(mark) > width - 70) continue;
    write(pen, `${mark}`, x(mark), height - 7, { colour: ink(colours, "soft"), size: 11, align: "center" });
    pen.strokeStyle = ink(colours, "rule");
    line(pen, x(mark), height - 17, x(mark), height - 13);
  }
  write(pen, "m ahead", width - 4, height - 7, { colour: ink(colours, "soft"), size: 11, align: "right" });

  /** @type {number[]} Fronts of the cars, m ahead of the ego's. */
  const fronts = drive.ofCars.route_pos_m.map((column) => between(drive, column, t) - egoAt);
  const aside = drive.ofCars.lateral_m.map((column) => between(drive, column, t));
  const lanesWide = Math.max(...drive.ofCars.lateral_m.map((column) => Math.max(...column)), 1);
  /** @param {number} slot */
  const carY = (slot) => trueY - (LANE * /** @type {number} */ (aside[slot])) / lanesWide;
  /** @param {number} slot */
  const middle = (slot) => x(/** @type {number} */ (fronts[slot])) - carLong / 2;

  drawPackets(pen, drive, t, colours, (slot) => [middle(slot), carY(slot) - carHigh / 2]);

  /** @type {{slot: number, centre: number, age: number}[]} */
  const ages = [];
  // What the driver believes, and how far that is from what is.
  for (let slot = drive.cars - 1; slot > 0; slot--) {
    const gap = between(drive, drive.ofPeers.believed_gap_m[slot - 1], t);
    if (!Number.isFinite(gap)) continue;
    const age = value(drive.ofPeers.age_s[slot - 1], tick);
    const sd = value(drive.ofPeers.position_sd_m[slot - 1], tick);
    const front = x(gap + drive.carLengthM);
    const colour = ink(colours, roleOf(drive, slot));
    const centre = front - carLong / 2;
    pen.globalAlpha = 0.22;
    pen.fillStyle = colour;
    pen.fillRect(centre - 2 * sd * scale, knownY - 5, 4 * sd * scale, 10);
    pen.globalAlpha = Math.max(1 - age / OLD_S, 0.35);
    pen.strokeStyle = colour;
    pen.lineWidth = 1;
    line(pen, middle(slot), carY(slot) + carHigh / 2 + 1, centre, knownY - carHigh / 2 - 1);
    pen.lineWidth = 2;
    pen.fillStyle = ink(colours, "ground");
    pen.setLineDash(age < 0.5 ? [] : [3, 2]);
    box(pen, front - carLong, knownY - carHigh / 2, carLong, carHigh);
    pen.globalAlpha = 1;
    pen.setLineDash([]);
    ages.push({ slot, centre, age });
    if (slot === deciding) mark(pen, centre, knownY, carLong, ink(colours, "decides"));
  }
  pen.fillStyle = pen.strokeStyle = ink(colours, "ego");
  box(pen, x(0) - carLong, knownY - carHigh / 2, carLong, carHigh);

  // What is.
  const own = value(drive.ofEgo.own_error_m, tick);
  pen.setLineDash([2, 2]);
  pen.lineWidth = 1.5;
  pen.strokeRect(x(own) - carLong, trueY - carHigh / 2 - 3, carLong, carHigh + 6);
  pen.setLineDash([]);
  for (let slot = drive.cars - 1; slot >= 0; slot--) {
    const y = carY(slot);
    const left = x(/** @type {number} */ (fronts[slot])) - carLong;
    pen.fillStyle = pen.strokeStyle = ink(colours, roleOf(drive, slot));
    pen.lineWidth = 1;
    box(pen, left, y - carHigh / 2, carLong, carHigh);
    const accel = accelOf(drive, slot, tick);
    if (accel < -0.6) {
      pen.fillStyle = ink(colours, "ink");
      const lit = Math.min(-accel / 8, 1) * 4 + 2;
      pen.fillRect(left - lit, y - carHigh / 2, lit, carHigh);
    }
    const label = slot === 0 ? "ego" : `${slot}`;
    if (carLong > 22 || slot > 0) {
      write(pen, label, left + carLong / 2, y + 0.5, { colour: ink(colours, "ground"), size: carLong > 22 ? 11 : 9, align: "center", bold: true });
    }
    if (slot === deciding && slot > 0) mark(pen, left + carLong / 2, y, carLong, ink(colours, "decides"));
  }
  const labelY = knownY + LANE / 2 + 8;
  const speed = `${say(between(drive, drive.ofCars.speed_mps[0], t), 0)} m/s`;
  write(pen, speed, 2, labelY, { colour: ink(colours, "ego"), size: 11, bold: true });
  // Ages where there is room for them, that of the deciding car before the others.
  const taken = [[0, 44]];
  ages.sort((a, b) => Number(b.slot === deciding) - Number(a.slot === deciding) || a.slot - b.slot);
  for (const { centre, age: old } of ages) {
    const text = `${say(old, old < 10 ? 1 : 0)} s`;
    const half = text.length * 3.4;
    if (taken.some(([from, to]) => centre + half > Number(from) && centre - half < Number(to))) continue;
    taken.push([centre - half, centre + half]);
    write(pen, text, centre, labelY, { colour: ink(colours, old >= 1 ? "lost" : "soft"), size: 11, align: "center", bold: old >= 1 });
  }
  const crash = drive.events.crash;
  if (crash !== null && t >= crash - 1e-6) {
    write(pen, `crash at ${say(crash)} s`, width - 4, knownY - LANE / 2 - 8, { colour: ink(colours, "lost"), bold: true, align: "right" });
  }
  canvas.setAttribute("aria-label", `the road at ${say(t)} s: cars where they are, and where the driver believes them`);
}

/**
 * The packets of a moment: the last of each peer, and the relayed ones that told the ego.
 * @param {CanvasRenderingContext2D} pen
 * @param {Drive} drive
 * @param {number} t
 * @param {Palette} colours
 * @param {(slot: number) => [number, number]} roofOf Where on the canvas the middle of a car's roof is.
 */
function drawPackets(pen, drive, t, colours, roofOf) {
  const seen = new Set();
  for (let i = lastSent(drive, t); i >= 0; i--) {
    const frame = /** @type {Frame} */ (drive.frames[i]);
    const since = t - frame.sentS;
    if (since > RELAYED_SHOWN_S) break;
    const fresh = frame.hops > 0 ? 1 - since / RELAYED_SHOWN_S : 1 - since / SHOWN_S;
    if (frame.hops > 0) {
      pen.globalAlpha = 0.3 + 0.7 * fresh;
      const told = isReceived(frame);
      const to = told ? 0 : firstReceiver(frame);
      hop(pen, roofOf(frame.sender), roofOf(to), flown(frame, t), ink(colours, "relayed"), false);
      continue;
    }
    if (seen.has(frame.source) || since > SHOWN_S) continue;
    seen.add(frame.source);
    pen.globalAlpha = 0.3 + 0.7 * fresh;
    const lost = !isReceived(frame);
    hop(pen, roofOf(frame.source), roofOf(0), flown(frame, t), ink(colours, lost ? "lost" : "received"), lost);
  }
  pen.globalAlpha = 1;
}

/** @param {Frame} frame @param {number} t */
function flown(frame, t) {
  return frame.arrivalS > frame.sentS ? Math.min((t - frame.sentS) / (frame.arrivalS - frame.sentS), 1) : 1;
}

/** @param {Frame} frame */
function firstReceiver(frame) {
  let slot = 1;
  while (slot < 31 && !((frame.receivers >> slot) & 1)) slot++;
  return slot;
}

/**
 * A packet's way from car to car; one that is lost ends half-way, with a cross.
 * @param {CanvasRenderingContext2D} pen
 * @param {[number, number]} from
 * @param {[number, number]} to
 * @param {number} share Of its way that it has flown.
 * @param {string} colour
 * @param {boolean} lost
 */
function hop(pen, [x0, y0], [x1, y1], share, colour, lost) {
  const high = Math.min(14 + 0.16 * Math.abs(x1 - x0), AIR - 10);
  const top = Math.min(y0, y1) - 2 * high;
  const end = lost ? Math.min(share, 0.5) : share;
  /** @param {number} s @returns {[number, number]} */
  const at = (s) => [
    (1 - s) * (1 - s) * x0 + 2 * s * (1 - s) * ((x0 + x1) / 2) + s * s * x1,
    Math.max((1 - s) * (1 - s) * y0 + 2 * s * (1 - s) * top + s * s * y1, 6),
  ];
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 1.6;
  pen.setLineDash(lost ? [4, 4] : []);
  pen.beginPath();
  for (let s = 0; s <= end + 1e-9; s += 0.04) pen.lineTo(...at(Math.min(s, end)));
  pen.stroke();
  pen.setLineDash([]);
  const [x, y] = at(end);
  if (lost && end >= 0.5) {
    pen.lineWidth = 2.2;
    line(pen, x - 4, y - 4, x + 4, y + 4);
    line(pen, x - 4, y + 4, x + 4, y - 4);
  } else {
    pen.beginPath();
    pen.arc(x, y, share < 1 ? 4 : 2.5, 0, 2 * Math.PI);
    pen.fill();
  }
}

/**
 * What a car did over the tick, m/s².
 * @param {Drive} drive
 * @param {number} slot
 * @param {number} tick
 */
export function accelOf(drive, slot, tick) {
  if (slot === 0) return value(drive.ofEgo.accel_mps2, tick);
  if (tick === 0) return 0;
  const column = drive.ofCars.speed_mps[slot];
  return (value(column, tick) - value(column, tick - 1)) / drive.tickS;
}

/** @param {CanvasRenderingContext2D} pen @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 */
function line(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} w @param {number} h */
function box(pen, x, y, w, h) {
  pen.beginPath();
  pen.roundRect(x, y, w, h, Math.min(4, w / 3));
  pen.fill();
  pen.stroke();
}

/** @param {CanvasRenderingContext2D} pen @param {number} x @param {number} y @param {number} long @param {string} colour */
function mark(pen, x, y, long, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 3;
  pen.beginPath();
  pen.roundRect(x - long / 2 - 4, y - 11.5, long + 8, 23, 6);
  pen.stroke();
}
