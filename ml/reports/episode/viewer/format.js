/**
 * Reads the JSON of an episode, and refuses in words what is none; docs/watch.md has the format.
 */

/**
 * @typedef {object} Frame A frame that went on the air.
 * @property {number} sentS
 * @property {number} arrivalS
 * @property {number} sender Slot of the car that sent it.
 * @property {number} source Slot of the car whose message it is.
 * @property {number} number Which of its messages.
 * @property {number} hops Relays that it had passed.
 * @property {number} receivers A bit per slot.
 * @property {number} fate What became of it at the ego: 0 lost, 1 newer, 2 not newer, 3 collided.
 */

/**
 * @typedef {object} Drive An episode as one driver drove it. Columns have a value per tick.
 * @property {string} driver
 * @property {string} story
 * @property {[string, string][]} about
 * @property {number} cars The ego is slot 0.
 * @property {number} ticks
 * @property {number} startS
 * @property {number} endS
 * @property {number} tickS
 * @property {number} carLengthM
 * @property {[number, number]} limits Of the vehicle, m/s².
 * @property {boolean} safetyLayer
 * @property {number} timeGapS
 * @property {boolean} cutIn
 * @property {number} brakeSlot
 * @property {{onset: number | null, informed: number | null, crash: number | null}} events
 * @property {Record<"route_pos_m" | "speed_mps" | "lateral_m", Float64Array[]>} ofCars
 * @property {Record<"age_s" | "number" | "believed_gap_m" | "believed_speed_mps" | "position_sd_m" | "needed_mps2",
 *   Float64Array[]>} ofPeers Slot − 1; not a number where not heard.
 * @property {Record<"gap_m" | "ttc_s" | "lead_slot" | "accel_mps2" | "floor_mps2" | "soft_mps2" | "hard_mps2" |
 *   "wish_mps2" | "command_mps2" | "holder" | "deciding_slot" | "needless" | "own_error_m" | "own_sd_m",
 *   Float64Array>} ofEgo
 * @property {Frame[]} frames In the order of time.
 */

/**
 * @typedef {object} Episode
 * @property {string} title
 * @property {Drive[]} drives
 */

const FORMAT = "roadsense-episode";
const VERSION = 1;
const MOST_CARS = 32;
const MOST_TICKS = 200000;
const OF_CARS = ["route_pos_m", "speed_mps", "lateral_m"];
const OF_PEERS = ["age_s", "number", "believed_gap_m", "believed_speed_mps", "position_sd_m", "needed_mps2"];
const OF_EGO = [
  "gap_m", "ttc_s", "lead_slot", "accel_mps2", "floor_mps2", "soft_mps2", "hard_mps2", "wish_mps2", "command_mps2", "holder",
  "deciding_slot", "needless", "own_error_m", "own_sd_m",
];
const OF_FRAMES = ["sent_s", "flight_s", "sender", "source", "number", "hops", "receivers", "fate"];

/** Why a file is not shown, in words for its reader. */
export class Refusal extends Error {}

/**
 * @param {string} text
 * @returns {Episode}
 */
export function readEpisode(text) {
  if (!text.trim()) throw new Refusal("The file holds no episode: it is empty, or was cut off before its data.");
  /** @type {any} */
  let content;
  try {
    content = JSON.parse(text);
  } catch (error) {
    const where = error instanceof Error ? error.message : String(error);
    throw new Refusal(`The episode cannot be read: the file was cut off or changed (${where}).`);
  }
  if (typeof content !== "object" || content === null || content.format !== FORMAT) {
    throw new Refusal(`This is no episode: its format is not “${FORMAT}”.`);
  }
  if (content.version !== VERSION) {
    throw new Refusal(
      `The episode is of version ${String(content.version)}, and this page shows version ${VERSION}. Write it again with this ` +
        "version of RoadSense, or open it in a page of its own.",
    );
  }
  const drives = list(content.drives, "drives");
  if (drives.length < 1 || drives.length > 2) throw new Refusal(`The episode has ${drives.length} drives; shown are one or two.`);
  return { title: String(content.title), drives: drives.map(readDrive) };
}

/**
 * @param {any} from
 * @returns {Drive}
 */
