// The gallery: the drawn batches, newest first.

import { byId, h, joined } from "./dom.js";
import { settingsText } from "./drawn.js";

const MAX_PICTURES = 256;  // that are kept

/** Make a batch of pictures that were drawn together; open(pictures, place) enlarges one. */
export function makeBatch(pictures, info, open) {
  const title = h("h2");
  const list = h("ul", { className: "cards" });
  const element = h("div", { className: "batch", role: "group" }, title, list);
  const cards = pictures.map((_, place) => {
    const [image, kind] = [h("img"), h("div", { className: "hint kind" })];
    const onclick = () => open(batch.pictures, place);
    list.append(h("li", { className: "card" }, h("button", { className: "picture", title: "Enlarge", onclick }, image), kind));
    return { image, kind };
  });
  const batch = {
    pictures,
    /** Replace the pictures by as many others. */
    show(others) {
      batch.pictures = others;
      title.textContent = titleOf(others, info);
      element.setAttribute("aria-label", title.textContent);
      cards.forEach(({ image, kind }, place) => {
        const picture = others[place];
        Object.assign(image, { src: picture.url, alt: picture.alt });
        kind.textContent = picture.place === null ? "" : picture.kind;
      });
    },
    /** Make it the newest batch, and drop the oldest pictures. */
    addToGallery() {
      const [newest, gallery] = [byId("newest"), byId("gallery")];
      gallery.prepend(...newest.children);
      newest.append(element);
      const most = Math.max(MAX_PICTURES, pictures.length);
      while (document.querySelectorAll(".card").length > most) gallery.lastElementChild.remove();
    },
  };
  batch.show(pictures);
  return batch;
}

/** Return the seeds of a batch, and the settings that differ from the model's. */
function titleOf(pictures, { generation }) {
  const [first, last] = [pictures[0].settings, pictures.at(-1).settings];
  const seeds = pictures.length === 1 ? `Seed ${first.seed}` : `Seeds ${first.seed} to ${last.seed}`;
  const text = settingsText(first, " · ");
  return joined(" · ", seeds, text !== settingsText(generation, " · ") && text, first.given !== null && pictures[0].kind);
}
