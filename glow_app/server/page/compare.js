// A picture before and after, one over the other: what divides them is dragged, or moved by the arrow keys.

import { h, letDrag } from "./dom.js";

const SMOOTH = 512;  // pixels a side, beyond which a picture is larger than it is shown

/** Return {element, show(before, after)}: two pictures of one size, the first to the left of the divider. */
export function makeCompare() {
  const [before, after] = [h("img", { alt: "" }), h("img", { onload: fit })];
  const names = ["Before", "After"].map((name) => h("span", { className: "side", "aria-hidden": "true" }, name));
  const divider = h("span", { className: "divider" });
  const input = h("input", { type: "range", min: 0, max: 100, className: "unseen", "aria-label": "Before and after", oninput: divide });
  const element = h("div", { className: "compare own-ratio" }, before, after, ...names, divider, input);

  function fit() {
    const { naturalWidth: width, naturalHeight: height } = after;
    element.style.setProperty("--aspect", width / height);
    element.classList.toggle("smooth", Math.max(width, height) > SMOOTH);
  }

  function divide() {
    input.setAttribute("aria-valuetext", `${input.value} % before`);
    element.style.setProperty("--at", `${input.value}%`);
  }

  letDrag(element, input, ([across]) => {
    input.value = 100 * across;
    divide();
  });
  divide();  // in the middle
  return {
    element,
    /** Show other pictures; the divider stays. */
    show(first, second) {
      before.src = first.url;
      Object.assign(after, { src: second.url, alt: second.alt });
    },
  };
}
