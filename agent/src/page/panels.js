// Everything beside the devices: verdict, the way of the data, pipelines, configuration, events.

import { attr, el, keyed, prose, shape, text } from "./dom.js";
import { bytes, clock, count, key, needsAttention, plural, rank, saysItself, sinks, span, verdict } from "./words.js";

/** Causes named under the verdict. */
const MAX_CAUSES = 6;

/** Events shown before a person asks for all. */
const FEW_EVENTS = 12;

/** The verdict and its causes; `reveal(device)` is called when one is chosen. */
export class Verdict {
  #use = document.querySelector("#verdict use");
  #words = document.querySelector('[data-field="verdict"]');
  #section = document.querySelector(".verdict");
  #causes;

  constructor(reveal) {
    this.#causes = keyed(byId("causes"), (c) => c.id, (c) => new Cause(c, reveal));
  }

  setState(state) {
    const { health, parts } = verdict(state);
    this.#say(health, parts);
    document.title = `${health === "Healthy" ? "" : "! "}${parts[0]} · Lineside`;
    const list = causes(state);
    const shown = list.slice(0, MAX_CAUSES);
    if (list.length > MAX_CAUSES) {
      shown.push({ id: "more", health: "Unknown", what: `and ${count(list.length - MAX_CAUSES)} more` });
    }
    this.#causes.set(shown);
    showTrack(state);
  }

  lost(words) {
    this.#say("Unavailable", [words]);
    document.title = "! Not connected · Lineside";
    this.#causes.set([]);
  }

