/**
 * Starts the page: reads the episode that stands in it, or says why it cannot be shown.
 */
import { readEpisode, Refusal } from "./format.js";
import { say, tell } from "./moment.js";
import { palette } from "./paint.js";
import { element, Panel, part } from "./panel.js";
import { Player } from "./player.js";

/** @typedef {import("./format.js").Episode} Episode */

const LEGEND = [
  ["▬", "ego", "ego"], ["┅", "ego", "where the ego believes itself"], ["▬", "front", "car 1, in front at first"], ["▬", "brake", "car that brakes"],
  ["▬", "other", "other cars"], ["▌", "ink", "brake light"], ["▭", "soft", "where a car is believed, band ±2σ; dashed from 0.5 s of age on"],
  ["s", "soft", "under it: age of its newest message"],
  ["●", "received", "packet received"], ["×", "lost", "lost"], ["◆", "relayed", "came by a relay"], ["▢", "decides", "decides, or demands most"],
  ["▽", "believed", "wish"], ["▮", "ego", "command"], ["▬", "allowed", "allowed by the safety layer"],
  ["demand", "ink", "braking that a car’s newest message makes necessary"], ["silence", "ink", "the newest message of the car in front is old"],
  ["floor", "ink", "braking harder than anything demands is cut to this"], ["onset", "ink", "the braking, or the cut-in, begins"],
  ["told", "told", "a message that shows it has come"],
];

/** @param {string} id */
const byId = (id) => part(document, `#${id}`, HTMLElement);

/** @type {AbortController | null} */
let listening = null;

/** @param {string} text */
function start(text) {
  const refusal = byId("refusal");
  try {
    show(readEpisode(text));
    refusal.hidden = true;
    byId("stage").hidden = false;
  } catch (error) {
    refusal.textContent =
      error instanceof Refusal
        ? `${error.message} Write the page again with roadsense watch or roadsense replay.`
        : `The viewer failed: ${String(error)}`;
    refusal.hidden = false;
    byId("stage").hidden = true;
    if (!(error instanceof Refusal)) console.error(error);
  }
}