function readDrive(from) {
  const cars = number(from.cars, "cars", 2, MOST_CARS);
  const ticks = number(from.ticks, "ticks", 1, MOST_TICKS);
  const startS = number(from.start_s, "start_s", -1e9, 1e9);
  const tickS = number(from.tick_s, "tick_s", 1e-3, 10);
  /** @param {any} group @param {string[]} names @param {number} many */
  const columnsOf = (group, names, many) =>
    Object.fromEntries(
      names.map((name) => {
        const columns = list(group?.[name], name);
        if (columns.length !== many) throw new Refusal(`“${name}” has ${columns.length} columns instead of ${many}.`);
        return [name, columns.map((column) => decode(column, name, ticks))];
      }),
    );
  const events = from.events_s ?? {};
  /** @param {string} name */
  const moment = (name) => (events[name] === null ? null : number(events[name], name, -1e9, 1e9));
  return {
    driver: String(from.driver),
    story: String(from.story),
    about: list(from.about, "about").map((pair) => [String(pair?.[0]), String(pair?.[1])]),
    cars,
    ticks,
    startS,
    endS: startS + (ticks - 1) * tickS,
    tickS,
    carLengthM: number(from.car_length_m, "car_length_m", 0.1, 100),
    limits: [number(from.limits_mps2?.[0], "limits_mps2", -100, 0), number(from.limits_mps2?.[1], "limits_mps2", 0, 100)],
    safetyLayer: from.safety_layer === true,
    timeGapS: number(from.time_gap_s, "time_gap_s", 0, 100),
    cutIn: from.cut_in === true,
    brakeSlot: number(from.brake_slot, "brake_slot", 0, cars - 1),
    events: { onset: moment("onset"), informed: moment("informed"), crash: moment("crash") },
    ofCars: /** @type {Drive["ofCars"]} */ (columnsOf(from.of_cars, OF_CARS, cars)),
    ofPeers: /** @type {Drive["ofPeers"]} */ (columnsOf(from.of_peers, OF_PEERS, cars - 1)),
    ofEgo: /** @type {Drive["ofEgo"]} */ (
      Object.fromEntries(OF_EGO.map((name) => [name, decode(from.of_ego?.[name], name, ticks)]))
    ),
    frames: readFrames(from.frames, cars),
  };
}

/**
 * @param {any} from
 * @param {number} cars
 * @returns {Frame[]}
 */
function readFrames(from, cars) {
  const first = decode(from?.sent_s, "sent_s");
  const columns = Object.fromEntries(OF_FRAMES.map((name) => [name, decode(from?.[name], name, first.length)]));
  /** @param {string} name @param {number} i */
  const at = (name, i) => /** @type {number} */ (columns[name]?.[i]);
  const last = new Array(cars).fill(0);
  const frames = [];
  for (let i = 0; i < first.length; i++) {
    const source = number(at("source", i), "source", 0, cars - 1);
    const sender = number(at("sender", i), "sender", 0, cars - 1);
    last[source] += at("number", i);
    const sentS = at("sent_s", i);
    frames.push({
      sentS,
      arrivalS: sentS + at("flight_s", i),
      sender,
      source,
      number: last[source],
      hops: at("hops", i),
      receivers: at("receivers", i),
      fate: at("fate", i),
    });
  }
  return frames;
}

/**
 * Undo what `_column` of page.py did: differences, units, and runs of zeros.
 * @param {any} column
 * @param {string} name
 * @param {number} [length] That it must have.
 * @returns {Float64Array}
 */
export function decode(column, name, length) {
  const unit = number(column?.unit, `${name}.unit`, 1e-9, 1e9);
  const order = number(column?.order, `${name}.order`, 0, 2);
  /** @type {(number | null)[]} */
  const steps = [];
  for (const step of list(column?.values, name)) {
    if (typeof step === "string") {
      const zeros = number(Number(step), name, 2, MOST_TICKS);
      for (let i = 0; i < zeros; i++) steps.push(0);
    } else if (step === null || Number.isFinite(step)) {
      steps.push(step);
    } else {
      throw new Refusal(`“${name}” holds ${String(step)}, which is no number: the file was changed.`);
    }
  }
  if (length !== undefined && steps.length !== length) {
    throw new Refusal(`“${name}” has ${steps.length} values instead of ${length}: the file was cut off or changed.`);
  }
  let value = 0;
  let slope = 0;
  return Float64Array.from(steps, (step) => {
    if (step === null) return NaN;
    if (order === 0) return step * unit;
    slope = order === 2 ? slope + step : step;
    value += slope;
    return value * unit;
  });
}

/**
 * @param {any} value
 * @param {string} name
 * @returns {any[]}
 */
function list(value, name) {
  if (!Array.isArray(value)) throw new Refusal(`The episode has no “${name}”: the file was cut off or changed.`);
  return value;
}

/**
 * @param {any} value
 * @param {string} name
 * @param {number} low
 * @param {number} high
 * @returns {number}
 */
function number(value, name, low, high) {
  if (typeof value !== "number" || !(value >= low && value <= high)) {
    throw new Refusal(`“${name}” is ${String(value)}; it must lie between ${low} and ${high}. The file was changed.`);
  }
  return value;
}
