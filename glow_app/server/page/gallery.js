// The gallery: what was drawn, a batch after the other, the newest first.

import { byId, h, icon, reveal } from "./dom.js";
import { download } from "./pictures.js";
import { temperatureText } from "./temperature.js";
import { openViewer } from "./viewer.js";

const SHORT = 6;  // digits of a seed that stand beside the buttons
const MOST = 256;  // pictures kept, so that the page does not grow for ever

/** Show a batch of pictures on top; uses are functions of a picture, by name, and reuse is one of settings. */
export function addBatch(pictures, uses) {
  const gallery = byId("gallery");
  const title = titleOf(pictures);
  const cards = h("ul", { className: "cards" });
  cards.append(...pictures.map((_, place) => card(pictures, place, uses)));
  const batch = h("section", { className: "batch", "aria-label": title }, h("h3", {}, title), cards);
  gallery.querySelector(".empty")?.remove();
  gallery.prepend(batch);
  while (gallery.querySelectorAll(".card").length > Math.max(MOST, pictures.length)) gallery.lastElementChild.remove();
  reveal(batch);
}

function titleOf(pictures) {
  const [first, last] = [pictures[0].settings, pictures.at(-1).settings];
  const seeds = pictures.length === 1 ? `Seed ${first.seed}` : `Seeds ${first.seed} to ${last.seed}`;
  const kind = first.label === null ? null : pictures[0].kind;
  return [seeds, `temperature ${temperatureText(first.temperature, ", ")}`, kind].filter(Boolean).join(" · ");
}

function card(pictures, place, uses) {
  const picture = pictures[place];
  const image = h("img", { src: picture.url, alt: picture.alt });
  const open = () => openViewer(pictures, place, uses);
  const { seed } = picture.settings;
  return h(
    "li",
    { className: "card" },
    h("button", { type: "button", className: "picture", title: "Enlarge", onclick: open }, image),
    h(
      "div",
      { className: String(seed).length > SHORT ? "card-foot long" : "card-foot" },
      h("span", { className: "seed" }, `seed ${seed}`),
      picture.kind && h("span", { className: "kind" }, picture.kind),
      iconButton("reuse", `Use these settings, seed ${seed}`, () => uses.reuse(picture.settings)),
      iconButton("download", `Download ${picture.name}`, () => download(picture.url, picture.name)),
    ),
  );
}

function iconButton(name, label, onclick) {
  return h("button", { type: "button", className: "icon", title: label, "aria-label": label, onclick }, icon(name));
}
