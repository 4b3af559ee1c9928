// A picture before and after, with a divider that is moved by dragging or arrow keys; enlarged, both are dragged or scrolled.

import { h, letDrag, placeIn } from "./dom.js";
import { choice } from "./fields.js";

const ZOOMS = { Fit: null, "1:1": 1, "2:1": 2, "4:1": 4 };  // pixels of the screen for each of the picture
const PIXELATED = 2;  // from which its pixels are shown as squares

/** Return {element, zooms, show(before, after)}, the second being the switch that enlarges. */
export function makeCompare() {
  const [before, after] = [h("img", { alt: "", draggable: false }), h("img", { draggable: false, onload: fit })];
  const sheet = h("div", { className: "sheet" }, before, after);
  const pane = h("div", { className: "pane", role: "group", "aria-label": "Enlarged picture, which scrolls", onscroll: clip }, sheet);
  const names = ["Before", "After"].map((name) => h("span", { className: "side", "aria-hidden": "true" }, name));
  const grip = h("span", { className: "grip" });  // all of the picture, or the divider if it is enlarged
  const range = { type: "range", min: 0, max: 100, oninput: divide };
  const input = h("input", { ...range, className: "visually-hidden", "aria-label": "Before and after" });
  const element = h("div", { className: "compare own-ratio" }, pane, ...names, h("span", { className: "divider" }), grip, input);
  const zooms = choice({ name: "zoom", label: "Zoom", texts: Object.keys(ZOOMS), oninput: () => zoom() });

  function fit() {
    element.style.setProperty("--aspect", after.naturalWidth / after.naturalHeight);
    zoom();
  }

  /** Show the picture in the chosen size, keeping a point of it in its place: [across, down] in the picture and in the frame. */
  function zoom([x, y] = middle(), [across, down] = [0.5, 0.5]) {
    const factor = ZOOMS[zooms.value];
    sheet.style.width = factor ? `${(factor * after.naturalWidth) / devicePixelRatio}px` : "100%";
    element.classList.toggle("zoomed", factor !== null);
    pane.tabIndex = factor ? 0 : -1;
    pane.scrollTo(x * sheet.offsetWidth - across * pane.clientWidth, y * sheet.offsetHeight - down * pane.clientHeight);
    element.classList.toggle("smooth", (sheet.offsetWidth * devicePixelRatio) / after.naturalWidth < PIXELATED);
    clip();
  }

  const middle = () => [
    (pane.scrollLeft + pane.clientWidth / 2) / sheet.offsetWidth,
    (pane.scrollTop + pane.clientHeight / 2) / sheet.offsetHeight,
  ];

  function divide() {
    input.setAttribute("aria-valuetext", `${input.value} % before`);
    element.style.setProperty("--at", `${input.value}%`);
    clip();
  }

  function clip() {
    after.style.clipPath = `inset(0 0 0 ${pane.scrollLeft + (input.value / 100) * pane.clientWidth - sheet.offsetLeft}px)`;
  }

  letDrag(grip, input, ([across]) => ((input.value = 100 * across), divide()), element);
  pane.addEventListener("pointerdown", (event) => event.pointerType === "mouse" && pane.setPointerCapture(event.pointerId));
  pane.addEventListener("pointermove", (event) => {
    if (pane.hasPointerCapture(event.pointerId)) pane.scrollBy(-event.movementX, -event.movementY);
  });
  element.addEventListener("dblclick", (event) => {
    const [inside, within] = [sheet, pane].map((part) => placeIn(part, event));
    zooms.value = zooms.value === "Fit" ? "1:1" : "Fit";
    zoom(inside, within);
    input.value = 50;  // the clicks have moved it
    divide();
  });
  new ResizeObserver(() => zoom()).observe(pane);
  divide();  // in the middle
  const show = (first, second) => {
    before.src = first.url;
    Object.assign(after, { src: second.url, alt: second.alt });
  };
  return { element, zooms: zooms.element, show };
}
