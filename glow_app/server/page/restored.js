// The restored picture, or draws to choose from, their mean and spread; the chosen one is compared with the picture.

import { makeCompare } from "./compare.js";
import { announce, downloadButton, h, joined } from "./dom.js";
import { download, fileName, fromBase64 } from "./pictures.js";
import { temperatureText } from "./temperature.js";

/** The formats of results of files of the same format; those of others are PNG. */
export const SUFFIXES = { "image/jpeg": "jpg", "image/webp": "webp", "image/png": "png" };

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
export async function resultOf(response, { count, temperature, type }, source, done) {
  const pngName = (...which) => fileName(source.name, ...done, ...which);
  const nameOf = (...which) => pngName(...which).replace(/png$/, SUFFIXES[type]);
  const [result, original] = [{ temperature }, { ...source, caption: "original", alt: "The sample before" }];
  if (count === 1) {
    const [seed, note] = ["Seed", "Note"].map((name) => response.headers.get(`X-Glow-${name}`));
    const picture = { url: URL.createObjectURL(await response.blob()), name: nameOf(), caption: "restored", alt: "The restored picture" };
    return { ...result, pictures: [picture, ...(source.settings ? [original] : [])], seed, note: note && decodeURIComponent(note) };
  }
  const { images, mean, spread, note } = await response.json();
  const draws = images.map(({ image, seed }, place) => {
    const name = nameOf(...(place ? [`${place + 1}`] : []));
    return { ...fromBase64(image, name, `Draw of seed ${seed}`, type), caption: `seed ${seed}` };
  });
  const average = { ...fromBase64(mean, nameOf("mean"), "Mean of the draws", type), caption: "mean" };
  const spreads = { ...fromBase64(spread, pngName("spread"), "Spread of the draws"), caption: "spread" };
  const pictures = [...draws, average, spreads, ...(source.settings ? [original] : [])];
  return { ...result, pictures, seed: images[0].seed, note };
}
