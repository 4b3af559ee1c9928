// The restored picture, or draws to choose from, their mean and spread; the chosen one is compared with the picture.

import { makeCompare } from "./compare.js";
import { announce, downloadButton, h, joined } from "./dom.js";
import { download, fileName, fromPng } from "./pictures.js";
import { temperatureText } from "./temperature.js";

/** Make the view of results in a place; choice, divider and zoom stay when they are replaced. enlarge is an element or null. */
export function makeRestored(place, enlarge) {
  const compare = makeCompare();
  const choices = h("div", { className: "choices", role: "group", "aria-label": "Pictures to compare" });
  const legend = h("p", { className: "hint" }, "Mean: the average of the draws. Spread: bright where the draws differ.");
  const notes = h("p", { className: "notes" });
  const actions = h("div", { className: "actions" }, compare.zooms, downloadButton(() => download(chosen.url, chosen.name)), enlarge);
  place.replaceChildren(compare.element, actions, choices, legend, notes);
  let before = null;
  let chosen = null;

  function choice(picture) {
    const onclick = () => {
      choose(picture);
      announce(picture.alt);
    };
    return h("button", { onclick, "data-caption": picture.caption }, h("img", { src: picture.url, alt: "" }), picture.caption);
  }

  function choose(picture) {
    chosen = picture;
    compare.show(before, picture);
    for (const button of choices.children) button.ariaPressed = button.dataset.caption === picture.caption;
  }

  return {
    /** Show a result of resultOf() with the picture before. */
    show({ pictures, temperature, note }, url) {
      before = { url };
      notes.textContent = joined(" · ", temperature !== 0 && `temperature ${temperatureText(temperature, ", ")}`, note);
      legend.hidden = pictures.length < 3;
      choices.hidden = pictures.length === 1;
      choices.replaceChildren(...pictures.map(choice));
      choose(pictures.find((picture) => picture.caption === chosen?.caption) ?? pictures[0]);
    },
  };
}

/**
 * Return the result of a request for draws of a picture, {pictures, temperature, seed, note}: the first picture is the
 * best; done are words on what was done, for the names of files.
 */
export async function resultOf(response, { count, temperature }, source, done) {
  const nameOf = (...which) => fileName(source.name, ...done, ...which);
  const [result, original] = [{ temperature }, { ...source, caption: "original", alt: "The sample before" }];
  if (count === 1) {
    const [seed, note] = ["Seed", "Note"].map((name) => response.headers.get(`X-Glow-${name}`));
    const file = await response.blob();
    const name = nameOf().replace(/png$/, file.type.split("/")[1].replace("jpeg", "jpg"));
    const picture = { file, url: URL.createObjectURL(file), name, caption: "restored", alt: "The restored picture" };
    return { ...result, pictures: [picture, ...(source.settings ? [original] : [])], seed, note: note && decodeURIComponent(note) };
  }
  const { images, mean, spread, note } = await response.json();
  const picture = (base64, caption, alt, ...which) => ({ ...fromPng(base64, nameOf(...which), alt), caption });
  const drawn = ({ image, seed }, place) => picture(image, `seed ${seed}`, `Draw of seed ${seed}`, ...(place ? [`${place + 1}`] : []));
  const [average, spreads] = [[mean, "mean", "Mean of the draws"], [spread, "spread", "Spread of the draws"]];
  const pictures = [...images.map(drawn), picture(...average, "mean"), picture(...spreads, "spread")];
  return { ...result, pictures: [...pictures, ...(source.settings ? [original] : [])], seed: images[0].seed, note };
}
