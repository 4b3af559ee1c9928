// The tab Blend: frames between two pictures, or blends of four.

import { ask, askFile } from "./api.js";
import { givenText, knowsAttributes } from "./attributes.js";
import { byId, joined } from "./dom.js";
import { draw, firstSettings, linkOf, settingsOf, wholeNumber } from "./drawn.js";
import { makeDropZone } from "./dropzone.js";
import { capitalised, choice, readNumber } from "./fields.js";
import { download, faultOf, fileName, fromBase64, noteOf, readAll } from "./pictures.js";
import { makePlayer } from "./player.js";
import { MAP, makeSquare } from "./square.js";
import { keepSettings } from "./tabs.js";
import { Task } from "./task.js";

const COUNTS = ["Two pictures", "Four"];
const ENDS = ["first", "second", "third", "fourth"];
const MIDDLE = [0.5, 0.5];
const FILES = { Strip: ["image/png", "png"], GIF: ["image/gif", "gif"], WebP: ["image/webp", "webp"] };

/** Start the tab; take(picture) sets one end after the other. */
export function startInterpolate(info) {
  const task = new Task(byId("interpolate-task"), true, info.preview);
  const ends = [null, null, null, null];
  const zones = ENDS.map((name, end) => {
    const label = `${capitalised(name)} picture`;
    return makeDropZone({ id: `interpolate-${end}`, label, info, onpictures: ([picture]) => choose(end, picture) });
  });
  byId("interpolate-ends").append(...zones.map((zone) => zone.element));
  const [frames, stage] = ["interpolate-frames", "frames"].map(byId);
  frames.max = info.limits.count;
  frames.value = Math.min(9, info.limits.count);
  const empty = [...stage.children];
  let turn = 0;  // the end that the next sample replaces
  let at = [0];  // position from the first to the second, or across and down the square
  let view = null;  // a player between two, a square between four
  let shown = null;  // {chosen, body}: the request of what it shows
  let mapped = null;  // the square whose map is under the handle

  const pictures = choice({ name: "pictures", label: "Pictures to blend", texts: COUNTS, oninput: changeCount });
  byId("interpolate-ends").before(pictures.element);
  const count = () => (pictures.value === "Four" ? 4 : 2);

  /** Set a position: [t] between two pictures, or [across, down] between four. */
  function setPlace(place) {
    pictures.value = COUNTS[place.length - 1];
    at = place;
    view = mapped = null;
    zones.forEach((zone, end) => (zone.element.hidden = end >= count()));
    byId("interpolate-frames-field").hidden = count() === 4;
    setTurn(turn);
  }

  function changeCount() {
    setPlace(count() === 4 ? MIDDLE : [0]);
    drawEnds();
  }

  function setTurn(end) {
    turn = end % count();
    byId("interpolate-turn").textContent = ENDS[turn];
  }

  function set(end, picture) {
    ends[end] = picture;
    zones[end].show(picture);
    if (count() === 2) [at, view] = [[0], null];  // a new pair starts at its first frame
    follow();
  }

  function choose(end, picture) {
    set(end, picture);
    setTurn(end + 1);
  }

  function refused(error) {
    const fault = faultOf(error);
    if (!fault) return false;
    zones[fault.place].setError(`${ends[fault.place].name}: ${fault.message}.`);
    view = mapped = null;
    stage.replaceChildren(...empty);
    return true;
  }

  const used = () => ends.slice(0, count());
  const stem = () => fileName(shown.chosen[0].name, "to", shown.chosen[1].name);

  async function wanted(chosen) {
    const images = await readAll(chosen, info.limits);
    const unknown = knowsAttributes(info) ? {} : null;
    const given = chosen.map((picture) => picture.given ?? picture.inferred ?? unknown);
    const known = given.includes(null) ? null : given;  // null: the server infers all
    const body = { images, given: known };
    if (chosen.length === 2) return { ...body, frames: readNumber(frames) };
    // The first request for a square also asks for its map, which is shown under the handle.
    const map = mapped !== squareOf(body) && MAP.length < info.limits.count ? MAP : [];
    return { ...body, at: [at, ...map] };
  }

  function follow() {
    if (used().includes(null) || (count() === 2 && readNumber(frames) === undefined)) return;
    zones.forEach((zone) => zone.setError(null));
    task.follow(
      count() === 2 ? "Making frames" : "Blending",
      async (signal, _, size) => {
        const chosen = used();
        const body = await wanted(chosen);
        if (body.frames === undefined && chosen.length === 2) return null;  // became invalid since the change
        return { chosen, body, answer: await ask("interpolate", { ...body, size }, signal) };
      },
      (result, size) => {
        if (result === null) return "A number is missing or out of range";
        const { chosen, body, answer } = result;
        if (chosen.length !== count()) return "";  // their number has changed
        chosen.forEach((picture, end) => {
          zones[end].show(picture);  // reduced
          zones[end].judge(picture);
          picture.inferred = answer.given?.[end];
        });
        const notes = notesOf(answer, chosen, info);
        shown = { chosen, body };
        if (chosen.length === 2) showFrames(answer, notes, size);
        else showBlend(answer, notes);
        keep();
        return chosen.length === 2 ? `${answer.frames.length} frames ready` : "Blended";
      },
      refused,
    );
  }

  function showFrames(answer, notes, isPreview) {
    const frames = framesOf(answer, stem());
    // The ends are known whole, where the browser can show them.
    if (isPreview) shown.chosen.forEach(({ url, settings, size }, end) => (settings ?? size) && (frames.at(-end).url = url));
    const onmove = (part) => ((at = [part]), keep());
    view ??= makePlayer(stage, at[0], { files: Object.keys(FILES), onsave: save, onmove });
    view.show(frames, notes);
  }

  function showBlend(answer, notes) {
    const [picture, ...map] = answer.frames.map((base64) => fromBase64(base64, "blend-of-four.png", "The four pictures, blended"));
    view ??= makeSquare(stage, at, (place) => ((at = place), follow()));
    const square = squareOf(shown.body);
    if (mapped !== square) view.showMap(map.length ? map : shown.chosen);
    mapped = square;
    view.show(picture, notes);
  }

  function save(name) {
    const [{ body }, [type, suffix]] = [shown, FILES[name]];
    task.run(
      `Making the ${name}`,
      (signal) => askFile("interpolate", body, type, signal),
      (blob) => (download(blob, stem().replace(/png$/, suffix)), `${name} saved`),
    );
  }

  function keep() {
    const { chosen, body } = shown;
    const pictures = Object.fromEntries(chosen.map((picture, end) => [ENDS[end], linkOf(picture)]));
    const place = chosen.length === 2 && at[0] === 0 ? null : at.map((part) => Number(part.toFixed(4))).join("_");
    keepSettings("interpolate", { ...pictures, frames: body.frames, at: place });
  }

  /** Draw the pictures of a link, and default pictures where none are chosen. */
  function drawEnds(links = []) {
    const before = [...ends];
    const first = (picture, end) => (picture === null ? firstSettings(end, info) : null);
    const settings = used().map((picture, end) => settingsOf(links[end], info) ?? first(picture, end));
    if (!settings.some(Boolean)) return follow();
    task.run(
      "Drawing pictures",
      (signal) => Promise.all(settings.map((each) => each && draw(each, info, signal))),
      (drawn) => {
        const place = at;
        // The user may have chosen one in the meantime.
        drawn.forEach((picture, end) => picture && ends[end] === before[end] && set(end, picture));
        at = place;
        return "Pictures drawn";
      },
    );
  }

  function restore(settings) {
    frames.value = wholeNumber(settings.get("frames"), info.limits.count, 2) ?? frames.value;
    const place = (settings.get("at") ?? "0").split("_").map(Number);
    setPlace(place.length <= 2 && place.every((part) => part >= 0 && part <= 1) ? place : [0]);
    drawEnds(ENDS.map((name) => settings.get(name)));
  }

  frames.addEventListener("change", () => follow());
  pictures.element.hidden = info.limits.count < 4;
  setPlace(at);
  const open = () => used().includes(null) && drawEnds();
  return { take: (picture) => choose(turn, picture), open, restore };
}

/** Return a key of all that the map of a square depends on. */
const squareOf = ({ images }) => images.join();

function framesOf({ frames }, name) {
  const nameOf = (number) => fileName(name, `${number} of ${frames.length}`);
  return frames.map((base64, number) => fromBase64(base64, nameOf(number + 1), `Frame ${number + 1} of ${frames.length}`));
}

/** Return what there is to say about the pictures, each with its name. */
function notesOf({ given, notes }, chosen, info) {
  return chosen.flatMap((picture, end) => {
    const kind = !knowsAttributes(info) && given && givenText(info, given[end]);
    const note = joined(": ", kind && (picture.given ?? null) === null ? `recognised as ${kind}` : kind, noteOf(picture, notes[end]));
    return note ? [`${picture.name}: ${note}`] : [];
  });
}
