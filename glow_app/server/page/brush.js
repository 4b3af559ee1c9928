// A brush that covers parts of a picture: strokes by pointer or touch, and rectangles by numbers.

import { h, placeIn } from "./dom.js";
import { choice, slider } from "./fields.js";

const COLOUR = "#e6007e";
const SIDES = ["Left", "Top", "Width", "Height"];

/**
 * Make the picture to paint over; onchange is called when the user has painted, erased or undone something. Strokes are
 * kept in fractions of the picture's sides, so that they fit any size.
 */
export function makeBrush(onchange) {
  let strokes = [];  // {points, size, isErasing} or {box}
  const image = h("img", { alt: "", draggable: false });
  const canvas = h("canvas", { role: "img", "aria-label": "The picture and the painted mask" });
  const frame = h("div", { className: "canvas own-ratio" }, image, canvas);
  const error = h("p", { id: "brush-error", className: "error" });
  const tool = choice({ name: "brush", label: "Brush", texts: ["Paint", "Erase"] });
  const size = slider({ id: "brush-size", label: "Brush size", min: 2, max: 40, step: 1, value: 12, digits: 0 });
  const undo = h("button", { onclick: () => change(strokes.slice(0, -1)) }, "Undo");
  const clear = h("button", { onclick: () => change([]) }, "Clear");
  const numbers = SIDES.map((name) => h("input", { type: "number", id: `brush-${name}`, required: true, inputMode: "numeric" }));
  const fields = numbers.map((input, side) => h("label", { className: "field" }, h("span", {}, SIDES[side]), input));
  const cover = h("button", { onclick: coverBox }, "Cover");
  const element = h(
    "div",
    { className: "brush" },
    frame,
    h("p", { className: "hint" }, "Paint over what is missing or should be removed."),
    error,
    h("div", { className: "actions" }, tool.element, undo, clear),
    size.element,
    h("details", {}, h("summary", {}, "Rectangle by numbers"), h("div", { className: "sides" }, ...fields), cover),
  );

  function setStrokes(others) {
    strokes = others;
    undo.disabled = clear.disabled = strokes.length === 0;
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    strokes.forEach((stroke) => draw(stroke));
  }

  function change(others) {
    setStrokes(others);
    onchange();
  }

  /** Draw a stroke, from one of its points on. */
  function draw(stroke, first = 0) {
    const { width, height } = canvas;
    const context = canvas.getContext("2d");
    context.globalCompositeOperation = stroke.isErasing ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = COLOUR;
    if (stroke.box) {
      context.fillRect(...stroke.box.map((part, side) => Math.round(part * [width, height][side % 2])));
      return;
    }
    const lineWidth = Math.max(1.5, stroke.size * Math.max(width, height));
    Object.assign(context, { lineWidth, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    const points = stroke.points.slice(first);
    for (const [x, y] of points) context.lineTo(x * width, y * height);
    if (points.length === 1) context.lineTo(points[0][0] * width + 0.01, points[0][1] * height);
    context.stroke();
  }

  function coverBox() {
    const box = numbers.map((input, side) => input.valueAsNumber / [canvas.width, canvas.height][side % 2]);
    if (numbers.every((input) => input.reportValidity())) change([...strokes, { box }]);
  }

  let stroke = null;  // being painted
  const isPainting = (event) => stroke !== null && event.isPrimary;  // a second finger is ignored

  function add(event) {
    stroke.points.push(placeIn(canvas, event));
    draw(stroke, Math.max(0, stroke.points.length - 2));
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    stroke = { points: [], size: size.value / 100, isErasing: tool.value === "Erase" };
    add(event);
  });
  canvas.addEventListener("pointermove", (event) => isPainting(event) && add(event));
  canvas.addEventListener("lostpointercapture", (event) => {
    if (!isPainting(event)) return;
    change([...strokes, stroke]);
    stroke = null;
  });

  return {
    element,
    setStrokes,
    show(url, [width, height]) {
      image.src = url;
      Object.assign(canvas, { width, height });
      frame.style.setProperty("--aspect", width / height);
      numbers.forEach((input, side) => {
        const first = side < 2 ? 0 : 1;  // a position, or a length
        Object.assign(input, { min: first, max: [width, height][side % 2] - 1 + first });
      });
      setStrokes(strokes);
    },
    /** Show what is wrong with the mask; null clears it. */
    setError(text) {
      error.textContent = text ?? "";
    },
    /** Promise the mask as a PNG, white where the picture is covered; null if it covers nothing or everything. */
    async mask() {
      const { width, height } = canvas;
      const mask = h("canvas", { width, height });
      const context = mask.getContext("2d");
      context.drawImage(canvas, 0, 0);
      fill(context, "source-in", "white");
      fill(context, "destination-over", "black");
      const { data } = context.getImageData(0, 0, width, height);
      const covered = data.filter((value, place) => place % 4 === 0 && value >= 128).length;
      return covered === 0 || covered === width * height ? null : new Promise((resolve) => mask.toBlob(resolve));
    },
  };
}

function fill(context, how, colour) {
  Object.assign(context, { globalCompositeOperation: how, fillStyle: colour });
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
}
