// The tab Restore: pictures that are restored one after another, or draws of possible originals.

import { askRestored } from "./api.js";
import { makeBrush } from "./brush.js";
import { byId, downloadButton, h, joined } from "./dom.js";
import { draw, firstSettings, linkOf, settingsOf } from "./drawn.js";
import { makeDropZone } from "./dropzone.js";
import { focusFirstError } from "./fields.js";
import { makeFrame } from "./frame.js";
import { GONE, blobOf, download, faultAt, faultOf, release, thumbnail } from "./pictures.js";
import { openPicture, partOf } from "./reduce.js";
import { SUFFIXES, makeRestored, resultOf } from "./restored.js";
import { doneBy, restoreSettings, wordsOf } from "./restoresettings.js";
import { keepSettings } from "./tabs.js";
import { Task } from "./task.js";

const QUICK = 1.5e6;  // restored pixels up to which the result follows each change of a setting
const BYTES = 4.2;  // of the body of a request per pixel of a part of a picture, which is sent as PNG
const MORE_BYTES = 4000;  // of the body of a request besides its picture
const HOLE = [{ box: [0.3, 0.4, 0.4, 0.3] }];  // in an example, until the user paints
const CREDIT = "Photograph: Rachel Michetti, CC0, from scikit-image; noise added, saved as JPEG.";

