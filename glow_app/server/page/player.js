// Frames to look through: a slider, play and pause, and all of them small below.

import { downloadButton, h, icon } from "./dom.js";
import { fillRange } from "./fields.js";
import { download } from "./pictures.js";

const FRAME_MS = 120;
const A_ROW = 9;  // frames below the player
let timer = 0;  // of the one player that plays

/**
 * Make a player, which goes on where it stands as other frames take their place: at, from 0 at the first frame to 1 at the
 * last, is given to onmove. All frames can be saved as files of some names, by onsave.
 */
export function makePlayer(place, at, { files, onsave, onmove }) {
  const image = h("img", { className: "large" });
  const oninput = () => turnTo(position.valueAsNumber);
  const position = h("input", { type: "range", min: 0, value: 0, "aria-label": "Frame", oninput });
  const play = h("button", { className: "primary", onclick: () => (timer ? halt() : start()) });
  const strip = h("div", { className: "strip", "aria-hidden": "true" });
  const notes = h("ul", { className: "notes" });
  const saves = [
    downloadButton(() => download(here().url, here().name), "Frame"),
    ...files.map((name) => downloadButton(() => onsave(name), name)),
  ];
  place.replaceChildren(
    image,
    h("div", { className: "player" }, play, position),
    strip,
    notes,
    h("div", { className: "actions" }, ...saves),
  );
  let pictures = [];
  let step = 1;

  const here = () => pictures[position.valueAsNumber];

  function show(number) {
    position.value = number;
    Object.assign(image, { src: here().url, alt: here().alt });
    position.setAttribute("aria-valuetext", here().alt);
    fillRange(position);
    [...strip.children].forEach((small, other) => small.classList.toggle("here", other === number));
  }

  function go(number) {
    at = number / (pictures.length - 1);
    show(number);
    onmove(at);
  }

  function turnTo(number) {
    halt();
    go(number);
  }

  function start() {
    label("pause", "Pause");
    timer = setInterval(() => {
      if (!image.isConnected || place.closest("[hidden]")) return halt();
      const next = position.valueAsNumber + step;
      if (next < 0 || next >= pictures.length) step = -step;  // there and back
      return go(position.valueAsNumber + step);
    }, FRAME_MS);
  }

  function halt() {
    clearInterval(timer);
    timer = 0;
    label("play", "Play");
  }

  function label(symbol, text) {
    play.replaceChildren(icon(symbol));
    play.setAttribute("aria-label", text);
  }

  halt();
  return {
    show(frames, texts) {
      pictures = frames;
      position.max = pictures.length - 1;
      strip.style.setProperty("--columns", Math.min(pictures.length, A_ROW));
      const small = ({ url }, number) => h("img", { src: url, alt: "", onclick: () => turnTo(number) });
      strip.replaceChildren(...pictures.map(small));
      notes.replaceChildren(...texts.map((text) => h("li", {}, text)));
      show(Math.round(at * (pictures.length - 1)));
    },
  };
}