/** @param {Episode} episode */
function show(episode) {
  listening?.abort();
  listening = new AbortController();
  const { signal } = listening;
  const { drives } = episode;
  const home = byId("drives");
  home.replaceChildren();
  home.classList.toggle("two", drives.length > 1);
  document.title = episode.title;
  byId("title").textContent = episode.title;
  byId("stories").replaceChildren(
    ...drives.map((drive) => element("p", drives.length > 1 ? `${drive.driver}: ${drive.story}` : drive.story)),
  );
  byId("about").replaceChildren(
    ...drives.map((drive) => {
      const list = document.createElement("dl");
      for (const [name, said] of [["driver", drive.driver], ...drive.about]) {
        list.append(element("dt", String(name)), element("dd", String(said)));
      }
      return list;
    }),
  );
  byId("legend").replaceChildren(
    ...LEGEND.map(([sign, colour, text]) => {
      const item = element("span", "");
      const mark = element("b", String(sign));
      mark.style.color = `var(--${colour})`;
      item.append(mark, ` ${text}`);
      return item;
    }),
  );

  const view = { near: false, narrow: false };
  let colours = palette();
  const seek = part(document, "#seek", HTMLInputElement);
  const speed = part(document, "#speed", HTMLSelectElement);
  const play = byId("play");
  const startS = Math.min(...drives.map((drive) => drive.startS));
  const endS = Math.max(...drives.map((drive) => drive.endS));
  const tickS = Math.min(...drives.map((drive) => drive.tickS));
  const player = new Player(startS, endS, tickS, draw);
  const panels = drives.map((drive) => new Panel(drive, home, (t) => player.goTo(t)));
  Object.assign(seek, { min: `${startS}`, max: `${endS}`, step: `${tickS}` });
  speed.replaceChildren(...Player.speeds.map((x) => new Option(`${x} ×`, `${x}`)));

  /** @param {number} t */
  function draw(t) {
    for (const panel of panels) panel.show(t, colours, view);
    seek.value = `${t}`;
    seek.setAttribute("aria-valuetext", `${say(t)} seconds`);
    byId("clock").textContent = `${say(t)} s`;
    speed.value = `${player.speed}`;
    byId("zoom").setAttribute("aria-pressed", `${view.near}`);
    byId("span").setAttribute("aria-pressed", `${view.narrow}`);
    play.textContent = player.playing ? "❚❚" : "▶";
    play.setAttribute("aria-label", player.playing ? "pause" : "play");
    if (player.playing) return;
    byId("note").textContent = "";
    byId("told").textContent = drives
      .map((drive) => `${drives.length > 1 ? `${drive.driver}: ` : ""}At ${say(Math.min(t, drive.endS))} s ${tell(drive, t)}`)
      .join(" ");
    history.replaceState(null, "", addressOf(t));
  }

  /** @param {number} t */
  function addressOf(t) {
    const theme = new URLSearchParams(location.hash.slice(1)).get("theme");
    return `#t=${Number(t.toFixed(3))}${theme ? `&theme=${theme}` : ""}`;
  }

  function readAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const theme = asked.get("theme");
    if (theme === "dark" || theme === "light") setTheme(theme);
    view.near = view.near || asked.get("view") === "near";
    view.narrow = view.narrow || asked.get("view") === "narrow";
    const t = Number(asked.get("t") ?? NaN);
    player.goTo(Number.isFinite(t) ? t : firstMoment());
  }

  /** Where something happens, for who names no moment. */
  function firstMoment() {
    const onset = drives[0]?.events.onset ?? null;
    return onset === null ? startS : Math.max(onset - 2, startS);
  }

  /** @param {"light" | "dark"} theme */
  function setTheme(theme) {
    document.documentElement.dataset["theme"] = theme;
    colours = palette();
  }

  /** @param {"near" | "narrow"} what */
  function toggleView(what) {
    view[what] = !view[what];
    draw(player.t);
  }

  function toggleTheme() {
    setTheme(document.documentElement.dataset["theme"] === "dark" ? "light" : "dark");
    draw(player.t);
  }

  async function copyLink() {
    history.replaceState(null, "", addressOf(player.t));
    try {
      await navigator.clipboard.writeText(location.href);
      byId("note").textContent = `The link to ${say(player.t)} s is copied.`;
    } catch {
      byId("note").textContent = `The address of this page now ends in ${addressOf(player.t)}: copy it from there.`;
    }
  }

  /** @param {1 | -1} direction */
  function jump(direction) {
    const moments = drives
      .flatMap((drive) => [drive.events.onset, drive.events.informed, drive.events.crash])
      .filter((moment) => moment !== null)
      .map((moment) => direction * moment)
      .sort((a, b) => a - b);
    const next = moments.find((moment) => moment > direction * player.t + 1e-3);
    if (next !== undefined) player.goTo(direction * next);
  }

  const help = part(document, "#help", HTMLDialogElement);
  /** @type {Record<string, (event: KeyboardEvent) => void>} */
  const keys = {
    " ": () => player.toggle(),
    ArrowLeft: (event) => player.step(event.shiftKey ? -10 : -1),
    ArrowRight: (event) => player.step(event.shiftKey ? 10 : 1),
    ArrowUp: () => player.change(1),
    ArrowDown: () => player.change(-1),
    Home: () => player.goTo(startS),
    End: () => player.goTo(endS),
    n: () => jump(1),
    p: () => jump(-1),
    z: () => toggleView("near"),
    w: () => toggleView("narrow"),
    t: toggleTheme,
    l: () => void copyLink(),
    "?": () => help.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLSelectElement || help.open;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = keys[key];
    if (!act || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === " " && event.target instanceof HTMLButtonElement) return;
    event.preventDefault();
    act(event);
  }, { signal });
  /** @type {[string, () => void][]} */
  const buttons = [
    ["play", () => player.toggle()], ["back", () => player.step(-1)], ["forward", () => player.step(1)],
    ["zoom", () => toggleView("near")], ["span", () => toggleView("narrow")], ["theme", toggleTheme],
    ["link", () => void copyLink()], ["keys", () => help.showModal()],
  ];
  for (const [id, act] of buttons) byId(id).addEventListener("click", act, { signal });
  seek.addEventListener("input", () => {
    player.playing = false;
    player.goTo(Number(seek.value));
  }, { signal });
  speed.addEventListener("change", () => (player.speed = Number(speed.value)), { signal });
  window.addEventListener("hashchange", readAddress, { signal });
  window.addEventListener("resize", () => draw(player.t), { signal });
  window.addEventListener("beforeprint", () => {
    const before = document.documentElement.dataset["theme"] === "dark" ? "dark" : "light";
    setTheme("light");
    document.documentElement.classList.add("printing");
    draw(player.t);
    window.addEventListener("afterprint", () => {
      document.documentElement.classList.remove("printing");
      setTheme(before);
      draw(player.t);
    }, { once: true });
  }, { signal });
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => {
    setTheme(dark.matches ? "dark" : "light");
    draw(player.t);
  }, { signal });
  if (!document.documentElement.dataset["theme"]) setTheme(dark.matches ? "dark" : "light");
  byId("stage").hidden = false;
  readAddress();
}

function begin() {
  start(document.getElementById("episode")?.textContent ?? "");
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file) void file.text().then(start);
  });
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
else begin();
