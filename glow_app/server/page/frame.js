// A picture and a frame around a part of it, which is moved by dragging or by sliders; and the dialog that crops by it.

import { byId, h, letDrag } from "./dom.js";
import { slider } from "./fields.js";
import { cropBox } from "./reduce.js";

/** Make the picture and its frame, above a hint; onchange is called when the user has moved or resized the frame. */
export function makeFrame(id, hint, onchange) {
  const make = (name, label, min, value) =>
    slider({ id: `${id}-${name}`, label, min, max: 1, step: 0.01, value, digits: 2, oninput: changed });
  const [side, x, y] = [make("size", "Size of the frame", 0.1, 1), make("x", "Left to right", 0, 0.5), make("y", "Top to bottom", 0, 0.5)];
  const image = h("img", { alt: "", draggable: false });
  const part = h("span", { className: "frame" });
  const place = h("div", { className: "framed own-ratio" }, image, part);
  const element = h("div", { className: "framing" }, place, hint, side.element, x.element, y.element);
  let [size, wanted, least] = [[1, 1], [1, 1], 1];  // the picture's, the proportions of the frame, and its smallest zoom

  function draw() {
    const { left, top, width, height } = cropBox(size, wanted, control.crop);
    const percent = (number, whole) => `${(100 * number) / whole}%`;
    Object.assign(part.style, { left: percent(left, size[0]), width: percent(width, size[0]) });
    Object.assign(part.style, { top: percent(top, size[1]), height: percent(height, size[1]) });
  }

  function changed() {
    draw();
    onchange?.();
  }

  letDrag(place, x.element.querySelector("input"), (pointer) => {
    const { width, height } = cropBox(size, wanted, control.crop);
    const [across, down] = [width / size[0], height / size[1]];
    if (across < 1) x.value = (pointer[0] - across / 2) / (1 - across);  // the middle of the frame follows the pointer
    if (down < 1) y.value = (pointer[1] - down / 2) / (1 - down);
    changed();
  });

  const control = {
    element,
    /** Show a picture of some size and the frame: of the wanted proportions, and at most as large as at the least zoom. */
    show(url, ...sizes) {
      [size, wanted, least] = sizes;
      if (image.src !== url) image.src = url;
      place.style.setProperty("--aspect", size[0] / size[1]);
      draw();
    },
    /** The frame as cropBox takes it. */
    get crop() {
      return { zoom: least / side.value, x: x.value, y: y.value };
    },
    set crop(crop) {
      [side.value, x.value, y.value] = [least / crop.zoom, crop.x, crop.y];
      draw();
    },
    /** The frame in whole pixels. */
    get box() {
      const box = Object.entries(cropBox(size, wanted, control.crop));
      return Object.fromEntries(box.map(([name, value]) => [name, Math.floor(value + 1e-6)]));
    },
  };
  return control;
}

/** Let the user crop a picture to the proportions of the model; onchosen is called when a crop is chosen. */
export function openCrop(picture, info, onchosen) {
  const [, height, width] = info.image_shape;
  const url = URL.createObjectURL(picture.file);
  const frame = makeFrame("crop", null);
  const dialog = byId("cropper");
  byId("crop-place").replaceChildren(frame.element);
  frame.show(url, picture.size, [width, height], 1);
  if (picture.crop) frame.crop = picture.crop;

  dialog.returnValue = "";
  dialog.onclose = () => {
    URL.revokeObjectURL(url);
    if (dialog.returnValue !== "use") return;
    picture.setCrop(frame.crop);
    onchosen();
  };
  dialog.showModal();
}
