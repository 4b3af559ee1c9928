// One piece of work at a time, with its progress, a Cancel button and its errors.

import { announce, h, joined } from "./dom.js";

const PROGRESS_DELAY_MS = 200;  // shorter work shows no progress, which would only flicker
const REST_MS = 80;  // after the last change, when the whole result replaces the preview
const RETRIES = 3;  // of a request while the server is busy

const REFUSED = [413, 415, 422];  // the same request would fail again
const HINTS = {
  413: "Choose a smaller picture, or fewer at a time.",
  504: "Ask for less at a time, or try again later.",
};

/** The work of one panel. */
export class Task {
  #place;
  #canCancel;
  #preview;
  #controller = null;
  #next = null;  // the arguments of the next work
  #following = null;  // a promise that ends when no work is left
  #current = Promise.resolve();  // ends with the current work
  #rest = 0;  // the timer of a whole result after a preview; -1 when it has started

  /** Show progress and errors in a place, and Cancel if it is possible. With a preview's size, follow() makes that first. */
  constructor(place, canCancel = true, preview = undefined) {
    this.#place = place;
    this.#canCancel = canCancel;
    this.#preview = preview;
  }

  /**
   * Start work, which is described by what ("Drawing 8 images"); cancel the current work. work gets an AbortSignal and
   * {note(text), share(number)}, which show its progress; use takes its result, unless it is cancelled or fails, and
   * returns what to announce; both also get the size of a preview; onerror returns whether it has shown the error itself.
   */
  run(what, work, use, onerror = () => false, size = undefined) {
    this.cancel();
    return (this.#current = this.#start(what, work, use, onerror, size));
  }

  /** Return whether the result was used. */
  async #start(what, work, use, onerror, size) {
    const controller = (this.#controller = new AbortController());
    const view = this.#progress(what, controller);
    try {
      const result = await this.#retry((...each) => work(...each, size), controller.signal, view);
      controller.signal.throwIfAborted();
      view.stop();
      this.#place.replaceChildren();
      const text = use(result, size);
      if (this.#next === null && !size) announce(text, this.#place);
      return true;
    } catch (error) {
      if (this.#controller !== controller) return false;  // other work has started
      if (controller.signal.aborted) {
        this.#place.replaceChildren(h("p", { className: "hint" }, "Cancelled."));
        announce("Cancelled.", this.#place);
      } else if (onerror(error)) this.#place.replaceChildren();
      else this.#fail(error, () => this.run(what, work, use, onerror));
    } finally {
      view.stop();
    }
    return false;
  }

  /**
   * Start work that depends on settings, after the current work; arguments are as for run. Only the latest runs: work
   * that is replaced while it waits is never sent. A preview is replaced by the whole result when the settings rest.
   */
  follow(what, work, use, onerror) {
    if (this.#rest !== 0) this.cancel();  // the result for settings that have changed
    this.#next = [what, work, use, onerror];
    this.#following ??= this.#runLatest();
  }

  async #runLatest() {
    while (this.#next !== null) {
      await this.#current;
      const work = this.#next;
      if (work === null || !(await this.run(...work, this.#preview)) || !this.#preview || this.#next) continue;
      this.#rest = setTimeout(() => (this.run(...work), (this.#rest = -1)), REST_MS);
    }
    this.#following = null;
  }

  /** Cancel the current and the next work. */
  cancel() {
    clearTimeout(this.#rest);
    this.#rest = 0;
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
    const bar = h("progress", { "aria-label": "Progress" });
    const line = h("div", { className: "progress" }, bar, text, cancel);
    const tick = () => {
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      text.textContent = `${what}${note && `, ${note}`}… ${seconds} s`;
    };
    const show = setTimeout(() => {
      this.#place.replaceChildren(line);
      announce(`${what}…`, this.#place);
    }, PROGRESS_DELAY_MS);
    const timer = setInterval(tick, 100);
    return {
      note: (value) => ((note = value), tick()),
      share: (value) => (bar.value = value),
      stop: () => (clearTimeout(show), clearInterval(timer)),
    };
  }

  async #retry(work, signal, view) {
    for (let attempt = 0; ; attempt++) {
      try {
        return await work(signal, view);
      } catch (error) {
        if (error.status !== 503 || attempt === RETRIES) throw error;
        for (let left = Math.ceil(error.retryAfter ?? 1); left > 0; left--) {
          view.note(`the server is busy; retrying in ${left} s`);
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
