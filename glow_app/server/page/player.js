// A player of frames: a slider, play and pause, and thumbnails of all frames.

import { downloadButton, h, icon } from "./dom.js";
import { fillRange } from "./fields.js";
import { download } from "./pictures.js";

const FRAME_MS = 120;
const PER_ROW = 9;  // frames below the player
let timer = 0;  // of the only player that runs

/**
 * Make a player, which keeps its position when its frames are replaced. onmove gets the position, from 0 at the first
 * frame to 1 at the last; onsave gets the kind of file, of those in files, to save all frames in.
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
      if (next < 0 || next >= pictures.length) step = -step;  // forward and back
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
      strip.style.setProperty("--columns", Math.min(pictures.length, PER_ROW));
      const small = ({ url }, number) => h("img", { src: url, alt: "", onclick: () => turnTo(number) });
      strip.replaceChildren(...pictures.map(small));
      notes.replaceChildren(...texts.map((text) => h("li", {}, text)));
      show(Math.round(at * (pictures.length - 1)));
    },
  };
}
