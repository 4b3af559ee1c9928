// The newest samples, small, where another tab takes pictures: a click takes one.

import { h, joined } from "./dom.js";

/**
 * Make a row of samples.
 * @param {HTMLElement} place hidden until there are samples
 * @param {function(object)} take is given the sample that is chosen
 * @returns {function(object[])} which shows other samples
 */
export function makeShelf(place, take) {
  const row = h("div", { className: "shelf", role: "group", "aria-label": "Samples" });
  place.append(row);

  function button(picture) {
    const title = joined(", ", `Take seed ${picture.settings.seed}`, picture.kind);
    const image = h("img", { src: picture.url, alt: "" });
    return h("button", { className: "picture", title, "aria-label": title, onclick: () => take(picture) }, image);
  }

  return (pictures) => {
    place.hidden = false;
    row.replaceChildren(...pictures.map(button));
  };
}
