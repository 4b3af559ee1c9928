// The gallery: the drawn batches, newest first.

import { byId, h, icon, joined, reveal } from "./dom.js";
import { settingsText } from "./drawn.js";
import { download } from "./pictures.js";

const MAX_PICTURES = 256;  // that are kept

/** Make a batch of pictures that were drawn together; uses are open(pictures, place) and reuse(settings). */
export function makeBatch(pictures, uses) {
  const title = h("h3");
  const cards = pictures.map((_, place) =>
    makeCard({
      open: () => uses.open(batch.pictures, place),
      reuse: () => uses.reuse(batch.pictures[place].settings),
      save: () => download(batch.pictures[place].url, batch.pictures[place].name),
    }),
  );
  const list = h("ul", { className: "cards" }, ...cards.map((card) => card.element));
  const element = h("div", { className: "batch", role: "group" }, title, list);
  const batch = {
    pictures,
    /** Replace the pictures by as many others. */
    show(others) {
      batch.pictures = others;
      title.textContent = titleOf(others);
      element.setAttribute("aria-label", titleOf(others));
      cards.forEach((card, place) => card.show(others[place]));
    },
    /** Put the batch on top of the gallery, and drop the oldest pictures. */
    addToGallery() {
      const gallery = byId("gallery");
      gallery.querySelector(".empty")?.remove();
      gallery.prepend(element);
      const most = Math.max(MAX_PICTURES, pictures.length);
      while (gallery.querySelectorAll(".card").length > most) gallery.lastElementChild.remove();
    },
    /** Scroll to the batch if it is out of sight. */
    reveal: () => reveal(element),
  };
  batch.show(pictures);
  return batch;
}

/** Return a card of the gallery as {element, show(picture)}. */
function makeCard({ open, reuse, save }) {
  const image = h("img");
  const seed = h("div", { className: "seed" });
  const kind = h("div", { className: "kind" });
  const reuseButton = h("button", { className: "icon", onclick: reuse }, icon("reuse"));
  const saveButton = h("button", { className: "icon", onclick: save }, icon("download"));
  const buttons = h("div", { className: "card-buttons" }, reuseButton, saveButton);
  const foot = h("div", { className: "card-foot" }, h("div", { className: "card-text" }, seed, kind), buttons);
  const enlarge = h("button", { className: "picture", title: "Enlarge", onclick: open }, image);

  function name(button, text) {
    button.title = text;
    button.setAttribute("aria-label", text);
  }

  return {
    element: h("li", { className: "card" }, enlarge, foot),
    show(picture) {
      Object.assign(image, { src: picture.url, alt: picture.alt });
      seed.textContent = `seed ${picture.settings.seed}`;
      kind.textContent = picture.kind ?? "";
      name(reuseButton, `Use these settings, seed ${picture.settings.seed}`);
      name(saveButton, `Download ${picture.name}`);
    },
  };
}

function titleOf(pictures) {
  const [first, last] = [pictures[0].settings, pictures.at(-1).settings];
  const seeds = pictures.length === 1 ? `Seed ${first.seed}` : `Seeds ${first.seed} to ${last.seed}`;
  const kind = first.given === null ? null : pictures[0].kind;
  return joined(" · ", seeds, settingsText(first, " · "), kind);
}
