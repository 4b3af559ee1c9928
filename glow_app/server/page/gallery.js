// The gallery: what was drawn, one batch after the other, the newest first.

import { byId, h, icon, joined, reveal } from "./dom.js";
import { settingsText } from "./drawn.js";
import { download } from "./pictures.js";

const MOST = 256;  // pictures kept, so that the page does not grow for ever

/** Make a batch: pictures that were drawn together, and change together; with uses open(pictures, place), reuse(settings). */
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
    /** Show other pictures in place, as many as before. */
    show(others) {
      batch.pictures = others;
      title.textContent = titleOf(others);
      element.setAttribute("aria-label", titleOf(others));
      cards.forEach((card, place) => card.show(others[place]));
    },
    /** Put the batch on top of the gallery, and drop what is too old. */
    addToGallery() {
      const gallery = byId("gallery");
      gallery.querySelector(".empty")?.remove();
      gallery.prepend(element);
      const most = Math.max(MOST, pictures.length);
      while (gallery.querySelectorAll(".card").length > most) gallery.lastElementChild.remove();
    },
    /** Scroll to the batch, where it is out of sight. */
    reveal: () => reveal(element),
  };
  batch.show(pictures);
  return batch;
}

/** Return a card of the gallery as {element, show(picture)}; its buttons do what they are given. */
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
  const kind = first.label === null ? null : pictures[0].kind;
  return joined(" · ", seeds, settingsText(first, " · "), kind);
}