/** Start the tab, of a server with restorers. */
export function startRestore(info) {
  const task = new Task(byId("restore-task"));
  const [form, note, large, number, stage, row] = ["form", "note", "large", "frame", "result", "files"].map((name) => byId(`restore-${name}`));
  const [panel, empty] = [byId("panel-restore"), [...stage.children]];
  const open = (file) => ({ name: file.name, file, url: URL.createObjectURL(file) });
  const zone = makeDropZone({ id: "restore-file", label: "Pictures", info, many: true, around: panel, open, onpictures: take });
  const brush = makeBrush(changed);
  const settings = restoreSettings(info, { onchange: changed, onrestorer: begin, onseed: () => follow(true) });
  const limit = h("p", { className: "hint" });
  const frame = makeFrame("restore-part", limit, changed);
  const enlarge = h("button", { onclick: enlargeAll });
  // Each has, once it is read, content and extent; once it was tried, the key of the settings, and sent and result or fault;
  // if its result is restored further, the earlier restorers, and what else was first asked for; if the server has found several
  // frames, their number, and the chosen one.
  let pictures = [];
  let shown = null;  // one of these
  let view = null;  // of its result
  let wanted = null;  // settings of the sample that is being drawn as the picture

  const timesOf = (picture) => settings.restorersOf(picture).reduce((times, { factor }) => times * factor, 1);

  /** Return how many pixels of the shown picture a request may restore. */
  function mostPixels({ count, temperature }) {
    const { pixels, restored_pixels: ofDraws, estimated_pixels: ofOne } = info.limits;
    const restored = count === 1 && temperature === 0 ? ofOne : ofDraws;
    return Math.min(pixels, Math.floor(restored / (count * timesOf(shown) ** 2)));
  }

  /** Return the part of the shown picture that is restored, {left, top, width, height}; null if it is the whole picture. */
  function partFor(asked) {
    const [most, [width, height]] = [mostPixels(asked), shown.extent ?? [0, 0]];
    const isWhole = width * height <= most && (width === 0 || shown.content.size + MORE_BYTES < info.limits.body_bytes);
    frame.element.hidden = isWhole;
    if (isWhole) return null;
    const used = Math.min(most, info.limits.body_bytes / BYTES);
    frame.show(shown.url, shown.extent, shown.extent, Math.max(1, Math.sqrt((width * height) / used)));
    const draws = asked.count > 1 ? ` for ${asked.count} draws` : "";
    const bound = `This server takes up to ${(used / 1e6).toPrecision(2)} megapixels of this picture at a time${draws}.`;
    limit.textContent = `${bound} Drag the frame to the part to restore, or use the sliders, then press Restore.`;
    return frame.box;
  }

  /** Show the size of the result; return whether it is that of a picture so quick that it follows the settings. */
  function describe() {
    const asked = settings.read();
    note.textContent = shown?.note ?? "";
    if (asked === null || !shown?.content) return !shown?.content;
    const part = partFor(asked);
    const { width, height } = part ?? { width: shown.extent?.[0] ?? Infinity, height: shown.extent?.[1] ?? 1 };
    const times = timesOf(shown);
    const [across, down] = [width, height].map((side) => (side * times).toLocaleString("en"));
    const restorers = settings.restorersOf(shown);
    const steps = restorers.length > 1 && `Steps: ${restorers.map(wordsOf).join(", then ")}.`;
    note.textContent = joined(" ", shown.note, shown.extent && `Result: ${across} x ${down} pixels.`, steps);
    large.hidden = part === null && asked.count * width * height * times ** 2 <= QUICK;
    return large.hidden;
  }

  /** Show one of the pictures, and its result if there is one. */
  function select(picture) {
    shown = picture;
    const { result, fault, sent } = picture;
    const enlarger = settings.enlargerFor(timesOf(picture));
    panel.classList.toggle("grey", settings.restorer.channels === 1);
    zone.show(picture);
    zone.setError(fault ? `${picture.name}: ${fault}.` : null);
    frame.element.hidden = large.hidden = true;
    describe();
    number.closest("label").hidden = !picture.frames;
    Object.assign(number, { max: picture.frames - 1, value: picture.frame ?? "" });
    showBrush();
    byId("restore-first").hidden = picture.earlier !== undefined;
    enlarge.hidden = !enlarger;
    enlarge.textContent = enlarger ? `Enlarge ${enlarger.factor} times` : "";
    if (result) (view ??= makeRestored(stage, enlarge)).show(result, sent.url);
    else showNothing();
    showRow();
  }

  function showBrush() {
    const { sent, extent } = shown;
    brush.element.hidden = !settings.takesMask || !sent || !extent;
    if (!brush.element.hidden) brush.show(sent.url, sent.size);
  }

  function showNothing() {
    view = null;
    stage.replaceChildren(...empty);
  }

  function showRow() {
    const button = (picture) => {
      const state = picture.fault ? "failed" : picture.result ? "restored" : "waiting";
      const title = `${picture.name}: ${picture.fault ?? state}`;
      const own = { title, "aria-label": title, "aria-pressed": picture === shown, onclick: () => select(picture) };
      return h("button", { className: `picture ${state}`, ...own }, thumbnail(picture));
    };
    const results = pictures.map(({ result }) => result?.pictures[0]).filter(Boolean);
    const onclick = () => results.forEach(({ url, name }) => download(url, name));
    row.hidden = pictures.length < 2;
    row.replaceChildren(...pictures.map(button), results.length > 1 ? downloadButton(onclick, `Download all ${results.length}`) : "");
  }

  function take(chosen, place = 0) {
    const urlsOf = ({ url, sent, result }) => [url, sent?.url, ...(result?.pictures ?? []).map((each) => each.url)];
    const used = new Set(chosen.flatMap(urlsOf));
    pictures.flatMap(urlsOf).forEach((url) => used.has(url) || release({ url }));
    task.cancel();
    [pictures, wanted] = [chosen, null];
    frame.crop = { zoom: 0, x: 0.5, y: 0.5 };  // as large as it may be
    brush.setStrokes(chosen[place].settings || chosen[place].isExample ? HOLE : []);
    select(chosen[place]);
    follow();
  }

  /** Read a picture, so that it stays if its file changes. */
  async function load(picture, signal) {
    const refuse = () => Promise.reject(faultAt(0, GONE));
    const { content, size } = await openPicture(picture.file ?? blobOf(picture.url)).catch(refuse);
    signal.throwIfAborted();
    if (picture.file) {
      release(picture);
      picture.url = URL.createObjectURL(content);
    }
    Object.assign(picture, { content, extent: size });
    if (picture === shown) select(picture);
  }

  /** Set what is sent of a picture. */
  async function prepare(picture, part, signal) {
    const key = JSON.stringify(part);
    if (picture.sent?.key === key) return;
    const content = part ? await partOf(picture.content, part) : picture.content;
    signal.throwIfAborted();
    const url = part ? URL.createObjectURL(content) : picture.url;
    picture.sent = { key, content, url, size: part ? [part.width, part.height] : picture.extent };
    if (picture === shown) showBrush();
  }

  /** Restore a picture with the current settings, or return {waits: what for}. */
  async function restored(picture, isAsked, signal, report) {
    if (!picture.content) await load(picture, signal);
    const asked = settings.read();
    const key = keyOf(asked);
    if (asked === null) return { key, waits: "A number is missing or out of range" };
    const part = picture === shown ? partFor(asked) : null;
    if (part && !isAsked) return { key, waits: "Choose the part to restore" };
    await prepare(picture, part, signal);
    const mask = settings.takesMask ? await brush.mask() : undefined;
    if (mask === null) return { key, waits: "Paint over what is missing", isUncovered: true };
    const first = picture.earlier ? picture.first : { force: asked.force, inputs: { ...asked.inputs, mask } };
    const { inputs, ...fields } = { ...asked, ...first, frame: picture.frame };
    const restorers = settings.restorersOf(picture);
    for (const [name, value] of Object.entries(inputs)) {
      fields[`inputs.${name}`] = part && value instanceof File ? await partOf(value, part) : value;
    }
    const { content } = picture.sent;
    const most = info.limits.body_bytes - MORE_BYTES;
    if (content.size > most) throw faultAt(0, `too large; this server accepts ${(most / 2 ** 20).toFixed(1)} MiB`);
    const type = content.type in SUFFIXES ? content.type : "image/png";
    const accept = asked.count > 1 ? `application/json, ${type}` : type;
    const names = restorers.map(({ name }) => name);
    const response = await askRestored({ ...fields, restorer: names, image: content }, accept, signal, report.share);
    return { key, asked, first, result: await resultOf(response, { ...asked, type }, picture, restorers.map(doneBy)) };
  }

  /** Restore what is left: the shown picture if it or a setting has changed, or after Restore was pressed all. */
  function follow(isAsked = false) {
    zone.setError(isAsked && shown === null ? "Choose a picture." : null);
    brush.setError(null);
    const asked = settings.read();
    if (asked === null || shown === null) return isAsked && focusFirstError(form);
    const left = isAsked && !settings.takesMask ? pictures : [shown];
    for (const picture of left) if (picture.key !== keyOf(asked) || !picture.result) picture.key = null;
    if (isAsked) {
      task.cancel();  // a large picture takes long
      if (!next()) shown.key = null;
    }
    return goOn(isAsked);
  }

  /** Return the picture to restore next: the shown one, or for a mask no other. */
  const next = () => [shown, ...(settings.takesMask ? [] : pictures)].find(({ key }) => !key);

  function goOn(isAsked = false) {
    const picture = next();
    if (!picture) return;
    const what = pictures.length > 1 ? `Restoring ${picture.name}` : "Restoring";
    const work = (...each) => restored(picture, isAsked, ...each);
    task.follow(what, work, (result) => use(picture, result, isAsked), (error) => refused(picture, error));
  }

  function changed() {
    if (shown) shown.key = null;
    if (describe()) follow();
  }

  function use(picture, { key, waits, isUncovered, asked, first, result }, isAsked) {
    picture.key = key;
    if (isUncovered) {
      picture.result = null;
      showNothing();
      if (picture.extent === null) zone.setError(`${picture.name}: this browser cannot show the picture, so you cannot paint on it.`);
      else if (isAsked) brush.setError("Cover part of the picture, but not all of it.");
    }
    if (waits) return waits;
    picture.result?.pictures.forEach(release);
    Object.assign(picture, { first, result, fault: null });
    if (picture === shown) {
      select(picture);
      keepSettings("restore", { restorer: settings.restorer.name, picture: linkOf(picture), ...settings.draws(result.seed) });
      if (isAsked) stage.scrollIntoView({ block: "nearest" });
    } else showRow();
    goOn();
    return "Picture restored";
  }

  function refused(picture, error) {
    const fault = faultOf(error);  // of the picture or, if its place is not 0, of a further input
    const mask = /^inputs[.:] ?mask: (.*)$/s.exec(error.message);
    if (fault?.place === 0) {
      const [, frames] = /^it has (\d+) frames/.exec(fault.message) ?? [];
      const text = frames ? `it has ${frames} frames; choose one by its number` : fault.message;
      Object.assign(picture, { key: keyOf(settings.read()), fault: text, result: null }, frames && { frames: Number(frames) });
      select(shown);
      goOn();
    }
    if (mask) brush.setError(mask[1]);
    return fault?.place === 0 || mask !== null;
  }

  /** Enlarge the results, which are made again in the same request, because their files may be compressed. */
  function enlargeAll() {
    const next = ({ result, ...picture }) => ({ ...picture, earlier: settings.restorersOf(picture), settings: null, key: null });
    const others = pictures.map((picture) => (picture.result ? next(picture) : picture));
    settings.choose(settings.enlargerFor(timesOf(shown)).name);
    take(others, pictures.indexOf(shown));
  }

  /** Start with the chosen restorer. */
  function begin() {
    task.cancel();
    for (const picture of pictures) Object.assign(picture, { key: null, earlier: undefined, result: null, fault: null });
    if (wanted !== null || shown === null || shown.isExample) return showExample();
    select(shown);
    return follow();
  }

  /** Show a picture to try: a sample for the restorers of such pictures, or if one is wanted, and otherwise a photograph. */
  function showExample() {
    const sample = wanted ?? (settings.isForSamples ? firstSettings(0, info) : null);
    const get = sample ? (signal) => draw(sample, info, signal) : photograph;
    task.run("Opening a picture", get, (picture) => (take([{ ...picture, isExample: wanted === null }]), "Picture shown"));
  }

  async function photograph(signal) {
    const file = await (await fetch("photo.jpg", { signal })).blob();
    return { name: "photo.jpg", file, url: URL.createObjectURL(file), note: CREDIT };
  }

  function restore(link) {
    settings.restore(link);
    wanted = settingsOf(link.get("picture"), info);
    begin();
  }

  byId("restore-picture").prepend(zone.element);
  stage.before(frame.element, brush.element);
  frame.element.hidden = brush.element.hidden = true;
  form.addEventListener("submit", () => follow(true));
  number.addEventListener("change", () => {
    if (!number.reportValidity()) return;
    Object.assign(shown, { frame: number.valueAsNumber, key: null });
    follow();
  });
  return { take: (picture) => (settings.suitSamples(), take([picture])), open: () => shown === null && begin(), restore };
}

const keyOf = (asked) => JSON.stringify(asked, (_, value) => (value instanceof File ? [value.name, value.lastModified] : value));
