// A brush that covers parts of a picture: strokes by pointer or touch, rectangles by numbers.

import { h, placeIn } from "./dom.js";
import { setError, slider } from "./fields.js";

const COLOUR = "#e6007e";
const SIDES = ["Left", "Top", "Width", "Height"];

/** The picture to paint over. What is painted is kept as parts of the picture's sides, so that it fits each of its sizes. */
export class Brush {
  #strokes = [];  // {points, size, isErasing} or {box}
  #image = h("img", { alt: "", draggable: false });
  #canvas = h("canvas", { role: "img", "aria-label": "The picture, and what is painted over it" });
  #erase = h("input", { type: "radio", name: "brush" });
  #size = slider({ id: "brush-size", label: "Size of the brush", min: 2, max: 40, step: 1, value: 12, digits: 0 });
  #undo = h("button", { onclick: () => this.#change(this.#strokes.slice(0, -1)) }, "Undo");
  #clear = h("button", { onclick: () => this.#change([]) }, "Clear");
  #numbers = SIDES.map((name) =>
    h("input", { type: "number", id: `brush-${name}`, required: true, inputMode: "numeric", "aria-describedby": "brush-error" }),
  );
  #sides = h("div", { className: "sides" }, ...this.#numbers.map((input, side) => labelled(input, SIDES[side])));
  #onchange;

  /** @param {function()} onchange is called when a visitor has painted, erased or taken something back */
  constructor(onchange) {
    this.#onchange = onchange;
    const paint = h("input", { type: "radio", name: "brush", checked: true });
    const tools = h(
      "div",
      { className: "choice", role: "radiogroup", "aria-label": "Brush" },
      h("label", {}, paint, " Paint"),
      h("label", {}, this.#erase, " Erase"),
    );
    const cover = h("button", { onclick: () => this.#cover() }, "Cover it");
    this.element = h(
      "div",
      { className: "brush" },
      h("div", { className: "canvas own-ratio" }, this.#image, this.#canvas),
      h("p", { className: "hint" }, "Paint over what is missing, or what is to go."),
      h("p", { id: "brush-error", className: "error" }),
      h("div", { className: "tools" }, tools, this.#undo, this.#clear),
      this.#size.element,
      h("details", {}, h("summary", {}, "A rectangle by numbers"), this.#sides, cover),
    );
    this.#listen();
  }

  /** Show a picture and what is painted over it. */
  show(url, [width, height]) {
    this.#image.src = url;
    Object.assign(this.#canvas, { width, height });
    this.#canvas.parentElement.style.setProperty("--aspect", width / height);
    this.#numbers.forEach((input, side) => {
      const first = side < 2 ? 0 : 1;  // a place, or a length
      Object.assign(input, { min: first, max: [width, height][side % 2] - 1 + first });
    });
    this.strokes = this.#strokes;
  }

  set strokes(strokes) {
    this.#strokes = strokes;
    this.#undo.disabled = this.#clear.disabled = strokes.length === 0;
    const { width, height } = this.#canvas;
    this.#canvas.getContext("2d").clearRect(0, 0, width, height);
    strokes.forEach((stroke) => this.#draw(stroke));
  }

  /** Say what is wrong with what is painted; null for nothing. */
  setError(text) {
    this.element.querySelector("#brush-error").textContent = text ?? "";
  }

  /** Return the mask, white where the picture is covered, as base64; null where it covers nothing, or all. */
  mask() {
    const { width, height } = this.#canvas;
    const mask = h("canvas", { width, height });
    const context = mask.getContext("2d");
    context.drawImage(this.#canvas, 0, 0);
    fill(context, "source-in", "white");
    fill(context, "destination-over", "black");
    const covered = context.getImageData(0, 0, width, height).data.filter((value, place) => place % 4 === 0 && value >= 128).length;
    return covered === 0 || covered === width * height ? null : mask.toDataURL("image/png").split(",")[1];
  }

  #change(strokes) {
    this.strokes = strokes;
    this.#onchange();
  }

  /** Draw a stroke from one of its points on. */
  #draw({ points, size, isErasing, box }, first = 0) {
    const { width, height } = this.#canvas;
    const context = this.#canvas.getContext("2d");
    context.globalCompositeOperation = isErasing ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = COLOUR;
    if (box) return context.fillRect(...box.map((part, side) => Math.round(part * [width, height][side % 2])));
    Object.assign(context, { lineWidth: Math.max(1.5, size * Math.max(width, height)), lineCap: "round", lineJoin: "round" });
    context.beginPath();
    for (const [x, y] of points.slice(first)) context.lineTo(x * width, y * height);
    if (points.length - first === 1) context.lineTo(points[first][0] * width + 0.01, points[first][1] * height);
    return context.stroke();
  }

  /** Return the numbers that are wrong, and say so until they are mended. */
  #wrongNumbers() {
    const wrong = this.#numbers.filter((input) => !input.validity.valid);
    const { width, height } = this.#canvas;
    const text = `Whole numbers within the picture of ${width}x${height} pixels, please; width and height from 1.`;
    this.#numbers.forEach((input) => setError(input, null));
    wrong.forEach((input) => setError(input, text));
    this.#sides.oninput = wrong.length ? () => this.#wrongNumbers() : null;
    return wrong;
  }

  #cover() {
    const [wrong] = this.#wrongNumbers();
    if (wrong) return wrong.focus();
    const { width, height } = this.#canvas;
    const box = this.#numbers.map((input, side) => input.valueAsNumber / [width, height][side % 2]);
    return this.#change([...this.#strokes, { box }]);
  }

  #listen() {
    const canvas = this.#canvas;
    let [stroke, pointer] = [null, null];  // a second finger paints nothing, and ends nothing
    const add = (event) => {
      stroke.points.push(placeIn(canvas, event));
      this.#draw(stroke, Math.max(0, stroke.points.length - 2));
    };
    const isPainting = (event) => stroke !== null && event.pointerId === pointer;
    const end = (event) => {
      if (!isPainting(event)) return;
      this.#change([...this.#strokes, stroke]);
      stroke = null;
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (stroke !== null || event.button !== 0) return;
      event.preventDefault();
      pointer = event.pointerId;
      canvas.setPointerCapture(pointer);
      stroke = { points: [], size: this.#size.value / 100, isErasing: this.#erase.checked };
      add(event);
    });
    canvas.addEventListener("pointermove", (event) => isPainting(event) && add(event));
    canvas.addEventListener("lostpointercapture", end);
  }
}

const labelled = (input, text) => h("label", { className: "field" }, h("span", {}, text), input);

function fill(context, how, colour) {
  Object.assign(context, { globalCompositeOperation: how, fillStyle: colour });
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
}
