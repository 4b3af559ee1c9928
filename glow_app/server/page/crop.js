// The dialog for cropping a picture: by dragging, or by three sliders.

import { byId, h } from "./dom.js";
import { slider } from "./fields.js";
import { cropBox } from "./reduce.js";

const MAX_ZOOM = 8;

/** Let the user crop a picture; onchosen is called when a crop is chosen. */
export function openCrop(picture, info, onchosen) {
  const [, modelHeight, modelWidth] = info.image_shape;
  const [width, height] = picture.size;
  const crop = picture.crop ?? { zoom: 1, x: 0.5, y: 0.5 };
  const maxZoom = Math.min(MAX_ZOOM, Math.max(1, Math.min(width / modelWidth, height / modelHeight)));
  const make = (id, label, min, max) =>
    slider({ id: `crop-${id}`, label, min, max, step: 0.01, value: crop[id], digits: 2, oninput: show });
  const [zoom, x, y] = [make("zoom", "Zoom", 1, maxZoom), make("x", "Left to right", 0, 1), make("y", "Top to bottom", 0, 1)];

  const url = URL.createObjectURL(picture.file);
  const image = h("img", { src: url, alt: "", draggable: false });
  const frame = h("div", { className: "crop-window", onpointerdown, onpointermove }, image);
  const dialog = byId("cropper");
  byId("crop-place").replaceChildren(frame, h("div", { className: "group" }, zoom.element, x.element, y.element));

  const chosen = () => ({ zoom: zoom.value, x: x.value, y: y.value });
  const boxNow = () => cropBox(picture.size, [modelWidth, modelHeight], chosen());

  function show() {
    const box = boxNow();
    const percent = (part, whole) => `${(100 * part) / whole}%`;
    Object.assign(image.style, {
      width: percent(width, box.width),
      height: percent(height, box.height),
      left: percent(-box.left, box.width),
      top: percent(-box.top, box.height),
    });
  }

  function onpointerdown(event) {
    frame.setPointerCapture(event.pointerId);
  }

  function onpointermove(event) {
    if (!event.isPrimary || !frame.hasPointerCapture(event.pointerId)) return;
    const box = boxNow();
    const scale = box.width / frame.clientWidth;  // pixels of the picture per pixel of the screen
    const [acrossRoom, downRoom] = [width - box.width, height - box.height];
    if (acrossRoom > 0) x.value -= (event.movementX * scale) / acrossRoom;
    if (downRoom > 0) y.value -= (event.movementY * scale) / downRoom;
    show();
  }

  dialog.returnValue = "";
  dialog.onclick = (event) => {
    const button = event.target.closest("button");
    if (button) dialog.close(button.value);
  };
  dialog.onclose = () => {
    URL.revokeObjectURL(url);
    if (dialog.returnValue !== "use") return;
    picture.setCrop(chosen());
    onchosen();
  };
  show();
  dialog.showModal();
}
