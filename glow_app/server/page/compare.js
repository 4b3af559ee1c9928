// A picture before and after, one over the other: what divides them is dragged, or moved by the arrow keys.

import { h, letDrag } from "./dom.js";

const SMOOTH = 512;  // pixels a side, beyond which a picture is larger than it is shown

/** Shows two pictures of one size: the first to the left of the divider, the second to its right. */
export class Compare {
  #before = h("img", { alt: "" });
  #after = h("img");
  #input = h("input", { type: "range", className: "unseen", min: 0, max: 100, step: 1, value: 50, "aria-label": "Before and after" });

  constructor() {
    const names = ["Before", "After"].map((name) => h("span", { className: "side", "aria-hidden": "true" }, name));
    this.element = h("div", { className: "compare own-ratio" }, this.#before, this.#after, ...names, h("span", { className: "divider" }), this.#input);
    this.#after.addEventListener("load", () => {
      const { naturalWidth: width, naturalHeight: height } = this.#after;
      this.element.style.setProperty("--aspect", width / height);
      this.element.classList.toggle("smooth", Math.max(width, height) > SMOOTH);
    });
    this.#input.addEventListener("input", () => this.#set(Number(this.#input.value)));
    letDrag(this.element, this.#input, ([across]) => this.#set(100 * across));
    this.#set(50);
  }

  /** Show other pictures; the divider stays. */
  show(before, after) {
    this.#before.src = before.url;
    Object.assign(this.#after, { src: after.url, alt: after.alt });
  }

  #set(percent) {
    this.#input.value = percent;
    this.#input.setAttribute("aria-valuetext", `${this.#input.value} % before`);
    this.element.style.setProperty("--at", `${this.#input.value}%`);
  }
}
