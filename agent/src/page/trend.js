// A small trend of one point, from what this page itself has seen. A bad or missed sample is a
// gap, never a line drawn across it.

import { attr, svg } from "./dom.js";

/** Time shown, in milliseconds: what there is, within these bounds. */
const SHORTEST = 30_000;
const WINDOW = 120_000;

/** Samples further apart than this, or than three intervals, are not joined. */
const JOIN = 3_500;

const WIDTH = 108;
const HEIGHT = 24;

/** What was seen of one point: `{at, y}`; y is null where the point was bad, NaN where nothing
 * is known. */
export class History {
  #samples = [];
  #seen = null;

  /** Takes what the stream says of the point at `now` (milliseconds of this page's clock). */
  take(point, now) {
    const missing = point.quality === "Bad" || point.quality === null;
    const y = missing ? null : ordinate(point.value);
    // Text has no curve, and that is no gap.
    if (!missing && y === null && typeof point.value !== "number") return;
    const last = this.#samples.at(-1);
    // A Bad point is published seldom, but it is bad all the time.
    if (point.time === this.#seen && y !== null && last?.y !== null) return;
    this.#seen = point.time;
    this.#samples.push({ at: y === null ? now : now - Math.min(point.ageMillis ?? 0, WINDOW), y });
    while (this.#samples.length > 0 && this.#samples[0].at < now - WINDOW) this.#samples.shift();
  }

  /** Nothing is known of the time until the next sample. */
  interrupt() {
    const last = this.#samples.at(-1);
    if (last && !Number.isNaN(last.y)) this.#samples.push({ at: last.at, y: NaN });
  }

  get samples() {
    return this.#samples;
  }
}

function ordinate(value) {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "bigint") return Number(value);
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** The drawing; `draw(history, point, now)` brings it up to date. */
export function trend() {
  const axis = svg("path", { class: "axis", d: `M0 ${HEIGHT - 0.5}H${WIDTH - 3}` });
  const line = svg("path", { class: "line" });
  const gap = svg("path", { class: "gap" });
  const head = svg("circle", { class: "head", r: "1.8", visibility: "hidden" });
  const node = svg(
    "svg",
    { class: "trend", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "No trend" },
    axis,
    gap,
    line,
    head,
  );
  const draw = (history, point, now) => {
    const shown = history.samples.filter((s) => s.at >= now - WINDOW);
    const known = (s) => s !== null && s.y !== null && !Number.isNaN(s.y);
    const values = shown.filter(known).map((s) => s.y);
    const length = Math.max(SHORTEST, shown.length > 0 ? now - shown[0].at : 0);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const x = (at) => (WIDTH - 3) * (1 - (now - at) / length);
    const y = (v) => (high === low ? HEIGHT / 2 : HEIGHT - 3 - ((v - low) / (high - low)) * (HEIGHT - 6));
    const join = Math.max(JOIN, 3 * (point.intervalMillis ?? 0));
    const steps = typeof point.value === "boolean";
    let d = "";
    let holes = "";
    let before = null;
    for (const s of shown) {
      const px = x(s.at).toFixed(1);
      if (s.y === null) {
        holes += before?.y === null ? `H${px}` : `M${px} ${HEIGHT - 2}h.1`;
      } else if (known(s) && known(before) && s.at - before.at <= join) {
        d += steps ? `H${px}V${y(s.y).toFixed(1)}` : `L${px} ${y(s.y).toFixed(1)}`;
      } else if (known(s)) {
        d += `M${px} ${y(s.y).toFixed(1)}h.1`;
      }
      before = s;
    }
    attr(line, "d", d);
    attr(gap, "d", holes);
    const alive = known(before);
    attr(head, "visibility", alive ? "visible" : "hidden");
    if (alive) {
      attr(head, "cx", x(before.at).toFixed(1));
      attr(head, "cy", y(before.y).toFixed(1));
    }
    const label = values.length > 0 ? `Between ${low} and ${high} in the last ${Math.round(length / 1000)} seconds` : "No trend";
    attr(node, "aria-label", label + (holes ? ", with gaps" : ""));
  };
  return { node, draw };
}
