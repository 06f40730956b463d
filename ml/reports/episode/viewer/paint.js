/**
 * What all pictures share: colours of the theme, and a canvas as sharp as the screen.
 */

const NAMES = [
  "ground", "card", "ink", "soft", "rule", "asphalt", "lane", "ego", "front", "brake", "other", "received", "lost", "relayed",
  "decides", "need", "silence", "allowed", "believed", "told",
];

/** @typedef {Record<string, string>} Palette */

/**
 * The colours of the theme that is on.
 * @returns {Palette}
 */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/**
 * A colour of the theme.
 * @param {Palette} colours
 * @param {string} name
 */
export function ink(colours, name) {
  return colours[name] ?? "#888";
}

/**
 * Make a canvas as wide as its place and so high, clear it, and return its pen and its width in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {number} height
 * @returns {{pen: CanvasRenderingContext2D, width: number}}
 */
export function prepare(canvas, height) {
  const width = Math.max(canvas.clientWidth, 200);
  const ratio = Math.max(window.devicePixelRatio || 1, 1);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.height = `${height}px`;
  }
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.lineJoin = "round";
  return { pen, width };
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {{colour: string, size?: number, align?: CanvasTextAlign, bold?: boolean, baseline?: CanvasTextBaseline}} look
 */
export function write(pen, text, x, y, { colour, size = 12, align = "left", bold = false, baseline = "middle" }) {
  pen.font = `${bold ? "600 " : ""}${size}px system-ui, sans-serif`;
  pen.textAlign = align;
  pen.textBaseline = baseline;
  pen.fillStyle = colour;
  pen.fillText(text, x, y);
}

/** @typedef {[string, string, string]} Named A sign, its colour and what it stands for; without a sign, a title. */

/**
 * Write what signs stand for, one behind the other; the signs alone are coloured, so that all words are readable. No line
 * below runs through them.
 * @param {CanvasRenderingContext2D} pen
 * @param {Palette} colours
 * @param {Named[]} named
 * @param {number} x
 * @param {number} y
 */
export function writeNamed(pen, colours, named, x, y) {
  for (const [sign, colour, words] of named) {
    write(pen, "", x, y, { colour: ink(colours, "ground"), size: 11 });
    pen.fillRect(x - 1, y - 7, pen.measureText(`${sign} ${words}`).width + 2, 14);
    write(pen, sign, x, y, { colour: ink(colours, colour), size: 11 });
    if (sign) x += pen.measureText(`${sign} `).width;
    write(pen, words, x, y, { colour: ink(colours, "soft"), size: 11 });
    x += pen.measureText(`${words}  `).width;
  }
}

/**
 * Marks on an axis at round numbers, at most so many.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @returns {number[]}
 */
export function roundMarks(low, high, most) {
  const rough = (high - low) / Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * /** @type {number} */ ([1, 2, 5, 10].find((x) => x * power >= rough));
  const marks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9; i++) marks.push(i * step);
  return marks;
}
