// Frames to look through: a slider, play and pause, and all of them small below.

import { downloadButton, h, icon } from "./dom.js";
import { fillRange } from "./fields.js";
import { download } from "./pictures.js";

const FRAME_MS = 120;
const A_ROW = 9;  // frames below the player
let timer = 0;  // of the one player that plays

/** Shows frames, and goes on where it stands as others take their place. */
export class Player {
  #place;
  #pictures = [];
  #image = h("img", { className: "large" });
  #position = h("input", { type: "range", min: 0, step: 1, value: 0, "aria-label": "Frame" });
  #play = h("button", { className: "primary" });
  #strip = h("div", { className: "strip", "aria-hidden": "true" });
  #notes = h("ul", { className: "notes" });
  #step = 1;
  #at;
  #onmove;

  /**
   * @param {HTMLElement} place
   * @param {number} at where it stands, from 0 at the first frame to 1 at the last
   * @param {{files: string[], onsave: function(string), onmove: function(number)}} uses names of the files that all
   *   frames can be saved as, what saves one of them, and what is given where it stands
   */
  constructor(place, at, { files, onsave, onmove }) {
    this.#place = place;
    this.#at = at;
    this.#onmove = onmove;
    this.#play.addEventListener("click", () => (timer ? this.#halt() : this.#start()));
    this.#position.addEventListener("input", () => (this.#halt(), this.#go(Number(this.#position.value))));
    this.#halt();
    const here = () => this.#pictures[Number(this.#position.value)];
    const frame = downloadButton(() => download(here().url, here().name), "Frame");
    const buttons = files.map((name) => downloadButton(() => onsave(name), name));
    const bar = h("div", { className: "player" }, this.#play, this.#position);
    const actions = h("div", { className: "actions" }, frame, ...buttons);
    place.replaceChildren(this.#image, bar, this.#strip, this.#notes, actions);
  }

  /** Show pictures, one a frame, and notes below them. */
  show(pictures, notes) {
    this.#pictures = pictures;
    this.#position.max = pictures.length - 1;
    this.#strip.style.setProperty("--columns", Math.min(pictures.length, A_ROW));
    const small = (picture, number) => h("img", { src: picture.url, alt: "", onclick: () => (this.#halt(), this.#go(number)) });
    this.#strip.replaceChildren(...pictures.map(small));
    this.#notes.replaceChildren(...notes.map((text) => h("li", {}, text)));
    this.#show(Math.round(this.#at * (pictures.length - 1)));
  }

  #go(number) {
    this.#at = number / (this.#pictures.length - 1);
    this.#show(number);
    this.#onmove(this.#at);
  }

  #show(number) {
    this.#position.value = number;
    Object.assign(this.#image, { src: this.#pictures[number].url, alt: this.#pictures[number].alt });
    this.#position.setAttribute("aria-valuetext", this.#pictures[number].alt);
    fillRange(this.#position);
    [...this.#strip.children].forEach((small, other) => small.classList.toggle("here", other === number));
  }

  #start() {
    this.#label("pause", "Pause");
    timer = setInterval(() => {
      if (!this.#image.isConnected || this.#place.closest("[hidden]")) return this.#halt();
      const number = Number(this.#position.value);
      const isEnd = number + this.#step < 0 || number + this.#step >= this.#pictures.length;
      if (isEnd) this.#step = -this.#step;  // there and back
      return this.#go(number + this.#step);
    }, FRAME_MS);
  }

  #halt() {
    clearInterval(timer);
    timer = 0;
    this.#label("play", "Play");
  }

  #label(name, text) {
    this.#play.replaceChildren(icon(name));
    this.#play.setAttribute("aria-label", text);
  }
}
