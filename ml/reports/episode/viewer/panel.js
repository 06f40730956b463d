/**
 * One drive on the page: the road, figures, who decides, a table of the cars ahead, time lines.
 */
import { allowed, decision, hopsHeld, isReceived, lastPackets, roleOf, say, tickAt, value } from "./moment.js";
import { drawLines, momentAt, windowOf } from "./lines.js";
import { ink, prepare, write, writeNamed } from "./paint.js";
import { drawRoad } from "./road.js";

/** @typedef {import("./format.js").Drive} Drive */
/** @typedef {import("./paint.js").Palette} Palette */
/** @typedef {{near: boolean, narrow: boolean}} View */

const PACKETS = 10;

/**
 * Find a part of the page that must be there.
 * @template {HTMLElement} E
 * @param {ParentNode} within
 * @param {string} selector
 * @param {new () => E} kind
 * @returns {E}
 */
export function part(within, selector, kind) {
  const found = within.querySelector(selector);
  if (!(found instanceof kind)) throw new Error(`the page has no ${selector}`);
  return found;
}

/**
 * @param {string} tag
 * @param {string} text
 * @param {string} [name] Its class.
 */
export function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

export class Panel {
  /**
   * @param {Drive} drive
   * @param {HTMLElement} home
   * @param {(t: number) => void} onSeek
   */
  constructor(drive, home, onSeek) {
    const copy = part(document, "#drive-template", HTMLTemplateElement).content.cloneNode(true);
    home.append(copy);
    const section = /** @type {HTMLElement} */ (home.lastElementChild);
    this.drive = drive;
    this.road = part(section, ".road", HTMLCanvasElement);
    this.gauge = part(section, ".gauge", HTMLCanvasElement);
    this.lines = part(section, ".lines", HTMLCanvasElement);
    this.figures = part(section, ".figures", HTMLElement);
    this.decides = part(section, ".decides", HTMLElement);
    this.rows = part(section, "tbody", HTMLElement);
    part(section, "h2", HTMLElement).textContent = drive.driver;
    this.t = drive.startS;
    this.narrow = false;
    this.tick = -1;
    for (let slot = 1; slot < drive.cars; slot++) {
      const row = document.createElement("tr");
      const name = element("td", "");
      name.append(element("i", "", roleOf(drive, slot)), `${slot}${slot === drive.brakeSlot && !drive.cutIn ? " brakes" : ""}`);
      row.append(name, ...["age", "packets", "is", "believed", "demands"].map((kind) => element("td", "", kind)));
      this.rows.append(row);
    }
    let dragging = false;
    const seek = (/** @type {PointerEvent} */ event) => {
      const x = event.clientX - this.lines.getBoundingClientRect().left;
      onSeek(momentAt(this.lines, windowOf(drive, this.t, this.narrow), x));
    };
    this.lines.addEventListener("pointerdown", (event) => {
      dragging = true;
      this.lines.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.lines.addEventListener("pointermove", (event) => dragging && seek(event));
    for (const end of ["pointerup", "pointercancel"]) this.lines.addEventListener(end, () => (dragging = false));
  }

  /**
   * @param {number} t
   * @param {Palette} colours
   * @param {View} view
   */
  show(t, colours, view) {
    const { drive } = this;
    this.t = Math.min(Math.max(t, drive.startS), drive.endS);
    this.narrow = view.narrow;
    drawRoad(this.road, drive, this.t, colours, view);
    drawLines(this.lines, drive, this.t, colours, view.narrow);
    this.drawGauge(colours);
    const tick = tickAt(drive, this.t);
    if (tick === this.tick) return;
    this.tick = tick;
    this.fillFigures(tick);
    const { who, why } = decision(drive, tick);
    this.decides.replaceChildren(element("b", who), ` decides: ${why}.`);
    this.fillTable(tick);
  }

  /** @param {number} tick */
  fillFigures(tick) {
    const { drive } = this;
    const lead = value(drive.ofEgo.lead_slot, tick);
    const believed = lead > 0 ? value(drive.ofPeers.believed_gap_m[lead - 1], tick) : NaN;
    const sd = lead > 0 ? value(drive.ofPeers.position_sd_m[lead - 1], tick) : NaN;
    const gap = value(drive.ofEgo.gap_m, tick);
    const speed = value(drive.ofCars.speed_mps[0], tick);
    const closing = lead > 0 ? speed - value(drive.ofCars.speed_mps[lead], tick) : NaN;
    const ttc = value(drive.ofEgo.ttc_s, tick);
    /** @type {[string, string, string, string][]} */
    const figures = [
      ["gap", "gap, true", say(gap), "m"],
      ["believed", "gap, believed", Number.isFinite(believed) ? `${say(believed)} ± ${say(2 * sd)}` : "not heard", "m"],
      ["ttc", "time to collision", ttc >= 60 ? "not closing" : say(ttc), ttc >= 60 ? "" : "s"],
      ["speed", "speed", say(speed), "m/s"],
      ["closing", "closing", say(closing), "m/s"],
      ["headway", "headway", speed > 1 ? say(gap / speed, 2) : "–", `s, set ${say(drive.timeGapS)}`],
      ["own", "own position error", `${say(value(drive.ofEgo.own_error_m, tick))} (σ ${say(value(drive.ofEgo.own_sd_m, tick))})`, "m"],
    ];
    this.figures.replaceChildren(
      ...figures.map(([name, label, text, unit]) => {
        const made = document.createElement("div");
        const shown = element("dd", text, name);
        if (unit) shown.append(" ", element("small", unit));
        made.append(element("dt", label), shown);
        return made;
      }),
    );
  }

  /** @param {number} tick */
  fillTable(tick) {
    const { drive } = this;
    const { slot: deciding } = decision(drive, tick);
    const ego = value(drive.ofCars.route_pos_m[0], tick);
    [...this.rows.children].forEach((row, i) => {
      const slot = i + 1;
      row.classList.toggle("decides", slot === deciding);
      const [, age, packets, is, believed, demands] = /** @type {[Element, Element, Element, Element, Element, Element]} */ (
        /** @type {unknown} */ ([...row.children])
      );
      const heard = Number.isFinite(value(drive.ofPeers.age_s[i], tick));
      const hops = heard ? hopsHeld(drive, slot, tick) : NaN;
      age.textContent = heard
        ? `${hops > 0 ? `${"◆".repeat(hops)} ` : ""}${say(value(drive.ofPeers.age_s[i], tick), 2)}`
        : "not heard";
      age.setAttribute("title", hops > 0 ? `came by ${hops} relay${hops > 1 ? "s" : ""}` : "");
      const line = element("span", "", "packets");
      const told = lastPackets(drive, slot, drive.startS + tick * drive.tickS, PACKETS).map(({ frame, relayed }) => {
        if (isReceived(frame)) return element("span", "●", "r");
        return relayed ? element("span", "◆", "h") : element("span", "×", "l");
      });
      line.append(...told);
      const lost = told.filter((one) => one.className === "l").length;
      line.setAttribute("role", "img");
      line.setAttribute("aria-label", `of the last ${told.length} packets ${lost} lost`);
      packets.replaceChildren(line);
      const gap = value(drive.ofCars.route_pos_m[slot], tick) - ego - drive.carLengthM;
      is.textContent = say(gap);
      const [guess, sd] = [value(drive.ofPeers.believed_gap_m[i], tick), value(drive.ofPeers.position_sd_m[i], tick)];
      believed.replaceChildren(...(heard ? [say(guess), element("span", ` ± ${say(2 * sd)}`, "spread")] : ["–"]));
      const need = value(drive.ofPeers.needed_mps2[i], tick);
      demands.textContent = heard && need > 0.05 ? say(need) : "–";
    });
  }

  /** @param {Palette} colours */
  drawGauge(colours) {
    const { drive } = this;
    const tick = tickAt(drive, this.t);
    const { pen, width } = prepare(this.gauge, 70);
    const [low, high] = drive.limits;
    /** @param {number} v */
    const x = (v) => 10 + ((Math.min(Math.max(v, low), high) - low) / (high - low)) * (width - 20);
    const [least, most] = allowed(drive, tick);
    const y = 24;
    pen.fillStyle = ink(colours, "card");
    pen.fillRect(x(low), y - 5, x(high) - x(low), 10);
    pen.globalAlpha = drive.safetyLayer ? 1 : 0.3;
    pen.fillStyle = ink(colours, "allowed");
    pen.fillRect(x(least), y - 5, Math.max(x(most) - x(least), 2), 10);
    pen.globalAlpha = 1;
    for (const mark of [-8, -6, -4, -2, 0, 2]) {
      write(pen, say(mark, 0), x(mark), y + 21, { colour: ink(colours, "soft"), size: 10, align: "center" });
      pen.fillStyle = ink(colours, "rule");
      pen.fillRect(x(mark) - 0.5, y + 7, 1, 5);
    }
    const may = drive.safetyLayer ? "allowed" : "would be allowed";
    /** @type {import("./paint.js").Named[]} */
    const named = [["", "soft", "m/s²:"], ["▽", "believed", "wish"], ["▮", "ego", "command"], ["■", "allowed", may]];
    writeNamed(pen, colours, named, x(low), y + 38);
    const wish = value(drive.ofEgo.wish_mps2, tick);
    const command = value(drive.ofEgo.command_mps2, tick);
    if (Number.isFinite(command)) {
      pen.fillStyle = ink(colours, "ego");
      pen.fillRect(x(command) - 2, y - 9, 4, 18);
    }
    if (Number.isFinite(wish)) {
      pen.strokeStyle = pen.fillStyle = ink(colours, "believed");
      pen.lineWidth = 2;
      pen.beginPath();
      pen.moveTo(x(wish), y - 6);
      pen.lineTo(x(wish) - 6, y - 16);
      pen.lineTo(x(wish) + 6, y - 16);
      pen.closePath();
      pen.stroke();
    }
    this.gauge.setAttribute("aria-label",
      `wish ${say(wish)}, command ${say(command)}, ${may} from ${say(least)} to ${say(most)} m/s²`);
  }
}
