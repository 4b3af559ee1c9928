// The tab Interpolate: two or four pictures in, and what lies between them.

import { keepSettings } from "./address.js";
import { ask, askFile } from "./api.js";
import { byId, reveal } from "./dom.js";
import { draw, firstSettings, linkOf, settingsOf, wholeNumber } from "./drawn.js";
import { DropZone } from "./dropzone.js";
import { className, focusFirstError, readNumber } from "./fields.js";
import { Player } from "./player.js";
import { Fault, download, faultOf, fromPng, noteOf, readAll, release } from "./pictures.js";
import { MAP, Square } from "./square.js";
import { Task } from "./task.js";

const ENDS = ["first", "second", "third", "fourth"];
const MIDDLE = [0.5, 0.5];
const FILES = { Strip: ["image/png", "png"], GIF: ["image/gif", "gif"], WebP: ["image/webp", "webp"] };

/**
 * Start the tab.
 * @returns {{take: function(object), open: function(), restore: function(URLSearchParams)}} take is how other tabs hand it
 *   pictures, one after the other
 */
export function startInterpolate(info) {
  const task = new Task(byId("interpolate-task"));
  const ends = [null, null, null, null];
  const zones = ENDS.map((name, end) => {
    const label = `${name[0].toUpperCase()}${name.slice(1)} picture`;
    return new DropZone({ id: `interpolate-${end}`, label, info, onpictures: ([picture]) => choose(end, picture) });
  });
  byId("interpolate-ends").append(...zones.map((zone) => zone.element));
  const [form, frames, stage] = ["interpolate-form", "interpolate-frames", "frames"].map(byId);
  frames.max = info.limits.count;
  frames.value = Math.min(9, info.limits.count);
  const empty = [...stage.children];
  let turn = 0;  // the end that the next sample becomes
  let at = [0];  // where the visitor looks: how far from the first to the second, or how far across and down the square
  let kept = () => {};  // keeps what is shown in the address
  let view = null;  // a Player between two, a Square between four
  let square = 0;  // number of the square that the pictures and the path make
  let mapped = 0;  // that of the square whose map is shown

  const count = () => Number(form.elements.pictures.value);

  /** Use as many pictures as the visitor says, looking at a place between them. */
  function setCount(number, place) {
    form.elements.pictures.value = number;
    at = place;
    view = null;
    square += 1;
    zones.forEach((zone, end) => (zone.element.hidden = end >= number));
    byId("interpolate-frames-field").hidden = number !== 2;
    setTurn(turn);
  }

  function setTurn(end) {
    turn = end % count();
    byId("interpolate-turn").textContent = ENDS[turn];
  }

  function set(end, picture) {
    if (picture !== ends[end]) release(ends[end]);
    ends[end] = picture;
    zones[end].show(picture);
    if (count() === 2) [at, view] = [[0], null];  // another pair begins at its first frame
    square += 1;
    follow();
  }

  function choose(end, picture) {
    set(end, picture);
    setTurn(end + 1);
  }

  /** Say what is missing, and return whether nothing is. */
  function check() {
    zones.forEach((zone, end) => zone.setError(used()[end] === null ? "Choose a picture." : null));
    return [count() === 4 || readNumber(frames) !== undefined, !used().includes(null)].every(Boolean);
  }

  function refused(error) {
    const fault = faultOf(error);
    if (!fault) return false;
    zones[fault.place].setError(`${ends[fault.place].name}: ${fault.text}.`);
    view = null;
    square += 1;
    stage.replaceChildren(...empty);
    return true;
  }

  const used = () => ends.slice(0, count());

  /** Return what a request says of some pictures, as the settings are now. */
  async function wanted(chosen, signal) {
    const images = await readAll(chosen, info.limits);
    const labels = chosen.length === 4 || chosen.some(hasClass) ? await labelsOf(chosen, images, signal) : null;
    // The first time the whole of a square is asked for, to lie under its handle.
    const map = mapped !== square && MAP.length < info.limits.count ? MAP : [];
    const places = chosen.length === 2 ? { frames: readNumber(frames) } : { at: [at, ...map] };
    return { images, labels, ...places, spherical: form.elements.path.value === "arc" };
  }

  /** Return the class of each picture: that with which it was drawn, else what the model takes it for. */
  async function labelsOf(chosen, images, signal) {
    if (info.num_classes === null) return null;
    return Promise.all(
      chosen.map(async (picture, end) => {
        try {
          picture.inferred ??= picture.label ?? (await ask("reconstruct", { images: [images[end]] }, signal)).labels[0];
        } catch (error) {
          const fault = faultOf(error);
          throw fault ? new Fault(end, fault.text) : error;  // the request had that picture alone
        }
        return picture.inferred;
      }),
    );
  }

  function follow(isAsked = false) {
    if (used().includes(null) || (count() === 2 && readNumber(frames) === undefined)) return;
    zones.forEach((zone) => zone.setError(null));
    task.follow(
      count() === 2 ? "Making frames" : "Blending",
      async (signal) => {
        const [chosen, number] = [used(), square];
        const body = await wanted(chosen, signal);
        return { chosen, number, body, answer: await ask("interpolate", body, signal) };
      },
      ({ chosen, number, body, answer }) => {
        if (chosen.length !== count()) return "";  // another number of them is wanted by now
        chosen.forEach((picture, end) => zones[end].show(picture));  // smaller than they were chosen
        const notes = notesOf(answer, chosen, info);
        if (chosen.length === 2) showFrames(answer, notes, body);
        else showBlend(answer, notes, chosen, number);
        kept = () => keep(chosen, body);
        kept();
        if (isAsked) reveal(stage);
        return chosen.length === 2 ? `${answer.frames.length} frames, ready to be looked through` : "Blended";
      },
      refused,
    );
  }

  function showFrames(answer, notes, body) {
    view ??= new Player(stage, Object.keys(FILES), at[0], (part) => {
      at = [part];
      kept();
    });
    view.show(framesOf(answer), notes, Object.keys(FILES).map((name) => () => save(name, body)));
  }

  function showBlend(answer, notes, corners, number) {
    const [picture, ...map] = answer.frames.map((base64) => fromPng(base64, "blend.png", "The four pictures, blended"));
    view ??= new Square(stage, at, (place) => {
      at = place;
      follow();
    });
    if (mapped !== number) view.showMap(map.length ? map : corners);
    mapped = number;
    view.show(picture, notes);
  }

  function save(name, body) {
    const [type, suffix] = FILES[name];
    task.run(
      `Making the ${name}`,
      (signal) => askFile("interpolate", body, type, signal),
      (blob) => (download(blob, `interpolation.${suffix}`), `The ${name} is saved`),
    );
  }

  function keep(chosen, { frames: number = null, spherical }) {
    const pictures = Object.fromEntries(chosen.map((picture, end) => [ENDS[end], linkOf(picture)]));
    const place = chosen.length === 2 && at[0] === 0 ? null : at.map((part) => Number(part.toFixed(4))).join("_");
    keepSettings("interpolate", { ...pictures, frames: number, path: spherical ? "arc" : "line", at: place });
  }

  /** Draw the pictures that a link names, and some where none are chosen. */
  function drawEnds(links = []) {
    const before = [...ends];
    const settings = used().map((picture, end) => settingsOf(links[end], info) ?? (picture === null ? firstSettings(end, info) : null));
    if (!settings.some(Boolean)) return follow();
    task.run(
      "Drawing pictures",
      (signal) => Promise.all(settings.map((one) => one && draw(one, info, signal))),
      (drawn) => {
        const place = at;
        // A visitor may have chosen one by now.
        drawn.forEach((picture, end) => picture && ends[end] === before[end] && set(end, picture));
        at = place;
        return "Pictures are drawn";
      },
    );
  }

  function restore(settings) {
    frames.value = wholeNumber(settings.get("frames"), info.limits.count, 2) ?? frames.value;
    form.elements.path.value = settings.get("path") === "line" ? "line" : "arc";
    const place = (settings.get("at") ?? "0").split("_").map(Number);
    const isPlace = place.length <= 2 && place.every((part) => part >= 0 && part <= 1);
    setCount(isPlace && place.length === 2 ? 4 : 2, isPlace ? place : [0]);
    drawEnds(ENDS.map((name) => settings.get(name)));
  }

  form.addEventListener("submit", () => (check() ? follow(true) : focusFirstError(form)));
  frames.addEventListener("change", () => follow());
  for (const input of form.elements.path) {
    input.addEventListener("change", () => {
      square += 1;
      follow();
    });
  }
  for (const input of form.elements.pictures) {
    input.addEventListener("change", () => {
      setCount(count(), count() === 4 ? MIDDLE : [0]);
      drawEnds();
    });
  }
  byId("interpolate-count-field").hidden = info.limits.count < 4;
  setCount(2, at);
  const open = () => used().includes(null) && drawEnds();
  return { take: (picture) => choose(turn, picture), open, restore };
}

const hasClass = (picture) => picture.label !== undefined && picture.label !== null;

function framesOf({ frames }) {
  return frames.map((base64, number) =>
    fromPng(base64, `frame${String(number).padStart(3, "0")}.png`, `Frame ${number + 1} of ${frames.length}`),
  );
}

function notesOf({ labels, notes }, chosen, info) {
  return chosen.map((picture, end) => {
    const kind = labels && className(info, labels[end]);
    return [picture.name, kind && (hasClass(picture) ? kind : `taken for ${kind}`), noteOf(picture, notes[end])].filter(Boolean).join(": ");
  });
}
