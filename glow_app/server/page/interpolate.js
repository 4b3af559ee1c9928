// The tab Interpolate: two pictures in, and what lies between them.

import { ask, askPng } from "./api.js";
import { byId, h } from "./dom.js";
import { DropZone } from "./dropzone.js";
import { className, focusFirstError, numberField } from "./fields.js";
import { showFrames } from "./player.js";
import { download, faultOf, fromPng, release, tooLarge } from "./pictures.js";
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
  const field = numberField(frames);
  const form = byId("interpolate-form");
  const stage = byId("frames");
  const empty = [...stage.children];

  function set(end, picture) {
    release(ends[end]);
    ends[end] = picture;
    zones[end].show(picture);
    zones[end].setError(tooLarge([picture], info.limits));
  }

  /** Say what is wrong with the pictures, and return whether nothing is. */
  function check() {
    const isThere = ends.every((picture) => picture !== null);
    const large = isThere ? tooLarge(ends, info.limits) : null;
    zones.forEach((zone, end) => zone.setError(ends[end] === null ? "Choose a picture." : end === 1 ? large : null));
    return isThere && large === null;
  }
  function refused(error) {
    const fault = faultOf(error);
    if (!fault) return false;
    zones[fault.place].setError(`${ends[fault.place].name}: ${fault.text}.`);
    stage.replaceChildren(...empty);
    focusFirstError(form);
    return true;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [isGood, number] = [check(), field.read()];
    if (!isGood || number === undefined) {
      focusFirstError(form);
      return;
    }
    const spherical = form.elements.path.value === "arc";
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
      refused,
    );
  });

  return { setEnd: set };
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
