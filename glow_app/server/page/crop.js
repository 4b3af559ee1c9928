// The dialog for cropping a picture to the proportions of the model.

import { byId } from "./dom.js";
import { makeFrame } from "./frame.js";

/** Let the user crop a picture; onchosen is called when a crop is chosen. */
export function openCrop(picture, info, onchosen) {
  const [, height, width] = info.image_shape;
  const url = URL.createObjectURL(picture.file);
  const frame = makeFrame("crop", null);
  const dialog = byId("cropper");
  byId("crop-place").replaceChildren(frame.element);
  frame.show(url, picture.size, [width, height], 1);
  if (picture.crop) frame.crop = picture.crop;

  dialog.returnValue = "";
  dialog.onclick = (event) => {
    const button = event.target.closest("button");
    if (button) dialog.close(button.value);
  };
  dialog.onclose = () => {
    URL.revokeObjectURL(url);
    if (dialog.returnValue !== "use") return;
    picture.setCrop(frame.crop);
    onchosen();
  };
  dialog.showModal();
}
