// The square between four pictures, and the blend at its handle, which is moved by dragging or arrow keys.

import { downloadButton, h, letDrag } from "./dom.js";
import { download } from "./pictures.js";

const STEP = 0.05;  // per arrow key
const KEYS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
const SIDE = 5;  // pictures along each edge of the map

/** The positions of a map's pictures, row by row. */
export const MAP = Array.from({ length: SIDE ** 2 }, (_, n) => [(n % SIDE) / (SIDE - 1), Math.floor(n / SIDE) / (SIDE - 1)]);

const inside = (number) => Math.min(1, Math.max(0, Number(number.toFixed(2))));

/** Make the square, with its handle at [across, down], each from 0 to 1; onmove gets its position when the user moves it. */
export function makeSquare(place, at, onmove) {
  const image = h("img", { className: "large" });
  const inputs = ["Across", "Down"].map((name) =>
    h("input", { type: "range", className: "visually-hidden", min: 0, max: 1, step: 0.01, "aria-label": name }),
  );
  const handle = h("div", { className: "handle" }, ...inputs);
  const field = h("div", { className: "square", role: "group", "aria-label": "Position between the pictures" }, handle);
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
      // Both coordinates, because the arrow keys of each input move both.
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
    /** Show pictures under the handle, row by row: at least the corners. */
    showMap(pictures) {
      side = Math.sqrt(pictures.length);
      field.style.setProperty("--columns", side);
      field.replaceChildren(...pictures.map(({ url }) => h("img", { src: url, alt: "" })), handle);
      set(at);
    },
    show(blended, texts) {
      picture = blended;
      Object.assign(image, { src: picture.url, alt: picture.alt });
      notes.replaceChildren(...texts.map((text) => h("li", {}, text)));
    },
  };
}
