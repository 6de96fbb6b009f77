// Numbers and states in words. Pure: nothing here touches the document.

const GROUPS = /\B(?=(\d{3})+(?!\d))/g;

/** A count with groups of three, e.g. `12 345`. */
export function count(n) {
  return String(n).replace(GROUPS, "\u202f");
}

/** `1 device`, `2 devices`. */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** A time span as a person says it; `ms` in milliseconds. */
export function span(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** Bytes in binary units. */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i + 1 < units.length; i += 1) n /= 1024;
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

/** The value of a point, exactly as it was read; null has no text. */
export function value(v) {
  if (v === null || v === undefined) return "–";
  // An integer this browser could not keep exact is never shown as if it were.
  if (typeof v === "number" && Number.isInteger(v) && !Number.isSafeInteger(v)) return `≈ ${v}`;
  return String(v);
}

/** Local time of day of an RFC 3339 time. */
export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

const RANK = { Healthy: 0, Unknown: 1, Degraded: 2, Unavailable: 3 };

/** How bad a health is. */
export function rank(health) {
  return RANK[health] ?? 1;
}

/** `ns/name`. */
export function key(object) {
  return `${object.namespace}/${object.name}`;
}

/** All sinks of all pipelines that run. */
export function sinks(state) {
  return state.pipelines
    .filter((p) => p.mode !== "Suspended")
    .flatMap((p) => p.sinks.map((sink) => ({ pipeline: p, sink })));
}

/** Whether an object asks for a person. A device that may be switched off does not. */
export function needsAttention(object) {
  return object.health !== "Healthy" && !["Suspended", "DeviceOff"].includes(object.reason);
}

/** Whether a pipeline is ill for a reason that is not one of its sinks'. */
export function saysItself(pipeline) {
  return Boolean(pipeline.code) && needsAttention(pipeline) && pipeline.sinks.every((s) => s.code !== pipeline.code);
}

/** `{health, parts}`: is it working, and if not, how much of it is not. */
export function verdict(state) {
  const running = state.devices.filter((d) => d.mode !== "Suspended");
  const outlets = sinks(state);
  const problems = state.agent.config.errors;
  if (state.devices.length + state.pipelines.length === 0) {
    return problems > 0
      ? { health: "Unavailable", parts: ["Nothing runs", `${plural(problems, "error")} in the configuration`] }
      : { health: "Unknown", parts: ["Nothing is configured yet"] };
  }
  const parts = [devicesInWords(running), deliveryInWords(state, outlets)];
  if (problems > 0) {
    parts.push({ health: "Degraded", words: `${plural(problems, "error")} in the configuration` });
  }
  // What is fine is said first only when everything is: trouble leads.
  const sorted = parts.toSorted((a, b) => RANK[b.health] - RANK[a.health]);
  const [first, ...rest] = sorted.map((p) => p.words);
  return { health: sorted[0].health, parts: [first.charAt(0).toUpperCase() + first.slice(1), ...rest] };
}

function devicesInWords(running) {
  const n = running.length;
  if (n === 0) return { health: "Unknown", words: "no device is to be read" };
  const of = (test) => running.filter(test).length;
  const off = of((d) => d.reason === "DeviceOff");
  const dead = of((d) => d.health === "Unavailable") - off;
  const some = of((d) => d.health === "Degraded");
  const starting = of((d) => d.health === "Unknown");
  const share = (k) => (n === 1 ? "the device" : `${count(k)} of ${count(n)} devices`);
  const is = (k) => (k === 1 ? "is" : "are");
  const parts = [];
  const say = (k, words) => {
    // "2 of 5 devices are not read, 1 is starting": the whole is named once.
    if (k > 0) parts.push(`${parts.length > 0 ? count(k) : share(k)} ${is(k)} ${words}`);
  };
  say(dead, "not read");
  say(some, "read only in part");
  say(starting, "starting");
  const health = dead > 0 ? "Unavailable" : some > 0 ? "Degraded" : starting > 0 ? "Unknown" : "Healthy";
  if (parts.length > 0) return { health, words: parts.join(", ") };
  if (off > 0) {
    const rest = off < n ? ", the others are read" : "";
    return { health, words: `${share(off)} ${is(off)} switched off${rest}` };
  }
  return { health, words: n < 3 ? ["the device is read", "both devices are read"][n - 1] : `all ${count(n)} devices are read` };
}

function deliveryInWords(state, outlets) {
  if (outlets.length === 0) {
    return { health: "Unknown", words: state.pipelines.length ? "all pipelines are suspended" : "no pipeline delivers" };
  }
  const bad = outlets.filter(({ sink }) => sink.health === "Unavailable");
  const slow = outlets.filter(({ sink }) => sink.health === "Degraded");
  const n = outlets.length;
  if (bad.length === n) return { health: "Unavailable", words: "nothing is delivered" };
  if (bad.length > 0) {
    const does = bad.length === 1 ? "does" : "do";
    return { health: "Degraded", words: `${bad.length} of ${n} sinks ${does} not deliver` };
  }
  if (slow.length > 0) return { health: "Degraded", words: "delivery is disturbed" };
  const is = (reason) => state.pipelines.filter((p) => p.reason === reason);
  const who = (list, one, many) => (list.length === 1 ? `pipeline ${list[0].name} ${one}` : `${count(list.length)} pipelines ${many}`);
  const empty = is("NoDevices");
  if (empty.length > 0) return { health: "Degraded", words: `${who(empty, "selects", "select")} no device` };
  const silent = is("DevicesSilent");
  if (silent.length > 0) return { health: "Degraded", words: `${who(silent, "has", "have")} nothing to deliver` };
  const dropping = state.pipelines.filter(saysItself);
  if (dropping.length > 0) return { health: "Degraded", words: `${who(dropping, "drops", "drop")} samples` };
  // Connected is not delivered: what waits was not acknowledged yet.
  const starts = ({ sink }) => sink.health === "Unknown" || (sink.reason !== "Delivering" && sink.buffered > 0);
  if (outlets.some(starts)) return { health: "Unknown", words: "delivery is starting" };
  return { health: "Healthy", words: "everything is delivered" };
}
