// The gallery: what was drawn, one batch after the other, the newest first.

import { byId, h, icon, reveal } from "./dom.js";
import { settingsText } from "./drawn.js";
import { download } from "./pictures.js";

const SHORT = 6;  // digits of a seed that stand beside the buttons
const MOST = 256;  // pictures kept, so that the page does not grow for ever

/** Pictures that were drawn together, and change together while a setting does. */
export class Batch {
  #pictures;
  #title = h("h3");
  #cards;
  #element;

  /**
   * @param {object[]} pictures
   * @param {object} uses functions by name: open is one of pictures and the place of one of them, reuse of settings
   */
  constructor(pictures, uses) {
    this.#cards = pictures.map((_, place) => new Card(() => this.#pictures, place, uses));
    const list = h("ul", { className: "cards" }, ...this.#cards.map((card) => card.element));
    this.#element = h("div", { className: "batch", role: "group" }, this.#title, list);
    this.show(pictures);
  }

  /** The pictures that are shown. */
  get pictures() {
    return this.#pictures;
  }

  /** Show other pictures in place, as many as before. */
  show(pictures) {
    this.#pictures = pictures;
    this.#title.textContent = titleOf(pictures);
    this.#element.setAttribute("aria-label", titleOf(pictures));
    this.#cards.forEach((card, place) => card.show(pictures[place]));
  }

  /** Put the batch on top of the gallery, and drop what is too old. */
  addToGallery() {
    const gallery = byId("gallery");
    gallery.querySelector(".empty")?.remove();
    gallery.prepend(this.#element);
    const most = Math.max(MOST, this.#pictures.length);
    while (gallery.querySelectorAll(".card").length > most) gallery.lastElementChild.remove();
  }

  /** Scroll to the batch, where it is out of sight. */
  reveal() {
    reveal(this.#element);
  }
}

class Card {
  #image = h("img");
  #foot;
  #seed = h("span", { className: "seed" });
  #kind = h("span", { className: "kind" });
  #reuse;
  #download;

  constructor(pictures, place, uses) {
    const picture = () => pictures()[place];
    const open = () => uses.open(pictures(), place);
    this.#reuse = iconButton("reuse", () => uses.reuse(picture().settings));
    this.#download = iconButton("download", () => download(picture().url, picture().name));
    this.#foot = h("div", { className: "card-foot" }, this.#seed, this.#kind, this.#reuse, this.#download);
    const enlarge = h("button", { type: "button", className: "picture", title: "Enlarge", onclick: open }, this.#image);
    this.element = h("li", { className: "card" }, enlarge, this.#foot);
  }

  show(picture) {
    const { seed } = picture.settings;
    Object.assign(this.#image, { src: picture.url, alt: picture.alt });
    this.#foot.classList.toggle("long", String(seed).length > SHORT);
    this.#seed.textContent = `seed ${seed}`;
    this.#kind.textContent = picture.kind ?? "";
    this.#kind.hidden = picture.kind === null;
    name(this.#reuse, `Use these settings, seed ${seed}`);
    name(this.#download, `Download ${picture.name}`);
  }
}

function titleOf(pictures) {
  const [first, last] = [pictures[0].settings, pictures.at(-1).settings];
  const seeds = pictures.length === 1 ? `Seed ${first.seed}` : `Seeds ${first.seed} to ${last.seed}`;
  const kind = first.label === null ? null : pictures[0].kind;
  return [seeds, settingsText(first, " · "), kind].filter(Boolean).join(" · ");
}

function iconButton(symbol, onclick) {
  return h("button", { type: "button", className: "icon", onclick }, icon(symbol));
}

function name(button, text) {
  button.title = text;
  button.setAttribute("aria-label", text);
}
