// One piece of work at a time: what is done and for how long, Cancel, and what went wrong.

import { announce, h, joined } from "./dom.js";

const QUIET_MS = 200;  // what is done sooner shows no progress, which would only flicker
const RETRIES = 3;  // of a request that finds the server busy

const REFUSED = [413, 415, 422];  // of these the same once more would come to the same end
const HINTS = {
  413: "Choose a smaller picture, or fewer at a time.",
  504: "Ask for less at a time, or come again when fewer people are here.",
};

/** The work of one panel. */
export class Task {
  #place;
  #canCancel;
  #controller = null;
  #next = null;  // the arguments of the work that follows
  #following = null;  // ends once nothing waits to follow
  #current = Promise.resolve();  // ends with the work that goes on

  /** Show progress and errors at a place, and Cancel where something is left to do without the result. */
  constructor(place, canCancel = true) {
    this.#place = place;
    this.#canCancel = canCancel;
  }

  /**
   * Do some work, in place of what was going on.
   * @param {string} what shown while it lasts: "Drawing 8 images"
   * @param {function(AbortSignal, function(string))} work its second argument shows how far it is
   * @param {function} use takes what the work gives, unless it is cancelled or fails, and returns what to announce
   * @param {function(Error): boolean} tell may say itself, where it belongs, what went wrong, and returns whether it has
   */
  run(what, work, use, tell = () => false) {
    this.cancel();
    return (this.#current = this.#do(what, work, use, tell));
  }

  async #do(what, work, use, tell) {
    const controller = (this.#controller = new AbortController());
    const view = this.#progress(what, controller);
    try {
      const result = await this.#persist(work, controller.signal, view);
      controller.signal.throwIfAborted();
      view.stop();
      this.#place.replaceChildren();
      const text = use(result);
      if (this.#next === null) announce(text, this.#place);
    } catch (error) {
      if (this.#controller !== controller) return;  // something else has the place now
      if (controller.signal.aborted) {
        this.#place.replaceChildren(h("p", { className: "hint" }, "Cancelled."));
        announce("Cancelled.", this.#place);
      } else if (tell(error)) this.#place.replaceChildren();
      else this.#fail(error, () => this.run(what, work, use, tell));
    } finally {
      view.stop();
    }
  }

  /**
   * Do some work that settings decide, with arguments as for run: one at a time, and the latest wins. It reads the
   * settings when it begins; what is overtaken while it waits is never sent. The promise ends with the latest.
   */
  follow(...work) {
    this.#next = work;
    return (this.#following ??= this.#goOn());
  }

  async #goOn() {
    while (this.#next !== null) {
      await this.#current;  // what was asked for by itself is finished first
      if (this.#next !== null) await this.run(...this.#next);
    }
    this.#following = null;
  }

  /** Let go of the work, if any goes on. */
  cancel() {
    this.#next = null;
    this.#controller?.abort();
    this.#controller = null;
    this.#place.replaceChildren();
  }

  #progress(what, controller) {
    const begun = performance.now();
    let note = "";
    const text = h("p", {}, `${what}…`);
    const stop = () => {
      this.#next = null;
      controller.abort();
    };
    const cancel = this.#canCancel && h("button", { onclick: stop }, "Cancel");
    const line = h("div", { className: "progress" }, h("span", { className: "spinner" }), text, cancel);
    const tick = () => {
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      text.textContent = `${what}${note && `, ${note}`}… ${seconds} s`;
    };
    const show = setTimeout(() => {
      this.#place.replaceChildren(line);
      announce(`${what}…`, this.#place);
    }, QUIET_MS);
    const timer = setInterval(tick, 100);
    return {
      note: (value) => ((note = value), tick()),
      stop: () => (clearTimeout(show), clearInterval(timer)),
    };
  }

  async #persist(work, signal, view) {
    for (let attempt = 0; ; attempt++) {
      try {
        return await work(signal, view.note);
      } catch (error) {
        if (error.status !== 503 || attempt === RETRIES) throw error;
        for (let left = Math.ceil(error.retryAfter ?? 1); left > 0; left--) {
          view.note(`the server is busy (${error.message}), again in ${left} s`);
          await pause(1000, signal);
        }
        view.note("");
      }
    }
  }

  #fail(error, again) {
    if (error.status === 401) {
      this.#place.replaceChildren();
      document.dispatchEvent(new CustomEvent("glow:key-wanted", { detail: again }));
      return;
    }
    const text = h("p", {}, joined(" ", sentence(error.message), HINTS[error.status]));
    const id = error.requestId && h("p", { className: "request-id" }, `Request ${error.requestId}`);
    const retry = !REFUSED.includes(error.status) && h("button", { onclick: again }, "Try again");
    this.#place.replaceChildren(h("div", { className: "failure", role: "alert" }, text, id, retry));
  }
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
