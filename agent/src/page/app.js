// The page: one stream in, views out. Everything the page knows comes from `/api/v1/stream`.

import { prose, text } from "./dom.js";
import { Devices } from "./devices.js";
import { Configuration, Journal, Pipelines, Verdict } from "./panels.js";
import { Stream } from "./stream.js";
import { span } from "./words.js";

/** How often ages tick, in milliseconds. */
const TICK = 500;

const field = (name) => document.querySelector(`[data-field="${name}"]`);

const devices = new Devices(() => stream.ask(devices.asked));
const verdict = new Verdict((name) => devices.reveal(name));
const pipelines = new Pipelines();
const panels = [verdict, devices, pipelines, new Configuration(), new Journal()];
let uptime = null;

const stream = new Stream({
  state(state) {
    const { name, version, uptimeSeconds } = state.agent;
    text(field("agent-name"), name);
    text(field("agent-version"), version);
    uptime = { seconds: uptimeSeconds, at: performance.now() };
    for (const panel of panels) panel.setState(state);
    stream.ask(devices.asked);
  },
  device(payload) {
    devices.setDevice(payload);
  },
  live() {
    show("live", "Live");
    devices.setLive(true);
  },
  lost(refusal) {
    const title = refusal ? `The agent refuses this page: ${refusal.message}` : "Not connected to the agent";
    show("lost", refusal ? "Refused" : "Not connected");
    text(field("lost-title"), `${title}.`);
    prose(field("lost-next"), refusal ? `until then, ${refusal.next}` : "if it does not, check that `lineside agent` runs");
    devices.setLive(false);
    pipelines.lost();
    verdict.lost(title);
    tick();
  },
});

function show(link, words) {
  document.body.dataset.link = link;
  document.getElementById("lost").hidden = link !== "lost";
  text(field("link"), words);
}

function tick() {
  devices.tick();
  text(field("lost-for"), span(stream.silence));
  if (uptime !== null && stream.live) {
    text(field("agent-uptime"), span(uptime.seconds * 1000 + performance.now() - uptime.at).replace(/\.\d s$/, " s"));
  }
}

// The theme: the system's, unless a person chose one. Storage may be forbidden: then it is not kept.
const THEMES = ["system", "light", "dark"];

function storedTheme() {
  try {
    return localStorage.getItem("lineside-theme");
  } catch {
    return null;
  }
}

function theme(name) {
  const chosen = THEMES.includes(name) ? name : "system";
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  text(field("theme"), chosen);
  return chosen;
}

let current = theme(storedTheme());
document.getElementById("theme").addEventListener("click", () => {
  current = theme(THEMES[(THEMES.indexOf(current) + 1) % THEMES.length]);
  try {
    localStorage.setItem("lineside-theme", current);
  } catch {
    // Shown all the same, until the page is closed.
  }
});

setInterval(tick, TICK);
stream.ask([]);
