// The tab Interpolate: two pictures in, and what lies between them.

import { keepSettings } from "./address.js";
import { ask, askFile } from "./api.js";
import { byId, reveal } from "./dom.js";
import { draw, firstSettings, linkOf, settingsOf, wholeNumber } from "./drawn.js";
import { DropZone } from "./dropzone.js";
import { className, focusFirstError, numberField } from "./fields.js";
import { Player } from "./player.js";
import { download, faultOf, fromPng, noteOf, readAll, release } from "./pictures.js";
import { Task } from "./task.js";

const ENDS = ["First picture", "Second picture"];
const FILES = { Strip: ["image/png", "png"], GIF: ["image/gif", "gif"], WebP: ["image/webp", "webp"] };

/**
 * Start the tab.
 * @returns {{setEnd: function(number, object), open: function(), restore: function(URLSearchParams)}} setEnd is how other
 *   tabs hand it pictures
 */
export function startInterpolate(info) {
  const task = new Task(byId("interpolate-task"));
  const ends = [null, null];
  const firsts = [0, 1].map((seed) => firstSettings(seed, info));  // drawn where a visitor has chosen none
  const zones = ENDS.map(
    (label, end) => new DropZone({ id: `interpolate-${end}`, label, info, onpictures: ([picture]) => set(end, picture) }),
  );
  byId("interpolate-ends").append(...zones.map((zone) => zone.element));
  const [form, frames, stage] = ["interpolate-form", "interpolate-frames", "frames"].map(byId);
  frames.max = info.limits.count;
  frames.value = Math.min(9, info.limits.count);
  const field = numberField(frames);
  const empty = [...stage.children];
  let player = null;

  function set(end, picture) {
    if (picture !== ends[end]) release(ends[end]);
    ends[end] = picture;
    zones[end].show(picture);
    player = null;  // another pair begins at its first frame
    follow();
  }

  /** Say what is missing, and return whether nothing is. */
  function check() {
    zones.forEach((zone, end) => zone.setError(ends[end] === null ? "Choose a picture." : null));
    return [field.read() !== undefined, ends.every((picture) => picture !== null)].every(Boolean);
  }

  function refused(error) {
    const fault = faultOf(error);
    if (!fault) return false;
    zones[fault.place].setError(`${ends[fault.place].name}: ${fault.text}.`);
    player = null;
    stage.replaceChildren(...empty);
    return true;
  }

  /** Return what a request says, as the settings are now. */
  async function wanted(signal) {
    const images = await readAll(ends, info.limits);
    const labels = ends.some((picture) => picture.label !== undefined && picture.label !== null) ? await labelsOf(images, signal) : null;
    return { images, labels, frames: field.read(), spherical: form.elements.path.value === "arc" };
  }

  /** Return the class of each end: that with which it was drawn, else what the model takes it for. */
  async function labelsOf(images, signal) {
    return Promise.all(
      ends.map(async (picture, end) => {
        picture.inferred ??= picture.label ?? (await ask("reconstruct", { images: [images[end]] }, signal)).labels[0];
        return picture.inferred;
      }),
    );
  }

  function follow(isAsked = false) {
    if (ends.includes(null) || field.read() === undefined) return;
    zones.forEach((zone) => zone.setError(null));
    task.follow(
      "Making frames",
      async (signal) => {
        const chosen = [...ends];
        const body = await wanted(signal);
        return { chosen, body, answer: await ask("interpolate", body, signal) };
      },
      ({ chosen, body, answer }) => {
        zones.forEach((zone, end) => zone.show(chosen[end]));  // smaller than they were chosen
        player ??= new Player(stage, Object.keys(FILES));
        player.show(framesOf(answer), notesOf(answer, chosen, info), Object.keys(FILES).map((name) => () => save(name, body)));
        keep(chosen, body);
        if (isAsked) reveal(stage);
        return `${answer.frames.length} frames, ready to be looked through`;
      },
      refused,
    );
  }

  function save(name, body) {
    const [type, suffix] = FILES[name];
    task.run(
      `Making the ${name}`,
      (signal) => askFile("interpolate", body, type, signal),
      (blob) => (download(blob, `interpolation.${suffix}`), `The ${name} is saved`),
    );
  }

  function keep([first, second], { frames: number, spherical }) {
    const path = spherical ? "arc" : "line";
    keepSettings("interpolate", { first: linkOf(first), second: linkOf(second), frames: number, path });
  }

  function drawEnds(settings) {
    const before = [...ends];
    task.run(
      "Drawing pictures",
      (signal) => Promise.all(settings.map((one) => one && draw(one, info, signal))),
      (drawn) => {
        // A visitor may have chosen one by now.
        drawn.forEach((picture, end) => picture && ends[end] === before[end] && set(end, picture));
        return "Pictures are drawn";
      },
    );
  }

  function restore(settings) {
    frames.value = wholeNumber(settings.get("frames"), info.limits.count, 2) ?? frames.value;
    form.elements.path.value = settings.get("path") === "line" ? "line" : "arc";
    const named = ["first", "second"].map((name, end) => settingsOf(settings.get(name), info) ?? (ends[end] === null ? firsts[end] : null));
    if (named.some(Boolean)) drawEnds(named);
    else follow();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (check()) follow(true);
    else focusFirstError(form);
  });
  form.addEventListener("change", (event) => event.target.matches("[name=frames], [name=path]") && follow());
  return { setEnd: set, open: () => ends.every((picture) => picture === null) && drawEnds(firsts), restore };
}

function framesOf({ frames }) {
  return frames.map((base64, number) =>
    fromPng(base64, `frame${String(number).padStart(3, "0")}.png`, `Frame ${number + 1} of ${frames.length}`),
  );
}

function notesOf({ labels, notes }, chosen, info) {
  return chosen.map((picture, end) => {
    const kind = labels && className(info, labels[end]);
    const isKnown = picture.label !== undefined && picture.label !== null;
    return [picture.name, kind && (isKnown ? kind : `taken for ${kind}`), noteOf(picture, notes[end])].filter(Boolean).join(": ");
  });
}
