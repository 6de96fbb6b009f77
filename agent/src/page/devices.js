// The devices, and the points of those that are opened. Only opened devices cost anything.

import { attr, el, keyed, prose, shape, text } from "./dom.js";
import { History, trend } from "./trend.js";
import { count, key, needsAttention, plural, span, value } from "./words.js";

/** The stream's own bound. */
const MAX_OPEN = 16;

/** Rows of a table or list; the filter finds the others. */
const MAX_ROWS = 200;

/** From here on a filter is worth its place. */
const FILTER_FROM = 12;

export class Devices {
  #rows;
  #all = [];
  #opened;
  #changed;
  #live = true;

  /** `changed` is called when the set of opened devices did. */
  constructor(changed) {
    this.#changed = changed;
    this.#opened = recall();
    this.#rows = keyed(byId("device-rows"), key, (device) => new DeviceRow(device, this));
    byId("device-filter").addEventListener("input", () => this.#show());
    byId("attention").addEventListener("click", (event) => {
      const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
      attr(event.currentTarget, "aria-pressed", String(on));
      this.#show();
    });
  }

  /** Opened devices that exist. */
  get asked() {
    const there = new Set(this.#all.map(key));
    return (this.#opened ?? []).filter((name) => there.has(name));
  }

  isOpen(name) {
    return this.#opened?.includes(name) ?? false;
  }

  toggle(name) {
    const without = (this.#opened ?? []).filter((other) => other !== name);
    this.#opened = this.isOpen(name) ? without : [...without, name].slice(-MAX_OPEN);
    remember(this.#opened);
    this.#show();
    this.#changed();
  }

  /** Opens a device and brings it into view. */
  reveal(name) {
    byId("device-filter").value = "";
    if (!this.isOpen(name)) this.toggle(name);
    this.#show();
    if (!this.#rows.get(name)) {
      // Beyond the rows that are shown.
      byId("device-filter").value = name;
      this.#show();
    }
    const row = this.#rows.get(name);
    row?.node.scrollIntoView({ block: "nearest" });
    row?.button.focus();
  }

  setState(state) {
    this.#all = state.devices;
    // A newcomer sees values without having to find out where to click.
    if (this.#opened === null && this.#all.length > 0) {
      this.#opened = [key(this.#all[0])];
    }
    const empty = byId("devices-empty");
    empty.hidden = this.#all.length > 0;
    prose(empty, `No devices yet. Put a DeviceConnection into \`${state.agent.config.dir}\`; \`lineside validate -f\` checks it.`);
    byId("device-tools").hidden = this.#all.length < 2;
    this.#show();
  }

  setDevice(payload) {
    this.#rows.get(key(payload.device))?.takePoints(payload.points);
  }

  /** Lost: what is shown is the last that was known. */
  setLive(live) {
    this.#live = live;
    for (const row of this.#rows.values()) row.setLive(live);
  }

  get live() {
    return this.#live;
  }

  tick() {
    for (const row of this.#rows.values()) row.tick();
  }

  #show() {
    const words = byId("device-filter").value.trim().toLowerCase();
    const only = byId("attention").getAttribute("aria-pressed") === "true";
    const fit = this.#all.filter(
      (d) =>
        (!only || needsAttention(d)) &&
        (words === "" || `${key(d)} ${d.endpoint} ${d.reason} ${d.code ?? ""}`.toLowerCase().includes(words)),
    );
    this.#rows.set(fit.slice(0, MAX_ROWS));
    const more = byId("devices-more");
    more.hidden = fit.length === this.#all.length && fit.length <= MAX_ROWS;
    text(more, `${count(Math.min(fit.length, MAX_ROWS))} of ${plural(this.#all.length, "device")} shown`);
  }
}

/** For ids: names may differ in characters that an id does not keep. */
let rowsMade = 0;

class DeviceRow {
  #owner;
  #name;
  #parts;
  #device = null;
  #at = 0;
  #panel = null;

  constructor(device, owner) {
    this.#owner = owner;
    this.#name = key(device);
    const id = `device-${(rowsMade += 1)}-points`;
    const mark = shape(device.health);
    const field = (name, tag = "span") => el(tag, { "data-field": name, class: name });
    const p = {
      mark,
      id,
      name: field("name"),
      endpoint: field("endpoint"),
      health: field("health"),
      points: field("points"),
      since: field("since"),
      reason: field("reason"),
      code: field("code"),
      message: field("message"),
      next: field("next"),
      fault: el("div", { class: "fault" }),
    };
    this.#parts = p;
    // Its name stays while ages and counts beside it change.
    p.name.id = `${id}-of`;
    this.button = el("button", { type: "button", class: "row", "aria-expanded": "false", "aria-controls": id, "aria-labelledby": p.name.id });
    this.button.append(
      el("span", { class: "chevron", "aria-hidden": "true" }),
      mark.node,
      el("span", { class: "who" }, p.name, p.endpoint),
      p.points,
      el("span", { class: "state" }, p.health, p.since),
    );
    p.fault.append(
      el("p", {}, p.code, " ", p.reason, " ", p.message),
      el("p", { class: "todo" }, el("b", {}, "Next"), " ", p.next),
    );
    this.node = el("li", { "data-device": this.#name }, el("h3", {}, this.button), p.fault);
    this.button.addEventListener("click", () => owner.toggle(this.#name));
  }

  update(device) {
    this.#device = device;
    this.#at = performance.now();
    const p = this.#parts;
    attr(this.node, "data-health", device.health);
    p.mark.set(device.health);
    text(p.name, device.namespace === "default" ? device.name : this.#name);
    text(p.endpoint, `${device.endpoint} · ${device.protocol}`);
    const { total, good, bad, waiting } = device.points;
    const rest = [bad && `${count(bad)} bad`, waiting && `${count(waiting)} waiting`].filter(Boolean);
    text(p.points, `${count(good)} of ${plural(total, "point")} good${rest.length ? `, ${rest.join(", ")}` : ""}`);
    text(p.reason, device.reason ?? "");
    text(p.code, device.code ?? "");
    prose(p.message, device.message ?? "");
    prose(p.next, device.next ?? "");
    p.next.parentElement.hidden = !device.next;
    p.fault.hidden = device.health === "Healthy";
    const open = this.#owner.isOpen(this.#name);
    attr(this.button, "aria-expanded", String(open));
    if (open && this.#panel === null) {
      this.#panel = new Points(p.id, this.#name);
      this.node.append(this.#panel.node);
    } else if (!open && this.#panel !== null) {
      this.#panel.node.remove();
      this.#panel = null;
    }
    this.tick();
  }

  takePoints(points) {
    this.#panel?.take(points);
  }

  setLive(live) {
    this.#panel?.setLive(live);
    this.tick();
  }

  tick() {
    const device = this.#device;
    const gone = performance.now() - this.#at;
    text(this.#parts.health, this.#owner.live ? device.health : `was ${device.health}`);
    text(this.#parts.since, `for ${span(device.sinceSeconds * 1000 + gone).replace(/\.\d s$/, " s")}`);
    this.#panel?.tick();
  }
}

/** The table of one opened device. */
class Points {
  #body = el("tbody", { role: "rowgroup" });
  #filter = el("input", { type: "search", placeholder: "Filter points", autocomplete: "off", spellcheck: "false" });
  #tools;
  #shown = el("span", { class: "quiet" });
  #rows;
  #points = [];
  #histories = new Map();
  #live = true;

  constructor(id, name) {
    const columns = ["Point", "Value", "Quality", "Age", "Trend", "Address, on the wire"];
    const head = columns.map((c) => el("th", { scope: "col", role: "columnheader" }, c));
    this.#tools = el("div", { class: "tools" }, el("label", {}, el("span", { class: "sr" }, `Filter points of ${name}`), this.#filter), this.#shown);
    this.#tools.hidden = true;
    const table = el("table", { role: "table" }, el("caption", { class: "sr" }, `Points of ${name}`), el("colgroup", {}, ...columns.map((c) => el("col", { class: `col-${c.split(/\W/)[0].toLowerCase()}` }))), el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...head)), this.#body);
    this.node = el("div", { class: "points-panel", id }, this.#tools, table);
    this.#rows = keyed(this.#body, (p) => p.name, (p) => new PointRow(p));
    this.#filter.addEventListener("input", () => this.#show());
  }

  take(points) {
    const now = performance.now();
    this.#points = points;
    const names = new Set();
    for (const point of points) {
      names.add(point.name);
      let history = this.#histories.get(point.name);
      if (!history) this.#histories.set(point.name, (history = new History()));
      history.take(point, now);
    }
    for (const name of this.#histories.keys()) if (!names.has(name)) this.#histories.delete(name);
    this.#live = true;
    this.#show();
  }

  setLive(live) {
    this.#live = live;
    if (!live) for (const history of this.#histories.values()) history.interrupt();
    for (const row of this.#rows.values()) row.setLive(live);
  }

  tick() {
    for (const row of this.#rows.values()) row.tick();
  }

  #show() {
    const words = this.#filter.value.trim().toLowerCase();
    const fit = words === "" ? this.#points : this.#points.filter((p) => `${p.name} ${p.address} ${p.wire}`.toLowerCase().includes(words));
    this.#tools.hidden = this.#points.length <= FILTER_FROM;
    text(this.#shown, `${count(Math.min(fit.length, MAX_ROWS))} of ${plural(this.#points.length, "point")} shown`);
    this.#rows.set(fit.slice(0, MAX_ROWS));
    const now = performance.now();
    for (const row of this.#rows.values()) {
      row.draw(this.#histories, now);
      row.setLive(this.#live);
    }
  }
}

class PointRow {
  #point = null;
  #at = 0;
  #live = true;
  #parts;

  constructor(point) {
    const cell = (name) => el("span", { "data-field": name, class: name });
    const mark = shape("Unknown");
    const p = {
      mark,
      value: cell("value"),
      unit: cell("unit"),
      quality: el("span", { "data-field": "quality" }),
      status: cell("status"),
      age: cell("age"),
      trend: trend(),
      address: cell("address"),
      wire: cell("wire"),
    };
    this.#parts = p;
    this.node = el(
      "tr",
      { "data-point": point.name, role: "row" },
      el("th", { scope: "row", role: "rowheader" }, point.name),
      el("td", { class: "reading", role: "cell" }, p.value, " ", p.unit),
      el("td", { class: "quality", role: "cell" }, mark.node, p.quality, p.status),
      el("td", { class: "since", role: "cell" }, p.age),
      el("td", { class: "trend-cell", role: "cell" }, p.trend.node),
      el("td", { class: "addresses", role: "cell" }, p.address, p.wire),
    );
  }

  update(point) {
    this.#point = point;
    this.#at = performance.now();
    const p = this.#parts;
    text(p.address, point.address);
    text(p.value, value(point.value));
    text(p.unit, point.value === null ? "" : (point.unit ?? ""));
    text(p.status, point.status ? (point.statusName ?? "") : "");
    text(p.wire, point.wire ?? "");
    attr(p.value, "data-kind", typeof point.value === "string" ? "text" : "number");
  }

  draw(histories, now) {
    this.#parts.trend.draw(histories.get(this.#point.name), this.#point, now);
  }

  setLive(live) {
    this.#live = live;
    const quality = this.#point.quality;
    attr(this.node, "data-quality", live ? (quality ?? "Waiting") : "Stale");
    text(this.#parts.quality, live ? (quality ?? "Waiting") : "Stale");
    const shapes = { Good: "Healthy", Uncertain: "Degraded", Bad: "Unavailable" };
    this.#parts.mark.set((live && shapes[quality]) || "Unknown");
    this.tick();
  }

  tick() {
    const { ageMillis, intervalMillis } = this.#point;
    if (ageMillis === null || ageMillis === undefined) {
      text(this.#parts.age, "–");
      return;
    }
    const age = ageMillis + performance.now() - this.#at;
    const late = age > Math.max(3 * (intervalMillis ?? 1000), 3000);
    text(this.#parts.age, span(age));
    attr(this.#parts.age, "data-late", late && this.#point.quality !== "Bad" ? "yes" : null);
  }
}

function recall() {
  try {
    const opened = JSON.parse(sessionStorage.getItem("lineside-open"));
    return Array.isArray(opened) ? opened.filter((name) => typeof name === "string").slice(-MAX_OPEN) : null;
  } catch {
    return null;
  }
}

function remember(opened) {
  try {
    sessionStorage.setItem("lineside-open", JSON.stringify(opened));
  } catch {
    // Storage is forbidden or full: the choice lasts as long as the page.
  }
}

function byId(id) {
  return document.getElementById(id);
}
