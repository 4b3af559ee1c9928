// The square between four pictures, and the picture at a place in it: the handle is dragged, or moved by the arrow keys.

import { downloadButton, h, letDrag } from "./dom.js";
import { download } from "./pictures.js";

const STEP = 0.05;  // of an arrow key
const KEYS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
const SIDE = 5;  // pictures along each edge of the map

/** The places of a map's pictures, row by row. */
export const MAP = Array.from({ length: SIDE ** 2 }, (_, n) => [(n % SIDE) / (SIDE - 1), Math.floor(n / SIDE) / (SIDE - 1)]);

const inside = (number) => Math.min(1, Math.max(0, Number(number.toFixed(2))));

/** Shows the picture at a place, [across, down], each from 0 to 1. */
export class Square {
  #image = h("img", { className: "large" });
  #inputs = ["Across", "Down"].map((name) =>
    h("input", { type: "range", className: "unseen", min: 0, max: 1, step: 0.01, "aria-label": name }),
  );
  #handle = h("div", { className: "handle" }, ...this.#inputs);
  #field = h("div", { className: "square", role: "group", "aria-label": "Place between the pictures" }, this.#handle);
  #side = 2;
  #notes = h("ul", { className: "notes" });
  #picture;
  #at;
  #onmove;

  /**
   * @param {HTMLElement} place
   * @param {number[]} at where the handle begins
   * @param {function(number[])} onmove is given where a visitor moves it
   */
  constructor(place, at, onmove) {
    this.#onmove = onmove;
    this.#set(at);
    const save = () => download(this.#picture.url, this.#picture.name);
    const actions = h("div", { className: "actions" }, downloadButton(save));
    place.replaceChildren(h("div", { className: "blend" }, this.#image, this.#field), this.#notes, actions);
    this.#listen();
  }

  /** Show pictures of the square under the handle, row by row: its corners at least. */
  showMap(pictures) {
    this.#side = Math.sqrt(pictures.length);
    this.#field.style.setProperty("--columns", this.#side);
    this.#field.replaceChildren(...pictures.map(({ url }) => h("img", { src: url, alt: "" })), this.#handle);
    this.#set(this.#at);
  }

  /** Show the picture at the handle's place. */
  show(picture, notes) {
    this.#picture = picture;
    Object.assign(this.#image, { src: picture.url, alt: picture.alt });
    this.#notes.replaceChildren(...notes.map((text) => h("li", {}, text)));
  }

  #set(at) {
    this.#at = at.map(inside);
    const [across, down] = this.#at.map((part) => `${Math.round(100 * part)} %`);
    // A corner is the middle of its picture.
    const [left, top] = this.#at.map((part) => `${(100 * (part * (this.#side - 1) + 0.5)) / this.#side}%`);
    Object.assign(this.#handle.style, { left, top });
    this.#inputs.forEach((input, axis) => {
      input.value = this.#at[axis];
      // Both places, as the keys of the one move the other too.
      input.setAttribute("aria-valuetext", `${across} across, ${down} down`);
    });
  }

  #move(at) {
    this.#set(at);
    this.#onmove(this.#at);
  }

  #listen() {
    const field = this.#field;
    letDrag(field, this.#inputs[0], (parts) => this.#move(parts.map((part) => (part * this.#side - 0.5) / (this.#side - 1))));
    field.addEventListener("keydown", (event) => {
      const step = KEYS[event.key];
      if (step === undefined) return;
      event.preventDefault();
      this.#move(this.#at.map((part, axis) => part + step[axis]));
    });
    field.addEventListener("input", () => this.#move(this.#inputs.map((input) => Number(input.value))));
  }
}
