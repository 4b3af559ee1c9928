// The dialog in which part of a picture is chosen: by dragging, by the wheel, or by three sliders.

import { byId, h } from "./dom.js";
import { slider } from "./fields.js";
import { cropBox } from "./reduce.js";

const MOST_ZOOM = 8;

/** Lets a visitor choose the part of a picture that the model sees. */
export class CropDialog {
  #picture;
  #wanted;
  #sliders;
  #image;
  #window;

  /**
   * @param {object} picture of a file, that has been read
   * @param {object} info of the model
   */
  constructor(picture, info) {
    this.#picture = picture;
    this.#wanted = [info.image_shape[2], info.image_shape[1]];
    const crop = picture.crop ?? { zoom: 1, x: 0.5, y: 0.5 };
    const zoom = Math.min(MOST_ZOOM, Math.max(1, Math.min(picture.size[0] / this.#wanted[0], picture.size[1] / this.#wanted[1])));
    const make = (id, label, min, max, value) =>
      slider({ id: `crop-${id}`, label, min, max, step: 0.01, value, digits: 2, oninput: () => this.#show() });
    this.#sliders = {
      zoom: make("zoom", "Zoom", 1, zoom, crop.zoom),
      x: make("x", "Left to right", 0, 1, crop.x),
      y: make("y", "Top to bottom", 0, 1, crop.y),
    };
  }

  /** Open it; onchosen is called where another part is chosen. */
  open(onchosen) {
    const url = URL.createObjectURL(this.#picture.file);
    this.#image = h("img", { src: url, alt: "", draggable: false });
    this.#window = h("div", { className: "crop-window" }, this.#image);
    const dialog = byId("cropper");
    const sliders = Object.values(this.#sliders).map((one) => one.element);
    byId("crop-place").replaceChildren(this.#window, h("div", { className: "group" }, ...sliders));
    dialog.returnValue = "";
    dialog.onclick = (event) => {
      const button = event.target.closest("[data-crop]");
      if (button) dialog.close(button.dataset.crop);
    };
    dialog.onclose = () => {
      URL.revokeObjectURL(url);
      if (dialog.returnValue !== "use") return;
      this.#picture.setCrop(this.#crop());
      onchosen();
    };
    this.#listen();
    this.#show();
    dialog.showModal();
  }

  #crop() {
    const { zoom, x, y } = this.#sliders;
    return { zoom: zoom.value, x: x.value, y: y.value };
  }

  #show() {
    const { size } = this.#picture;
    const box = cropBox(size, this.#wanted, this.#crop());
    const percent = (part, whole) => `${(100 * part) / whole}%`;
    Object.assign(this.#image.style, {
      width: percent(size[0], box.width),
      height: percent(size[1], box.height),
      left: percent(-box.left, box.width),
      top: percent(-box.top, box.height),
    });
  }

  #listen() {
    this.#window.addEventListener("pointerdown", (event) => this.#window.setPointerCapture(event.pointerId));
    this.#window.addEventListener("pointermove", (event) => {
      if (!event.isPrimary || !this.#window.hasPointerCapture(event.pointerId)) return;
      const { size } = this.#picture;
      const box = cropBox(size, this.#wanted, this.#crop());
      const scale = box.width / this.#window.clientWidth;  // pixels of the picture for one of the screen
      const move = (place, by, room) => (room > 0 ? Math.min(1, Math.max(0, place - (by * scale) / room)) : place);
      this.#sliders.x.value = move(this.#sliders.x.value, event.movementX, size[0] - box.width);
      this.#sliders.y.value = move(this.#sliders.y.value, event.movementY, size[1] - box.height);
      this.#show();
    });
    this.#window.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#sliders.zoom.value = this.#sliders.zoom.value * 1.1 ** -Math.sign(event.deltaY);
      this.#show();
    });
  }
}
