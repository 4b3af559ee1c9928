// The restored picture, or draws to choose from, their mean and spread; the chosen one is compared with the picture.

import { announce, downloadButton, h, joined, letDrag } from "./dom.js";
import { download, fileName, fromPng, release } from "./pictures.js";
import { temperatureText } from "./temperature.js";

const SMOOTH = 512;  // pixels per side, beyond which the browser shrinks a picture

/** Show the answers given to show() in a place; choice and divider stay when pictures are replaced. */
export function makeRestored(place) {
  const compare = makeCompare();
  const choices = h("div", { className: "choices", role: "group", "aria-label": "Pictures to compare" });
  const legend = h("p", { className: "hint" }, "Mean: the average of the draws. Spread: bright where the draws differ.");
  const notes = h("p", { className: "notes" });
  const actions = h("div", { className: "actions" }, downloadButton(() => download(chosen.url, chosen.name)));
  place.replaceChildren(compare.element, choices, legend, notes, actions);
  let before = null;
  let pictures = [];
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
    /**
     * Show the answer to a request with the picture that was sent; done is what was done, for the names of files. Return
     * the seed of the first draw.
     */
    show({ body: { count, temperature }, answer, response, blob }, url, source, done) {
      const { seed, note } = answer ? { ...answer, ...answer.images[0] } : factsIn(response.headers);
      pictures.forEach(release);
      pictures = answer ? drawsOf(answer, source, done) : [resultOf(blob, source, done)];
      if (source.settings) pictures.push({ ...source, caption: "original", alt: "The sample before it was damaged" });
      before = { url };
      notes.textContent = joined(" · ", temperature !== 0 && `temperature ${temperatureText(temperature, ", ")}`, note);
      legend.hidden = count === 1;
      choices.hidden = pictures.length === 1;
      choices.replaceChildren(...pictures.map(choice));
      choose(pictures.find((picture) => picture.caption === chosen?.caption) ?? pictures[0]);
      return seed;
    },
  };
}

/** Return {element, show(before, after)}: two pictures of one size with a divider, moved by dragging or arrow keys. */
function makeCompare() {
  const [before, after] = [h("img", { alt: "" }), h("img", { onload: fit })];
  const names = ["Before", "After"].map((name) => h("span", { className: "side", "aria-hidden": "true" }, name));
  const divider = h("span", { className: "divider" });
  const range = { type: "range", min: 0, max: 100, oninput: divide };
  const input = h("input", { ...range, className: "visually-hidden", "aria-label": "Before and after" });
  const element = h("div", { className: "compare own-ratio" }, before, after, ...names, divider, input);

  function fit() {
    const { naturalWidth: width, naturalHeight: height } = after;
    element.style.setProperty("--aspect", width / height);
    element.classList.toggle("smooth", Math.max(width, height) > SMOOTH);
  }

  function divide() {
    input.setAttribute("aria-valuetext", `${input.value} % before`);
    element.style.setProperty("--at", `${input.value}%`);
  }

  letDrag(element, input, ([across]) => {
    input.value = 100 * across;
    divide();
  });
  divide();  // in the middle
  const show = (first, second) => {
    before.src = first.url;
    Object.assign(after, { src: second.url, alt: second.alt });
  };
  return { element, show };
}

/** Return what the headers of a picture say. */
function factsIn(headers) {
  const [seed, note] = ["Seed", "Note"].map((name) => headers.get(`X-Glow-${name}`));
  return { seed: Number(seed), note: note && decodeURIComponent(note) };
}

function resultOf(blob, source, done) {
  const name = fileName(source.name, done);
  return { url: URL.createObjectURL(blob), name, caption: "restored", alt: "The restored picture" };
}

/** Return the draws, their mean and their spread. */
function drawsOf({ images, mean, spread }, source, done) {
  const picture = (base64, caption, alt, ...which) => ({ ...fromPng(base64, fileName(source.name, done, ...which), alt), caption });
  const drawn = ({ image, seed }, place) => picture(image, `seed ${seed}`, `Draw of seed ${seed}`, ...(place ? [`${place + 1}`] : []));
  const [average, spreads] = [[mean, "mean", "Mean of the draws"], [spread, "spread", "Spread of the draws"]];
  return [...images.map(drawn), picture(...average, "mean"), picture(...spreads, "spread")];
}
