// The tab Interpolate: two pictures in, and what lies between them.

import { ask, askPng } from "./api.js";
import { announce, byId, h } from "./dom.js";
import { DropZone } from "./dropzone.js";
import { className, wholeNumber } from "./fields.js";
import { showFrames } from "./player.js";
import { download, fromPng, release, tooLarge } from "./pictures.js";
import { openTab } from "./tabs.js";
import { Task } from "./task.js";

const ENDS = ["First picture", "Second picture"];

/** Start the tab; returns {setEnd(0 or 1, picture)}, by which other tabs hand it pictures. */
export function startInterpolate(info) {
  const task = new Task(byId("interpolate-task"));
  const ends = [null, null];
  const zones = ENDS.map(
    (label, end) => new DropZone({ id: `interpolate-${end}`, label, onpictures: ([picture]) => set(end, picture) }),
  );
  byId("interpolate-ends").append(...zones.map((zone) => zone.element));
  const frames = byId("interpolate-frames");
  frames.max = info.limits.count;
  frames.value = Math.min(9, info.limits.count);

  function set(end, picture) {
    release(ends[end]);
    ends[end] = picture;
    zones[end].show(picture);
    zones[end].setError(tooLarge([picture], info.limits));
  }

  byId("interpolate-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const missing = ends.indexOf(null);
    if (missing >= 0) {
      zones[missing].setError("Choose a picture.");
      zones[missing].focus();
      return;
    }
    const large = tooLarge(ends, info.limits);
    zones[1].setError(large);
    const number = wholeNumber(frames);
    if (large !== null || number === undefined) return;
    const spherical = byId("interpolate-form").elements.path.value === "arc";
    const chosen = [...ends];
    const wanted = async () => ({ images: await Promise.all(chosen.map((one) => one.read())), frames: number, spherical });
    task.run(
      `Making ${number} frames`,
      async (signal) => ask("interpolate", await wanted(), signal),
      (answer) => {
        const strip = () =>
          task.run(
            "Making the strip",
            async (signal) => askPng("interpolate", await wanted(), signal),
            (blob) => (download(blob, "interpolation.png"), "The strip is saved"),
          );
        show(answer, chosen, info, strip);
        return `${answer.frames.length} frames, ready to be looked through`;
      },
    );
  });

  return {
    setEnd(end, picture) {
      set(end, picture);
      if (ends.includes(null)) announce(`${ENDS[end]}: chosen; now choose the other, or open Interpolate`);
      else openTab("interpolate");
    },
  };
}

function show(answer, chosen, info, strip) {
  const pictures = answer.frames.map((base64, number) =>
    fromPng(base64, `frame${String(number).padStart(3, "0")}.png`, `Frame ${number + 1} of ${answer.frames.length}`),
  );
  const facts = chosen.map((picture, end) => {
    const kind = answer.labels && `taken for ${className(info, answer.labels[end])}`;
    const text = [picture.name, kind, answer.notes[end]].filter(Boolean).join(": ");
    return h("li", {}, text);
  });
  showFrames(byId("frames"), pictures, strip, h("ul", { className: "notes" }, ...facts));
}
