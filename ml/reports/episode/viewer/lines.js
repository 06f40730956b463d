/**
 * The time lines: gap, what the driver wishes and may, speeds, ages, packets, and who decides.
 */
import { FLOOR, NEED, NOBODY, SILENCE, allowed, isReceived, roleOf, say, tickAt, value } from "./moment.js";
import { ink, prepare, roundMarks, write, writeNamed } from "./paint.js";

/** @typedef {import("./format.js").Drive} Drive */
/** @typedef {import("./format.js").Frame} Frame */
/** @typedef {import("./paint.js").Named} Named */
/** @typedef {import("./paint.js").Palette} Palette */

const LEFT = 40;
const RIGHT = 8;
const TOP = 16;
/** Above all: two lines for the names of events. */
const EVENTS = 24;
const ROW = 11;
const TTC_SHOWN_S = 10;
const AXIS = 26;
const NARROW = 480;

/**
 * @typedef {object} Panel
 * @property {Named[]} title What it shows, and its lines.
 * @property {number} top
 * @property {number} height
 * @property {[number, number]} range Lowest and highest value.
 */

/**
 * The moments that a width shows.
 * @param {Drive} drive
 * @param {number} t
 * @param {boolean} narrow 10 s around now.
 * @returns {[number, number]}
 */
export function windowOf(drive, t, narrow) {
  const long = drive.endS - drive.startS;
  if (!narrow || long <= 10) return [drive.startS, Math.max(drive.endS, drive.startS + drive.tickS)];
  const from = Math.min(Math.max(t - 5, drive.startS), drive.endS - 10);
  return [from, from + 10];
}

/**
 * The moment at a place of the canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {[number, number]} shown
 * @param {number} x In CSS pixels.
 */
export function momentAt(canvas, [from, to], x) {
  const share = (x - LEFT) / Math.max(canvas.clientWidth - LEFT - RIGHT, 1);
  return Math.min(Math.max(from + share * (to - from), from), to);
}

/**
 * Draw all time lines, and the moment.
 * @param {HTMLCanvasElement} canvas
 * @param {Drive} drive
 * @param {number} t
 * @param {Palette} colours
 * @param {boolean} narrow
 */
