// The connection to the agent: one event stream, opened again whenever it is lost. The browser
// gives up on an error status and notices a silent peer late or never, so there is a watchdog.

/** Silence after which nothing is shown as live, in milliseconds. */
const SILENCE = 5_000;

/** After a known loss it is said sooner. */
const LOST = 1_500;

/** Time between two attempts. */
const RETRY = 1_000;

/** Looking at every number is slow, and few documents have one so long. */
function parse(text) {
  return /\d{16}/.test(text) ? JSON.parse(text, exact) : JSON.parse(text);
}

/** Integers beyond 2^53 stay exact where the browser shows a number's source. */
function exact(_key, value, context) {
  if (typeof value !== "number" || !Number.isInteger(value) || Number.isSafeInteger(value)) return value;
  return /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value;
}

export class Stream {
  #source = null;
  #asked = null;
  #broken = false;
  #refusal = null;
  #lastEvent = performance.now();
  #lastTry = 0;
  #on;

  /**
   * `on` = `{state(data), device(data), lost(refusal), live()}`; `refusal` = `{message, next}` of
   * an agent that is there and does not want us, else null.
   */
  constructor(on) {
    this.#on = on;
    this.live = null;
    setInterval(() => this.#watch(), 250);
    document.addEventListener("visibilitychange", () => this.#watch());
  }

  /** Milliseconds since the agent was last heard. */
  get silence() {
    return performance.now() - this.#lastEvent;
  }

  /** Asks for the points of these devices (`ns/name`); nothing happens if it already does. */
  ask(devices) {
    const query = devices.map((d) => `device=${encodeURIComponent(d)}`).join("&");
    if (query !== this.#asked || this.#source === null) this.#open(query);
  }

  #open(query) {
    this.#source?.close();
    this.#asked = query;
    this.#broken = false;
    this.#lastTry = performance.now();
    const source = new EventSource(`/api/v1/stream${query ? `?${query}` : ""}`);
    this.#source = source;
    for (const kind of ["state", "device"]) {
      source.addEventListener(kind, (event) => {
        if (source !== this.#source) return;
        const data = parse(event.data);
        this.#lastEvent = performance.now();
        this.#broken = false;
        this.#refusal = null;
        if (this.live !== true) {
          this.live = true;
          this.#on.live();
        }
        this.#on[kind](data);
      });
    }
    source.addEventListener("error", () => {
      if (source !== this.#source) return;
      this.#broken = true;
      if (source.readyState === EventSource.CLOSED) this.#askWhy(source);
    });
  }

  /** The browser does not tell with which words a stream was refused. */
  async #askWhy(source) {
    const control = new AbortController();
    const over = setTimeout(() => control.abort(), RETRY);
    let refusal = null;
    try {
      const answer = await fetch(source.url, { cache: "no-store", signal: control.signal });
      if (!answer.ok) refusal = (await answer.json()).error ?? null;
    } catch {
      // No answer, or none of an agent: it is not connected.
    } finally {
      clearTimeout(over);
      control.abort();
    }
    if (this.#source !== source || this.#refusal?.message === refusal?.message) return;
    this.#refusal = refusal;
    if (this.live === false) this.#on.lost(refusal);
  }

  #watch() {
    const silence = this.silence;
    const bound = this.#broken ? LOST : SILENCE;
    if (silence < bound) return;
    if (this.live !== false) {
      this.live = false;
      this.#on.lost(this.#refusal);
    }
    // A restarted agent may not know the devices yet: the next attempt asks for none.
    if (performance.now() - this.#lastTry >= (this.#broken ? RETRY : SILENCE)) this.#open("");
  }
}
