// What a picture could have been: draws to choose from, their mean and spread, and the chosen one beside the picture.

import { Compare } from "./compare.js";
import { announce, downloadButton, h, joined } from "./dom.js";
import { download, fromPng } from "./pictures.js";
import { temperatureText } from "./temperature.js";

const WILD = 64;  // grey levels beyond black and white above which the server draws a part again with less noise

/** Shows pictures to choose from; the choice stays as others take their place. */
export class Restored {
  #compare = new Compare();
  #choices = h("div", { className: "choices", role: "group", "aria-label": "Pictures to compare" });
  #legend = h("p", { className: "hint" }, "Mean: the average of the draws. Spread: bright where the model does not know.");
  #notes = h("p", { className: "notes" });
  #pictures = [];
  #before;
  #chosen = null;  // the caption

  constructor(place) {
    const save = () => download(this.#picture.url, this.#picture.name);
    const actions = h("div", { className: "actions" }, downloadButton(save));
    place.replaceChildren(this.#compare.element, this.#choices, this.#legend, this.#notes, actions);
  }

  get #picture() {
    return this.#pictures.find((picture) => picture.caption === this.#chosen) ?? this.#pictures[0];
  }

  /** Show what the server has made of a picture, as a request said. */
  show(answer, source, request) {
    this.#before = fromPng(answer.given);
    this.#pictures = picturesOf(answer, source);
    this.#notes.textContent = notesOf(answer, request);
    this.#legend.hidden = answer.images.length === 1;
    this.#choices.replaceChildren(...this.#pictures.map((picture) => this.#choice(picture)));
    this.#choose(this.#picture);
  }

  #choice(picture) {
    const choose = () => {
      this.#choose(picture);
      announce(picture.alt);
    };
    const image = h("img", { src: picture.url, alt: "" });
    return h("button", { onclick: choose }, image, picture.caption);
  }

  #choose(picture) {
    this.#chosen = picture.caption;
    this.#compare.show(this.#before, picture);
    [...this.#choices.children].forEach((button, place) => button.setAttribute("aria-pressed", this.#pictures[place] === picture));
  }
}

/** Return the draws, where there are several their mean and spread, and of a sample the picture before its damage. */
function picturesOf({ images, mean, spread }, source) {
  const stem = source.name.replace(/\.[^.]*$/, "");
  const picture = (base64, caption, alt, end) => ({ ...fromPng(base64, `${stem}_${end}.png`, alt), caption });
  const pictures = images.map((one) => picture(one.image, `seed ${one.seed}`, `Draw of seed ${one.seed}`, `seed${one.seed}`));
  if (images.length > 1) pictures.push(picture(mean, "mean", "Mean of the draws", "mean"), picture(spread, "spread", "Spread of the draws", "spread"));
  if (source.settings) pictures.push({ ...source, caption: "original", alt: "The sample before it was damaged" });
  return pictures;
}

function notesOf({ temperature, sigma, overshoot, note }, request) {
  const levels = new Set(temperature).size === 1 ? temperature[0] : temperature;
  const wild = overshoot.filter((most) => most > WILD).length;
  const notes = [
    `temperature ${temperatureText(levels, ", ")}`,
    sigma === null ? null : `noise level ${sigma}${request.sigma === null ? ", estimated" : ""}`,
    wild ? `${wild} of ${overshoot.length} draws went out of range in places, which were drawn again with less noise` : null,
    note,
  ];
  return notes.filter(Boolean).join(" · ");
}