export function drawLines(canvas, drive, t, colours, narrow) {
  const peers = drive.cars - 1;
  const [from, to] = windowOf(drive, t, narrow);
  const first = tickAt(drive, from);
  const last = tickAt(drive, to);
  const until = drive.events.crash ?? Infinity;
  /** @param {number} tick */
  const timeOf = (tick) => drive.startS + tick * drive.tickS;
  /** @param {Float64Array} column @param {number} least @param {number} [most] */
  const highest = (column, least, most = Infinity) => {
    let found = least;
    for (let i = first; i <= last && timeOf(i) <= until; i++) if (value(column, i) <= most) found = Math.max(found, value(column, i));
    return found * 1.08;
  };
  const watched = [...new Set([1, drive.brakeSlot || 1])].map((slot) => drive.ofPeers.age_s[slot - 1]);
  const oldest = Math.max(...watched.map((column) => highest(column ?? new Float64Array(0), 2)));
  const fastest = Math.max(...drive.ofCars.speed_mps.map((column) => highest(column, 5)));
  const [hardest, strongest] = drive.limits;
  /** @type {Panel[]} */
  const panels = [];
  let top = EVENTS + TOP;
  /** @param {string} title @param {number} height @param {[number, number]} range @param {Named[]} more */
  const add = (title, height, range, ...more) => {
    /** @type {Panel} */
    const panel = { title: [["", "soft", title], ...more], top, height, range };
    panels.push(panel);
    top += height + TOP + 6;
    return panel;
  };
  const { believed, spread } = believedGap(drive);
  const widest = Math.max(highest(drive.ofEgo.gap_m, 5, 1e6), highest(believed, 5));
  const gap = add("gap, m:", 84, [0, widest], ["━", "ink", "true"], ["╌", "believed", "believed ±2σ"]);
  const ttc = add("time to collision, s", 40, [0, TTC_SHOWN_S * 1.12]);
  const accel = add(
    "acceleration, m/s²:", 92, [hardest - 0.6, strongest + 0.6], ["╌", "believed", "wish"], ["━", "ego", "command"],
    ["┈", "ink", "realised"], ["■", "allowed", "allowed"],
  );
  const decides = add(
    "who decides, by car:", 16, [0, 1], ["■", "need", "demand"], ["■", "silence", "silence"], ["■", "believed", "floor"],
  );
  const brakes = drive.brakeSlot > 1;
  /** @type {(front: string, brake: string) => Named[]} */
  const ahead = (front, brake) => {
    /** @type {Named[]} */
    const both = [[front, "front", "car 1"], [brake, "brake", `car ${drive.brakeSlot}`]];
    return both.slice(0, brakes ? 2 : 1);
  };
  /** @type {Named[]} */
  const others = peers > (brakes ? 2 : 1) ? [["─", "other", "others"]] : [];
  const speed = add("speed, m/s:", 60, [0, fastest], ["━", "ego", "ego"], ...ahead("╌", "┈"));
  const age = add("age of newest message, s:", 60, [0, oldest], ...ahead("━", "━"), ...others);
  const packets = add(
    "packets, by car:", ROW * peers + 2, [0.5, peers + 0.5], ["▴", "received", "received"], ["▾", "lost", "lost"], ["◆", "relayed", "relayed"],
  );
  const { pen, width } = prepare(canvas, top + AXIS - TOP);
  const inner = width - LEFT - RIGHT;
  /** @param {number} s */
  const x = (s) => LEFT + ((s - from) / (to - from)) * inner;
  /** @param {Panel} panel @param {number} v */
  const y = (panel, v) => panel.top + panel.height * (1 - (v - panel.range[0]) / (panel.range[1] - panel.range[0]));
  /** @param {Panel} panel */
  const marksOf = (panel) => roundMarks(...panel.range, panel === accel ? 6 : panel.height / 22);

  for (const panel of panels) {
    pen.fillStyle = ink(colours, "card");
    pen.fillRect(LEFT, panel.top, inner, panel.height);
    if (panel === decides || panel === packets) continue;
    for (const mark of marksOf(panel)) {
      pen.strokeStyle = ink(colours, "rule");
      pen.lineWidth = mark === 0 ? 1.5 : 0.7;
      stroke(pen, [[LEFT, y(panel, mark)], [width - RIGHT, y(panel, mark)]]);
    }
  }

  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, inner, top + AXIS);
  pen.clip();
  /**
   * @param {Panel} panel
   * @param {Float64Array | undefined} column
   * @param {string} colour
   * @param {{dash?: number[], wide?: number, most?: number, until?: number}} [look]
   */
  const plot = (panel, column, colour, { dash = [], wide = 1.6, most = Infinity, until: end = Infinity } = {}) => {
    pen.strokeStyle = ink(colours, colour);
    pen.lineWidth = wide;
    pen.setLineDash(dash);
    pen.beginPath();
    let down = false;
    for (let i = Math.max(first - 1, 0); i <= Math.min(last + 1, drive.ticks - 1) && timeOf(i) <= end + 1e-6; i++) {
      const v = value(column, i);
      if (!Number.isFinite(v) || v > most) {
        down = false;
        continue;
      }
      if (down) pen.lineTo(x(timeOf(i)), y(panel, v));
      else pen.moveTo(x(timeOf(i)), y(panel, v));
      down = true;
    }
    pen.stroke();
    pen.setLineDash([]);
  };

  // The gap as the driver believes it: to the car that is in front, with two standard deviations.
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, gap.top, inner, gap.height);
  pen.clip();
  pen.fillStyle = ink(colours, "believed");
  pen.globalAlpha = 0.22;
  pen.beginPath(); // one for all ticks, so that none shows through another
  for (let i = first; i <= last; i++) {
    const [middle, half] = [value(believed, i), value(spread, i)];
    if (!Number.isFinite(middle) || timeOf(i) > until) continue;
    const [left, right] = [x(timeOf(i)), x(timeOf(i + 1)) + 0.5];
    pen.rect(left, y(gap, middle + half), right - left, y(gap, middle - half) - y(gap, middle + half));
  }
  pen.fill();
  pen.globalAlpha = 1;
  plot(gap, believed, "believed", { dash: [5, 3], until });
  plot(gap, drive.ofEgo.gap_m, "ink", { wide: 2, most: 1e6, until });
  pen.restore();
  plot(ttc, drive.ofEgo.ttc_s, "ink", { most: TTC_SHOWN_S, until });

  // What the safety layer lets pass, what was wished, and what became of it.
  pen.fillStyle = ink(colours, "allowed");
  pen.globalAlpha = drive.safetyLayer ? 0.4 : 0.12;
  pen.beginPath();
  for (let i = first; i <= last && timeOf(i) <= until; i++) {
    const [low, high] = allowed(drive, i).map((v) => Math.min(Math.max(v, hardest - 0.5), strongest + 0.5));
    const [left, right] = [x(timeOf(i)), x(timeOf(i + 1)) + 0.5];
    pen.rect(left, y(accel, /** @type {number} */ (high)), right - left,
      Math.max(y(accel, /** @type {number} */ (low)) - y(accel, /** @type {number} */ (high)), 1));
  }
  pen.fill();
  pen.globalAlpha = 1;
  plot(accel, drive.ofEgo.wish_mps2, "believed", { dash: [5, 3], until });
  plot(accel, drive.ofEgo.command_mps2, "ego", { wide: 2, until });
  plot(accel, drive.ofEgo.accel_mps2, "ink", { dash: [1.5, 3], until });

  const names = /** @type {Record<number, string>} */ ({ [NEED]: "need", [SILENCE]: "silence", [FLOOR]: "believed" });
  drawDecisions(pen, drive, [first, last], (tick) => x(timeOf(tick)), decides, until, names, colours);

  const important = [...new Set([drive.brakeSlot, 1, 0])].filter((slot, i) => slot > 0 || i > 0);
  for (const slot of important) {
    const look = slot === 0 ? { wide: 2, until } : { dash: slot === 1 ? [6, 3] : [2, 2] };
    plot(speed, drive.ofCars.speed_mps[slot], roleOf(drive, slot), look);
  }
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, age.top, inner, age.height);
  pen.clip();
  for (let slot = peers; slot > 0; slot--) {
    const main = slot === 1 || slot === drive.brakeSlot;
    plot(age, drive.ofPeers.age_s[slot - 1], roleOf(drive, slot), { wide: main ? 1.8 : 0.8 });
  }
  pen.restore();

  const many = (to - from) * 10 > inner / 3;
  for (const frame of drive.frames) {
    if (frame.sentS < from || frame.sentS > to) continue;
    if (frame.hops > 0 && !isReceived(frame)) continue;
    const row = y(packets, peers + 1 - frame.source);
    const lost = !isReceived(frame);
    pen.fillStyle = ink(colours, frame.hops > 0 ? "relayed" : lost ? "lost" : "received");
    const wide = many ? 1 : 2;
    if (frame.hops > 0) pen.fillRect(x(frame.arrivalS), row - 1.5, wide + 1, 3);
    else if (lost) pen.fillRect(x(frame.sentS), row + 1, wide, 4);
    else pen.fillRect(x(frame.sentS), row - 4, wide, 5);
  }
  for (const [moment, colour, text] of /** @type {[number | null, string, string][]} */ ([
    [drive.events.onset, "soft", drive.cutIn ? "cut-in" : "onset"],
    [drive.events.informed, "told", "told"],
    [drive.events.crash, "lost", "crash"],
  ])) {
    if (moment === null || moment < from || moment > to) continue;
    pen.strokeStyle = ink(colours, colour);
    pen.lineWidth = text === "crash" ? 2.5 : 1.2;
    stroke(pen, [[x(moment), 2], [x(moment), top - TOP]]);
    const right = (text !== "onset" && text !== "cut-in") || x(moment) < LEFT + 45;
    const look = { colour: ink(colours, colour), size: 11, align: /** @type {CanvasTextAlign} */ (right ? "left" : "right") };
    write(pen, text, x(moment) + (right ? 3 : -3), text === "told" ? 19 : 7, { ...look, bold: true });
  }
  pen.strokeStyle = ink(colours, "ink");
  pen.lineWidth = 1.4;
  stroke(pen, [[x(t), EVENTS], [x(t), top - TOP]]);
  pen.restore();

  for (const panel of panels) {
    writeNamed(pen, colours, panel.title, width < NARROW ? 2 : LEFT, panel.top - 8);
    if (panel === decides || panel === packets) continue;
    for (const mark of marksOf(panel)) {
      write(pen, say(mark, mark % 1 ? 1 : 0), LEFT - 5, y(panel, mark), { colour: ink(colours, "soft"), size: 10, align: "right" });
    }
  }
  for (let slot = 1; slot <= peers; slot++) {
    const look = { colour: ink(colours, "soft"), size: 10, align: /** @type {CanvasTextAlign} */ ("right") };
    write(pen, `${slot}`, LEFT - 5, y(packets, peers + 1 - slot), look);
  }
  for (const mark of roundMarks(from, to, width / 80)) {
    const look = { colour: ink(colours, "soft"), size: 11, align: /** @type {CanvasTextAlign} */ ("center") };
    // The last stands inside, as its unit would be cut off.
    const inside = x(mark) > width - RIGHT - 12 ? { ...look, align: /** @type {CanvasTextAlign} */ ("right") } : look;
    write(pen, `${say(mark, mark % 1 ? 1 : 0)} s`, Math.min(x(mark), width - 1), top - 5, inside);
  }
  canvas.setAttribute("aria-label", `time lines from ${say(from)} to ${say(to)} s; the table above says the same of a moment`);
}