  #say(health, parts) {
    attr(this.#section, "data-health", health);
    attr(this.#use, "href", `#shape-${health}`);
    // It is read aloud when it changes, and only then; a line breaks between parts.
    if (this.#words.textContent === parts.join(", ")) return;
    const spans = parts.map((part, i) => el("span", {}, i + 1 < parts.length ? `${part},` : part));
    this.#words.replaceChildren(...spans.flatMap((node, i) => (i > 0 ? [" ", node] : [node])));
  }
}

function causes(state) {
  const list = [];
  for (const d of state.devices.filter(needsAttention)) {
    list.push({ id: `device ${key(d)}`, device: key(d), what: d.name, ...pick(d) });
  }
  for (const { pipeline, sink } of sinks(state)) {
    if (!needsAttention(sink)) continue;
    list.push({ id: `sink ${key(pipeline)}/${sink.name}`, anchor: "pipelines-title", what: `${pipeline.name}/${sink.name}`, ...pick(sink) });
  }
  for (const p of state.pipelines.filter(saysItself)) {
    list.push({ id: `pipeline ${key(p)}`, anchor: "pipelines-title", what: p.name, ...pick(p) });
  }
  for (const p of state.agent.config.problems.filter((q) => q.level === "Error")) {
    list.push({ id: `config ${at(p)} ${p.code} ${p.message}`, anchor: "config-title", what: at(p), health: "Degraded", reason: p.reason, code: p.code });
  }
  // A list is cut at its end: the worst comes first.
  return list.toSorted((a, b) => rank(b.health) - rank(a.health));
}

function pick({ health, reason, code }) {
  return { health, reason, code };
}

class Cause {
  #mark;
  #what = el("b");
  #why = el("span");

  constructor(cause, reveal) {
    this.#mark = shape(cause.health);
    const inner = [this.#mark.node, this.#what, " ", this.#why];
    if (cause.device) {
      const button = el("button", { type: "button", class: "plain" }, ...inner);
      button.addEventListener("click", () => reveal(cause.device));
      this.node = el("li", {}, button);
    } else if (cause.anchor) {
      this.node = el("li", {}, el("a", { href: `#${cause.anchor}`, class: "plain" }, ...inner));
    } else {
      this.node = el("li", {}, ...inner);
    }
  }

  update(cause) {
    attr(this.node, "data-health", cause.health);
    this.#mark.set(cause.health);
    text(this.#what, cause.what);
    text(this.#why, [cause.reason, cause.code].filter(Boolean).join(" · "));
  }
}

/** Devices, points, store, sinks: where the data stops is where the line breaks. */
function showTrack(state) {
  const running = state.devices.filter((d) => d.mode !== "Suspended");
  const read = running.filter((d) => d.health === "Healthy" || d.health === "Degraded").length;
  const sum = (list, of) => list.reduce((n, item) => n + of(item), 0);
  const total = sum(running, (d) => d.points.total);
  const good = sum(running, (d) => d.points.good);
  const bad = sum(running, (d) => d.points.bad);
  const outlets = sinks(state);
  const delivering = outlets.filter(({ sink }) => sink.health === "Healthy").length;
  const buffered = sum(outlets, ({ sink }) => sink.buffered);
  const lag = Math.max(0, ...outlets.map(({ sink }) => sink.lagSeconds ?? 0));
  const dropped = sum(outlets, ({ sink }) => total_of(sink.dropped));
  const delivered = sum(outlets, ({ sink }) => sink.delivered + sink.unconfirmed);
  station("devices", `${count(read)} / ${count(running.length)}`, "read", flow(read, running.length));
  station("points", `${count(good)} / ${count(total)}`, bad > 0 ? `good, ${count(bad)} bad` : "good", flow(good, total));
  const waiting = buffered === 0 ? "nothing dropped" : `oldest ${span(lag * 1000)}`;
  station("store", count(buffered), dropped > 0 ? `${count(dropped)} dropped` : waiting, flow(delivering, outlets.length));
  station("sinks", `${count(delivering)} / ${count(outlets.length)}`, `${count(delivered)} delivered`, flow(delivering, outlets.length));
}

function flow(works, all) {
  if (all === 0) return "none";
  if (works === all) return "full";
  return works > 0 ? "part" : "broken";
}

function station(name, number, words, state) {
  const node = document.querySelector(`[data-station="${name}"]`);
  attr(node, "data-flow", state);
  text(node.querySelector('[data-field="count"]'), number);
  text(node.querySelector('[data-field="words"]'), words);
}

function total_of(dropped) {
  return Object.values(dropped ?? {}).reduce((a, b) => a + b, 0);
}

/** Pipelines with their sinks. */
export class Pipelines {
  #rows = keyed(byId("pipeline-rows"), key, (p) => new PipelineRow(p));

  setState(state) {
    byId("pipelines-empty").hidden = state.pipelines.length > 0;
    text(byId("pipelines-empty"), "No pipelines yet: what is read goes nowhere.");
    this.#rows.set(state.pipelines);
  }

  lost() {
    for (const row of this.#rows.values()) row.lost();
  }
}

class PipelineRow {
  #name = el("span", { class: "name" });
  #store = el("span", { class: "quiet", "data-field": "store" });
  #captured = el("span", { class: "quiet", "data-field": "captured" });
  #health = el("span", { class: "health", "data-field": "pipeline-health" });
  #known = "Unknown";
  #fault = new Fault();
  #sinks;

  constructor(pipeline) {
    const list = el("ul", { class: "sinks" });
    this.#sinks = keyed(list, (s) => s.name, (s) => new SinkRow(s));
    const head = el("div", { class: "pipeline-head" }, el("h3", {}, this.#name), this.#health, this.#captured, this.#store);
    this.node = el("li", { "data-pipeline": key(pipeline) }, head, this.#fault.node, list);
  }

  update(pipeline) {
    const suspended = pipeline.mode === "Suspended" ? " (suspended)" : "";
    text(this.#name, (pipeline.namespace === "default" ? pipeline.name : key(pipeline)) + suspended);
    text(this.#captured, `${count(pipeline.captured)} captured`);
    text(this.#store, storeWords(pipeline.store));
    this.#known = pipeline.health;
    attr(this.node, "data-health", pipeline.health);
    text(this.#health, pipeline.health);
    this.#fault.show(pipeline, saysItself(pipeline));
    this.#sinks.set(pipeline.sinks);
  }

  lost() {
    text(this.#health, `was ${this.#known}`);
    for (const row of this.#sinks.values()) row.lost();
  }
}

/** Where what waits is, how much of it there may be, and of which times there is nothing. */
function storeWords({ bytes: used, limitBytes, durability, state, fullInSeconds, gaps }) {
  const place = durability === "Memory" ? "in memory" : state === "Full" ? "on disk" : "new samples in memory,";
  const parts = [`${place} ${bytes(used)} of ${bytes(limitBytes)}`];
  if (fullInSeconds !== null && fullInSeconds < 24 * 3600) parts.push(`full in ${span(fullInSeconds * 1000)}`);
  if (gaps.length > 0) parts.push(`${plural(gaps.length, "gap")}, the newest until ${clock(gaps[gaps.length - 1].to)}`);
  return parts.join(" · ");
}

/** What is wrong with something, and what to do. */
class Fault {
  #f = {};

  constructor() {
    for (const name of ["code", "reason", "message", "next"]) {
      this.#f[name] = el("span", { "data-field": name, class: name });
    }
    const f = this.#f;
    this.node = el(
      "div",
      { class: "fault" },
      el("p", {}, f.code, " ", f.reason, " ", f.message),
      el("p", { class: "todo" }, el("b", {}, "Next"), " ", f.next),
    );
  }

  /** Shows the verdict of `object`, or with `wanted` = false nothing. */
  show(object, wanted) {
    const f = this.#f;
    text(f.code, object.code ?? "");
    text(f.reason, object.reason ?? "");
    prose(f.message, object.message ?? "");
    prose(f.next, object.next ?? "");
    f.next.parentElement.hidden = !object.next;
    this.node.hidden = !wanted;
  }
}

class SinkRow {
  #mark;
  #health = "Unknown";
  #f = {};
  #fault = new Fault();

  constructor(sink) {
    this.#mark = shape(sink.health);
    for (const name of ["name", "endpoint", "health", "connected", "delivered", "buffered", "lag", "dead", "dropped"]) {
      this.#f[name] = el("span", { "data-field": name, class: name });
    }
    const f = this.#f;
    const facts = ["delivered", "buffered", "lag", "dead", "dropped"].map((name) =>
      el("div", {}, el("dt", {}, { buffered: "waiting", dead: "dead letters" }[name] ?? name), el("dd", {}, f[name])),
    );
    this.node = el(
      "li",
      { "data-sink": sink.name },
      el("div", { class: "sink-head" }, this.#mark.node, el("span", { class: "who" }, f.name, f.endpoint), el("span", { class: "state" }, f.health, f.connected)),
      el("dl", {}, ...facts),
      this.#fault.node,
    );
  }

  update(sink) {
    const f = this.#f;
    this.#health = sink.health;
    attr(this.node, "data-health", sink.health);
    this.#mark.set(sink.health);
    text(f.name, sink.name);
    text(f.endpoint, `${sink.endpoint} · ${sink.type}`);
    text(f.health, sink.health);
    text(f.connected, sink.connected ? "connected" : "not connected");
    text(f.delivered, count(sink.delivered + sink.unconfirmed));
    text(f.buffered, count(sink.buffered));
    const end = sink.buffered > 0 && sink.lagSeconds > 10 ? sink.caughtUpInSeconds : null;
    text(f.lag, span((sink.lagSeconds ?? 0) * 1000) + (end === null ? "" : `, caught up in ${span(end * 1000)}`));
    text(f.dead, count(sink.deadLettered));
    attr(f.dead, "data-some", sink.deadLettered > 0 ? "yes" : null);
    const drops = Object.entries(sink.dropped ?? {}).map(([reason, n]) => `${count(n)} ${reason}`);
    text(f.dropped, drops.join(", ") || "0");
    attr(f.dropped, "data-some", drops.length > 0 ? "yes" : null);
    this.#fault.show(sink, sink.health !== "Healthy");
  }

  /** What was known last is not said as if it were so. */
  lost() {
    text(this.#f.health, `was ${this.#health}`);
    text(this.#f.connected, "");
  }
}

/** Problems of the files, each with its place. */
export class Configuration {
  #rows = keyed(byId("problem-rows"), (p) => `${at(p)} ${p.code} ${p.message}`, (p) => new ProblemRow(p));

  setState({ agent }) {
    const { config } = agent;
    text(document.querySelector('[data-field="config-dir"]'), config.dir);
    const rejected = config.rejected > 0 ? `; ${plural(config.rejected, "object")} kept as last accepted or left out` : "";
    const all = config.problems.length + (config.problemsLeftOut ?? 0);
    const shown = config.problemsLeftOut > 0 ? ` (the first ${count(config.problems.length)} are shown)` : "";
    const found = all > 0 ? `${plural(all, "problem")}${shown}` : "No problems";
    text(byId("config-summary"), `${found}; applied ${config.applied === 1 ? "once" : `${count(config.applied)} times`} since the start${rejected}.`);
    this.#rows.set(config.problems);
  }
}

class ProblemRow {
  #next = el("span", { "data-field": "next" });
  #message = el("span", { "data-field": "message" });

  constructor(problem) {
    const health = problem.level === "Error" ? "Degraded" : "Unknown";
    const place = el("p", { class: "place" }, shape(health).node, el("span", { "data-field": "at", class: "mono" }, at(problem)), " ", el("span", { class: "quiet" }, problem.object ?? ""));
    this.node = el(
      "li",
      { "data-problem": problem.code, "data-health": health },
      place,
      el(
        "div",
        { class: "fault" },
        el("p", {}, el("span", { class: "code", "data-field": "code" }, problem.code), " ", el("span", { class: "reason" }, problem.reason), " ", this.#message),
        el("p", { class: "todo" }, el("b", {}, "Next"), " ", this.#next),
      ),
    );
  }

  update(problem) {
    prose(this.#message, problem.message ?? "");
    prose(this.#next, problem.next ?? "");
    this.#next.parentElement.hidden = !problem.next;
  }
}

function at(problem) {
  return [problem.file, problem.line, problem.column].filter((part) => part !== null && part !== undefined).join(":");
}

/** The journal, newest first. */
export class Journal {
  #rows = keyed(byId("journal-rows"), (e) => `${e.number} ${e.time}`, (e) => new EventRow(e));
  #button = byId("journal-more");
  #all = false;
  #entries = [];

  constructor() {
    this.#button.addEventListener("click", () => {
      this.#all = !this.#all;
      this.#show();
    });
  }

  setState(state) {
    this.#entries = state.journal;
    this.#show();
  }

  #show() {
    const n = this.#entries.length;
    const newest = this.#entries.slice(this.#all ? 0 : -FEW_EVENTS).reverse();
    this.#rows.set(newest);
    this.#button.hidden = n <= FEW_EVENTS;
    text(this.#button, this.#all ? "Show fewer" : `Show all ${n}`);
    byId("journal-empty").hidden = n > 0;
    text(byId("journal-empty"), "Nothing has happened yet.");
  }
}

class EventRow {
  constructor(entry) {
    const time = el("time", { datetime: entry.time, title: entry.time }, clock(entry.time));
    const message = el("span", { "data-field": "message", class: "message" });
    prose(message, entry.message ?? "");
    const line = [time, shape(entry.health).node, el("b", {}, entry.subject), " ", el("span", { class: "reason" }, entry.reason ?? ""), message];
    if (entry.code) line.splice(-1, 0, " ", el("span", { class: "code" }, entry.code));
    this.node = el("li", { "data-health": entry.health, "data-event": entry.subject });
    if (entry.next) {
      const next = el("span");
      prose(next, entry.next);
      this.node.append(el("details", {}, el("summary", {}, ...line), el("p", { class: "todo" }, el("b", {}, "Next"), " ", next)));
    } else {
      this.node.append(el("div", { class: "line" }, ...line));
    }
  }

  update() {}
}

function byId(id) {
  return document.getElementById(id);
}
