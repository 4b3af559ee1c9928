// The newest samples, small, where another tab takes pictures: a click takes one.

import { h } from "./dom.js";

/** A row of samples. */
export class Shelf {
  #place;
  #take;

  /**
   * @param {HTMLElement} place hidden until there are samples; the row is its last child
   * @param {function(object)} take is given the sample that is chosen
   */
  constructor(place, take) {
    this.#place = place;
    this.#take = take;
  }

  /** Show other samples. */
  show(pictures) {
    const button = (picture) => {
      const title = [`Take seed ${picture.settings.seed}`, picture.kind].filter(Boolean).join(", ");
      const image = h("img", { src: picture.url, alt: "" });
      return h("button", { type: "button", className: "picture", title, "aria-label": title, onclick: () => this.#take(picture) }, image);
    };
    this.#place.hidden = false;
    this.#place.lastElementChild.replaceChildren(...pictures.map(button));
  }
}
