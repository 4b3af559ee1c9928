// What a picture could have been: draws to choose from, their mean and spread, and the chosen one over the picture.

import { announce, downloadButton, h, joined, letDrag } from "./dom.js";
import { download, fromPng } from "./pictures.js";
import { temperatureText } from "./temperature.js";

const SMOOTH = 512;  // pixels a side, beyond which a picture is larger than it is shown
const WILD = 64;  // grey levels beyond black and white above which the server draws a part again with less noise

/** Show in a place what show() is given, to choose from; choice and divider stay as other pictures take their place. */
export function makeRestored(place) {
  const compare = makeCompare();
  const choices = h("div", { className: "choices", role: "group", "aria-label": "Pictures to compare" });
  const legend = h("p", { className: "hint" }, "Mean: the average of the draws. Spread: bright where the model does not know.");
  const notes = h("p", { className: "notes" });
  const actions = h("div", { className: "actions" }, downloadButton(() => download(chosen.url, chosen.name)));
  place.replaceChildren(compare.element, choices, legend, notes, actions);
  let before = null;
  let chosen = null;

  function choice(picture) {
    const onclick = () => {
      choose(picture);
      announce(picture.alt);
    };
    return h("button", { onclick, "data-caption": picture.caption }, h("img", { src: picture.url, alt: "" }), picture.caption);
  }

  function choose(picture) {
    chosen = picture;
    compare.show(before, picture);
    for (const button of choices.children) button.ariaPressed = button.dataset.caption === picture.caption;
  }

  return {
    /** Show what the server has made of a picture, as a request said. */
    show(answer, source, request) {
      const pictures = picturesOf(answer, source);
      before = fromPng(answer.given);
      notes.textContent = notesOf(answer, request);
      legend.hidden = answer.images.length === 1;
      choices.replaceChildren(...pictures.map(choice));
      choose(pictures.find((picture) => picture.caption === chosen?.caption) ?? pictures[0]);
    },
  };
}

/** Return {element, show(before, after)}: two pictures of one size, and what divides them, dragged or moved by arrow keys. */
function makeCompare() {
  const [before, after] = [h("img", { alt: "" }), h("img", { onload: fit })];
  const names = ["Before", "After"].map((name) => h("span", { className: "side", "aria-hidden": "true" }, name));
  const divider = h("span", { className: "divider" });
  const range = { type: "range", min: 0, max: 100, oninput: divide };
  const input = h("input", { ...range, className: "unseen", "aria-label": "Before and after" });
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
  const show = (first, second) => {
    before.src = first.url;
    Object.assign(after, { src: second.url, alt: second.alt });
  };
  return { element, show };
}

/** Return the draws, where there are several their mean and spread, and of a sample the picture before its damage. */
function picturesOf({ images, mean, spread }, source) {
  const stem = source.name.replace(/\.[^.]*$/, "");
  const picture = (base64, caption, alt) => ({ ...fromPng(base64, `${stem}_${caption.replace(" ", "")}.png`, alt), caption });
  const pictures = images.map(({ image, seed }) => picture(image, `seed ${seed}`, `Draw of seed ${seed}`));
  const [average, spreads] = [[mean, "mean", "Mean of the draws"], [spread, "spread", "Spread of the draws"]];
  if (images.length > 1) pictures.push(picture(...average), picture(...spreads));
  if (source.settings) pictures.push({ ...source, caption: "original", alt: "The sample before it was damaged" });
  return pictures;
}

function notesOf({ temperature, sigma, overshoot, note }, request) {
  const levels = new Set(temperature).size === 1 ? temperature[0] : temperature;
  const wild = overshoot.filter((most) => most > WILD).length;
  return joined(
    " · ",
    `temperature ${temperatureText(levels, ", ")}`,
    sigma !== null && `noise level ${sigma}${request.sigma === null ? ", estimated" : ""}`,
    wild > 0 && `${wild} of ${overshoot.length} draws went out of range in places, which were drawn again with less noise`,
    note,
  );
}
