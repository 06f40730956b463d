// Asks for the runs every two seconds and shows them. All text goes in as text, never as HTML.

/**
 * @typedef {{ name: string, preset: string, step: number, changed_s: number,
 *   values: Record<string, number>, episode: string, note: string }} Run
 */

const EVERY_MS = 2000;
/** Curves, and digits behind the point; a share is shown in percent. */
const CURVES = /** @type {const} */ ([
  ["evaluation/safety_score", 2, false],
  ["evaluation/avoidable_crash_rate", 1, true],
  ["evaluation/time_headway_s", 2, false],
  ["evaluation/false_brakes_per_km", 2, false],
  ["evaluation/mean_return", 1, false],
  ["rollout/ep_rew_mean", 1, false],
  ["time/steps_per_second", 0, false],
]);

let chosen = "";
let shown = "";

/** @param {string} id */
function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found;
}

/** @param {Run} run */
function addressOf(run) {
  const parts = [...run.name.split("/"), run.episode].map(encodeURIComponent);
  return `/episode/${parts.join("/")}`;
}

/** @param {Run} run */
function stepOf(run) {
  return Number(run.episode.replace(/\D/g, "")).toLocaleString("en");
}

/** @param {number} seconds */
function ago(seconds) {
  const past = Math.max(0, Date.now() / 1000 - seconds);
  if (past < 90) return `${past.toFixed(0)} s ago`;
  if (past < 5400) return `${(past / 60).toFixed(0)} min ago`;
  if (past < 129600) return `${(past / 3600).toFixed(0)} h ago`;
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

/** @param {Run} run */
function rowOf(run) {
  const row = document.createElement("tr");
  row.className = run.name === chosen ? "shown" : "";
  const first = row.insertCell();
  first.textContent = run.name;
  const last = row.insertCell();
  const texts = [run.preset || "–", run.step.toLocaleString("en"), ago(run.changed_s)];
  for (const [curve, digits, percent] of CURVES) {
    const value = run.values[curve];
    if (value === undefined) texts.push("–");
    else texts.push(percent ? `${(100 * value).toFixed(digits)} %` : value.toFixed(digits));
  }
  for (const text of texts) row.insertCell().textContent = text.replace(/^-/, "−");
  // On a phone a row is a card, and each of its figures has its name beside it.
  const heads = element("table").querySelectorAll("th");
  for (const [i, cell] of [...row.cells].entries()) cell.dataset["name"] = heads[i]?.textContent ?? "";
  if (run.note) {
    const note = document.createElement("span");
    note.className = "note";
    note.textContent = run.note;
    first.append(note);
  }
  if (run.episode) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `step ${stepOf(run)}`;
    button.addEventListener("click", () => {
      chosen = run.name;
      show(run, true);
    });
    last.append(button);
  } else {
    last.textContent = "–";
  }
  return row;
}

/**
 * @param {Run} run
 * @param {boolean} asked whether the user asked for it
 */
function show(run, asked) {
  const address = addressOf(run);
  const follow = /** @type {HTMLInputElement} */ (element("follow")).checked;
  if (address === shown || !(asked || follow || !shown)) return;
  shown = address;
  element("episode").hidden = false;
  element("which").textContent = `${run.name}, after ${stepOf(run)} steps`;
  /** @type {HTMLAnchorElement} */ (element("alone")).href = address;
  /** @type {HTMLIFrameElement} */ (element("frame")).src = address;
}

/** @param {{ folder: string, runs: Run[] }} found */
function list(found) {
  const focused = document.activeElement?.closest("#runs tr");
  const place = focused ? [...element("runs").children].indexOf(focused) : -1;
  element("folder").textContent = found.folder;
  const last = found.runs.find((run) => run.episode);
  if (!chosen && last) chosen = last.name;
  element("runs").replaceChildren(...found.runs.map(rowOf));
  element("runs").children[place]?.querySelector("button")?.focus();
  const run = found.runs.find((it) => it.name === chosen);
  if (run?.episode) show(run, false);
  element("table").hidden = !found.runs.length;
  const many = found.runs.length === 1 ? "1 run" : `${found.runs.length} runs, the newest first`;
  element("state").textContent = found.runs.length ? many : "no runs yet: roadsense train begins one";
}

async function ask() {
  try {
    const reply = await fetch("/runs.json");
    if (!reply.ok) throw new Error(await reply.text());
    list(await reply.json());
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    element("state").textContent = `the server does not answer (${why}); what is below is old`;
  }
  setTimeout(ask, EVERY_MS);
}

void ask();