/** @type {WeakMap<Drive, {believed: Float64Array, spread: Float64Array}>} */
const beliefs = new WeakMap();

/**
 * The gap to the car that is in front, as the driver believes it, and two standard deviations.
 * @param {Drive} drive
 */
function believedGap(drive) {
  const known = beliefs.get(drive);
  if (known) return known;
  const believed = new Float64Array(drive.ticks).fill(NaN);
  const spread = new Float64Array(drive.ticks).fill(NaN);
  for (let i = 0; i < drive.ticks; i++) {
    const lead = value(drive.ofEgo.lead_slot, i);
    if (lead === 0) continue;
    believed[i] = value(drive.ofPeers.believed_gap_m[lead - 1], i);
    spread[i] = 2 * value(drive.ofPeers.position_sd_m[lead - 1], i);
  }
  beliefs.set(drive, { believed, spread });
  return { believed, spread };
}

/**
 * What decides, stretch by stretch, with the car's number where there is room.
 * @param {CanvasRenderingContext2D} pen
 * @param {Drive} drive
 * @param {[number, number]} ticks
 * @param {(tick: number) => number} x
 * @param {Panel} panel
 * @param {number} until
 * @param {Record<number, string>} names Of colours, by holder.
 * @param {Palette} colours
 */
function drawDecisions(pen, drive, [first, last], x, panel, until, names, colours) {
  let from = first;
  /** @param {number} tick */
  const key = (tick) => `${value(drive.ofEgo.holder, tick)} ${value(drive.ofEgo.deciding_slot, tick)}`;
  for (let i = first; i <= last; i++) {
    if (i < last && key(i + 1) === key(i)) continue;
    const holder = value(drive.ofEgo.holder, i);
    const slot = value(drive.ofEgo.deciding_slot, i);
    const wide = x(i + 1) - x(from);
    if (holder !== NOBODY && drive.startS + from * drive.tickS <= until) {
      pen.fillStyle = ink(colours, names[holder] ?? "soft");
      pen.fillRect(x(from), panel.top, Math.max(wide, 1), panel.height);
      if (holder !== FLOOR && slot > 0 && wide > 11) {
        const look = { size: 11, align: /** @type {CanvasTextAlign} */ ("center"), bold: true };
        write(pen, `${slot}`, x(from) + wide / 2, panel.top + panel.height / 2, { ...look, colour: ink(colours, "ground") });
      }
    }
    from = i + 1;
  }
}

/** @param {CanvasRenderingContext2D} pen @param {[number, number][]} points */
function stroke(pen, points) {
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x, y);
  pen.stroke();
}
