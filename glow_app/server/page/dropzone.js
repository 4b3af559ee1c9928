// A place to drop pictures on, which is a file input all the same: it opens by click, touch or keyboard.

import { openCrop } from "./crop.js";
import { announce, breakable, h, icon } from "./dom.js";
import { setError } from "./fields.js";
import { fromFile, thumbnail } from "./pictures.js";

const FORMATS = "image/png,image/jpeg,image/webp,image/gif,image/bmp";

/** A field for one picture, or the source of many. */
export class DropZone {
  #input;
  #body;
  #label;
  #info;
  #crop;
  #picture = null;

  /**
   * @param {string} id of the input
   * @param {string} label what the picture is for
   * @param {object} info of the model
   * @param {boolean} many whether several are taken at a time; they are handed on and not shown
   * @param {function(object[])} onpictures is given what was dropped or chosen
   * @param {function(File): object} open returns the picture in a file, by default one that is sent in the model's size
   */
  constructor({ id, label, info, many = false, onpictures, open = (file) => fromFile(file, info.image_shape) }) {
    this.#label = label;
    this.#info = info;
    const errorId = `${id}-error`;
    const described = { "aria-describedby": errorId, "aria-label": label };
    this.#input = h("input", { type: "file", id, accept: FORMATS, multiple: many, className: "unseen", ...described });
    this.#body = h("span", { className: "drop-body" });
    const name = h("span", { className: "drop-label", "aria-hidden": "true" }, label);
    const zone = h("label", { className: "drop", for: id }, this.#input, name, this.#body);
    const crop = () => openCrop(this.#picture, info, () => onpictures([this.#picture]));
    this.#crop = h("button", { hidden: true, onclick: crop }, icon("crop"), "Crop");
    this.element = h("div", { className: "field" }, zone, h("p", { id: errorId, className: "error" }), this.#crop);
    this.show(null, many);

    const take = (files) => {
      this.setError(null);
      const pictures = [...files].slice(0, many ? undefined : 1).map(open);
      if (pictures.length) onpictures(pictures);
    };
    this.#input.addEventListener("change", () => {
      take(this.#input.files);
      this.#input.value = "";  // so that the same file can be chosen again
    });
    zone.addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      take(event.dataTransfer.files);
    });
  }

  /** Show a picture in the zone, or that there is none. */
  show(picture, many = false) {
    this.#picture = picture;
    const [, height, width] = this.#info.image_shape;
    this.#crop.setAttribute("aria-label", `Crop ${picture?.name}`);
    this.#crop.hidden = !picture?.size || (picture.size[0] === width && picture.size[1] === height);
    if (picture === null) {
      this.#body.replaceChildren(icon("picture"), many ? "Drop pictures, or choose" : "Drop, or choose");
      return;
    }
    this.#body.replaceChildren(thumbnail(picture), h("span", { className: "drop-name" }, ...breakable(picture.name)));
    this.#input.setAttribute("aria-label", `${this.#label}: ${picture.name}; choose another`);
    announce(`${this.#label}: ${picture.name}`, this.element);
  }

  /** Say what is wrong with what was chosen; null for nothing. */
  setError(text) {
    setError(this.#input, text);
    if (text) announce(text, this.element);
  }
}

/** Keep a picture that misses its zone from taking the page's place. */
export function ignoreOtherDrops() {
  for (const type of ["dragover", "drop"]) {
    window.addEventListener(type, (event) => event.preventDefault());
  }
}
