// A zone to drop pictures on, which is also a file input that opens by click, touch or keyboard.

import { ask } from "./api.js";
import { announce, breakable, h, icon } from "./dom.js";
import { setError } from "./fields.js";
import { openCrop } from "./frame.js";
import { fromFile, readAll, thumbnail } from "./pictures.js";

const FORMATS = "image/png,image/jpeg,image/webp,image/gif,image/bmp";

/**
 * Make a field for one picture, or for many. Pictures may also be dropped on a place around it, or pasted. onpictures gets what open returns
 * for each chosen or dropped file: by default a picture that is sent in the model's size.
 */
export function makeDropZone({ id, label, info, many = false, around = null, onpictures, open = (file) => fromFile(file, info.image_shape) }) {
  const described = { "aria-describedby": `${id}-error`, "aria-label": label };
  const input = h("input", { type: "file", id, accept: FORMATS, multiple: many, className: "visually-hidden", ...described });
  const body = h("span", { className: "drop-body" }, icon("picture"), many ? "Drop or choose pictures" : "Drop or choose");
  const name = h("span", { className: "drop-label", "aria-hidden": "true" }, label);
  const zone = h("label", { className: "drop", for: id }, input, name, body);
  const crop = h("button", { hidden: true }, icon("crop"), "Crop");
  const unusual = h("p", { className: "hint unusual" });
  const element = h("div", { className: "field" }, zone, h("p", { id: `${id}-error`, className: "error" }), unusual, crop);
  let shown = null;

  function take(files) {
    setError(input, null);
    const pictures = [...files].slice(0, many ? undefined : 1).map(open);
    if (pictures.length) onpictures(pictures);
  }

  input.addEventListener("change", () => {
    take(input.files);
    input.value = "";  // so that the same file can be chosen again
  });
  const target = around ?? zone;
  if (around) document.addEventListener("paste", ({ clipboardData: { files } }) => files.length && element.offsetParent && take(files));
  target.addEventListener("dragover", () => zone.classList.add("over"));
  target.addEventListener("dragleave", () => zone.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    take(event.dataTransfer.files);
  });

  return {
    element,
    show(picture) {
      if (picture !== shown) unusual.textContent = "";
      shown = picture;
      const [, height, width] = info.image_shape;
      crop.hidden = !picture.size || (picture.size[0] === width && picture.size[1] === height);
      crop.setAttribute("aria-label", `Crop ${picture.name}`);
      crop.onclick = () => openCrop(picture, info, () => onpictures([picture]));
      body.replaceChildren(thumbnail(picture), h("span", { className: "drop-name" }, ...breakable(picture.name)));
      input.setAttribute("aria-label", `${label}: ${picture.name}; choose another`);
      announce(`${label}: ${picture.name}`, element);
    },
    /** Say so if a picture that the server has accepted is unusual for the model. */
    async judge(picture) {
      const text = await (picture.oddity ??= oddityOf(picture, info));
      if (picture === shown) unusual.textContent = text;
    },
    /** Show what is wrong with the chosen picture; null clears it. */
    setError(text) {
      setError(input, text);
      if (text) announce(text, element);
    },
  };
}

/** Return a sentence if a file's picture is unusual; nothing if it is usual, or the model cannot tell. */
async function oddityOf(picture, { limits }) {
  if (!picture.file) return "";
  try {
    const [{ verdict, reason }] = (await ask("score", { images: await readAll([picture], limits) })).scores;
    return verdict === "unusual" ? `Unusual for this model: ${reason}. The result may look strange.` : "";
  } catch {
    return "";  // the result matters more
  }
}
