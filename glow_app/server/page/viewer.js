// The viewer: one picture of a batch, large, and what can be done with it.

import { announce, byId } from "./dom.js";
import { download } from "./pictures.js";

const dialog = byId("viewer");
let shown = { pictures: [], place: 0, uses: {} };

/** Open a picture of a batch; the arrow keys go to the others. */
export function openViewer(pictures, place, uses) {
  shown = { pictures, place, uses };
  show();
  dialog.showModal();
}

function show() {
  const { pictures, place } = shown;
  const picture = pictures[place];
  const { seed } = picture.settings;
  byId("viewer-title").textContent = [`Seed ${seed}`, picture.kind].filter(Boolean).join(" · ");
  Object.assign(dialog.querySelector("img"), { src: picture.url, alt: picture.alt });
  button("back").disabled = place === 0;
  button("forth").disabled = place === pictures.length - 1;
}

const button = (act) => dialog.querySelector(`[data-act=${act}]`);

function go(step) {
  const place = shown.place + step;
  if (place < 0 || place >= shown.pictures.length) return;
  shown.place = place;
  show();
  announce(shown.pictures[place].alt);
}

const STAYING = {
  back: () => go(-1),
  forth: () => go(1),
  download: (picture) => download(picture.url, picture.name),
};

dialog.addEventListener("click", (event) => {
  const act = event.target.closest("button")?.dataset.act;
  if (event.target === dialog) dialog.close();  // the backdrop
  if (act === undefined) return;
  const picture = shown.pictures[shown.place];
  if (act in STAYING) {
    STAYING[act](picture);
    return;
  }
  dialog.close();
  if (act === "reuse") shown.uses.reuse(picture.settings);
  else if (act !== "close") shown.uses[act](picture);
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") go(-1);
  if (event.key === "ArrowRight") go(1);
});
