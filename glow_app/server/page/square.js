// The square between four pictures, and the picture at a place in it: the handle is dragged, or moved by the arrow keys.

import { downloadButton, h, letDrag } from "./dom.js";
import { download } from "./pictures.js";

const STEP = 0.05;  // of an arrow key
const KEYS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
const SIDE = 5;  // pictures along each edge of the map

/** The places of a map's pictures, row by row. */
export const MAP = Array.from({ length: SIDE ** 2 }, (_, n) => [(n % SIDE) / (SIDE - 1), Math.floor(n / SIDE) / (SIDE - 1)]);

const inside = (number) => Math.min(1, Math.max(0, Number(number.toFixed(2))));

/** Make the square, whose handle begins at [across, down], each from 0 to 1; onmove is given where a visitor moves it. */
export function makeSquare(place, at, onmove) {
  const image = h("img", { className: "large" });
  const inputs = ["Across", "Down"].map((name) =>
    h("input", { type: "range", className: "unseen", min: 0, max: 1, step: 0.01, "aria-label": name }),
  );
  const handle = h("div", { className: "handle" }, ...inputs);
  const field = h("div", { className: "square", role: "group", "aria-label": "Place between the pictures" }, handle);
  const notes = h("ul", { className: "notes" });
  const actions = h("div", { className: "actions" }, downloadButton(() => download(picture.url, picture.name)));
  place.replaceChildren(h("div", { className: "blend" }, image, field), notes, actions);
  let picture = null;
  let side = 2;  // pictures along each edge

  function set(next) {
    at = next.map(inside);
    const [across, down] = at.map((part) => `${Math.round(100 * part)} %`);
    // A corner is the middle of its picture.
    const [left, top] = at.map((part) => `${(100 * (part * (side - 1) + 0.5)) / side}%`);
    Object.assign(handle.style, { left, top });
    inputs.forEach((input, axis) => {
      input.value = at[axis];
      // Both places, as the keys of the one move the other too.
      input.setAttribute("aria-valuetext", `${across} across, ${down} down`);
    });
  }

  function move(next) {
    set(next);
    onmove(at);
  }

  letDrag(field, inputs[0], (parts) => move(parts.map((part) => (part * side - 0.5) / (side - 1))));
  field.addEventListener("keydown", (event) => {
    const step = KEYS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    move(at.map((part, axis) => part + step[axis]));
  });
  field.addEventListener("input", () => move(inputs.map((input) => Number(input.value))));
  set(at);
  return {
    /** Show pictures of the square under the handle, row by row: its corners at least. */
    showMap(pictures) {
      side = Math.sqrt(pictures.length);
      field.style.setProperty("--columns", side);
      field.replaceChildren(...pictures.map(({ url }) => h("img", { src: url, alt: "" })), handle);
      set(at);
    },
    /** Show the picture at the handle's place. */
    show(blended, texts) {
      picture = blended;
      Object.assign(image, { src: picture.url, alt: picture.alt });
      notes.replaceChildren(...texts.map((text) => h("li", {}, text)));
    },
  };
}
