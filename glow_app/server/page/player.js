// Frames to look through: a slider, play and pause, and all of them small below.

import { h, icon, reveal } from "./dom.js";
import { fillRange } from "./fields.js";
import { download } from "./pictures.js";

const FRAME_MS = 120;
const A_ROW = 9;  // frames below the player
let timer = 0;  // of the one player that there is

/** Show frames in a place, with a function that saves them all as a strip, and notes. */
export function showFrames(place, pictures, saveStrip, notes) {
  stop();
  const image = h("img", { className: "large" });
  const position = h("input", { type: "range", min: 0, max: pictures.length - 1, step: 1, value: 0, "aria-label": "Frame" });
  const play = h("button", { type: "button", className: "icon" });
  const strip = h("div", { className: "strip", "aria-hidden": "true" });
  strip.style.setProperty("--columns", Math.min(pictures.length, A_ROW));
  strip.append(...pictures.map((picture, number) => h("img", { src: picture.url, alt: "", onclick: () => go(number) })));
  let step = 1;

  function go(number) {
    position.value = number;
    show();
  }
  function show() {
    const number = Number(position.value);
    Object.assign(image, { src: pictures[number].url, alt: pictures[number].alt });
    position.setAttribute("aria-valuetext", pictures[number].alt);
    fillRange(position);
    [...strip.children].forEach((small, other) => small.classList.toggle("here", other === number));
  }
  function label(name, text) {
    play.replaceChildren(icon(name));
    play.setAttribute("aria-label", text);
  }
  function halt() {
    stop();
    label("play", "Play");
  }
  play.addEventListener("click", () => {
    if (timer) return halt();
    label("pause", "Pause");
    timer = setInterval(() => {
      const number = Number(position.value);
      if (number + step < 0 || number + step >= pictures.length) step = -step;  // there and back
      go(number + step);
      if (!place.isConnected || place.closest("[hidden]")) halt();
    }, FRAME_MS);
    return undefined;
  });
  position.addEventListener("input", () => (halt(), show()));
  halt();
  show();
  const here = () => pictures[Number(position.value)];
  const saveFrame = h("button", { type: "button", onclick: () => download(here().url, here().name) }, icon("download"), "Frame");
  const saveAll = h("button", { type: "button", onclick: saveStrip }, icon("download"), "Strip");
  const bar = h("div", { className: "player" }, play, position);
  place.replaceChildren(image, bar, strip, notes, h("div", { className: "actions" }, saveFrame, saveAll));
  reveal(image);
}

function stop() {
  clearInterval(timer);
  timer = 0;
}
