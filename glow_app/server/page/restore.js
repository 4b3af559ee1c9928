// The tab Restore: a damaged picture restored, or draws of its possible originals.

import { askRestored } from "./api.js";
import { makeBrush } from "./brush.js";
import { damaged } from "./damage.js";
import { byId, h, reveal } from "./dom.js";
import { draw, firstSettings, linkOf, settingsOf } from "./drawn.js";
import { makeDropZone } from "./dropzone.js";
import { focusFirstError } from "./fields.js";
import { makeFrame } from "./frame.js";
import { faultOf, readAll, release } from "./pictures.js";
import { dataUrl, openPicture, partOf } from "./reduce.js";
import { makeRestored } from "./restored.js";
import { restoreSettings } from "./restoresettings.js";
import { keepSettings } from "./tabs.js";
import { Task } from "./task.js";

const QUICK = 0.1;  // of the pixels that a request may restore, up to which it follows each change of a setting
const BYTES = 4.2;  // of the body of a request per pixel of a part of a picture, which is sent as PNG
const HOLE = [{ box: [0.3, 0.4, 0.4, 0.3] }];  // in a sample, until the user paints

/** Start the tab, of a server with restorers. */
export function startRestore(info) {
  const task = new Task(byId("restore-task"));
  const [form, note, large, stage] = ["form", "note", "large", "result"].map((name) => byId(`restore-${name}`));
  const empty = [...stage.children];
  const open = (file) => ({ name: file.name, file, url: URL.createObjectURL(file) });
  const zone = makeDropZone({ id: "restore-file", label: "Picture", info, open, onpictures: ([picture]) => take(picture) });
  const brush = makeBrush(changed);
  const onrestorer = () => (begin(), wanted === null ? follow() : drawFirst(wanted));
  const settings = restoreSettings(info, { onchange: changed, onrestorer, onseed: () => follow(true) });
  const limit = h("p", { className: "hint" });
  const frame = makeFrame("restore-part", limit, changed);
  let source = null;  // the picture as it was chosen
  let whole = null;  // the picture as it was read or damaged
  let sent = null;  // the picture as it is sent: whole, or the part in the frame
  let view = null;  // of the results
  let wanted = null;  // settings of the sample that is being drawn as the picture

  /** Return how many pixels of the picture a request may restore. */
  function mostPixels({ count, temperature }) {
    const { pixels, restored_pixels: ofDraws, estimated_pixels: ofOne } = info.limits;
    const restored = count === 1 && temperature === 0 ? ofOne : ofDraws;
    return Math.min(pixels, Math.floor(restored / (count * settings.restorer.factor ** 2)));
  }

  /** Return the part of the picture that is restored, {left, top, width, height}; null if it is the whole picture. */
  function partFor(asked) {
    const most = Math.min(mostPixels(asked), info.limits.body_bytes / BYTES);
    const pixels = whole?.content && whole.size ? whole.size[0] * whole.size[1] : 0;
    const isSent = (whole?.content?.size ?? 0) * (4 / 3) + 1000 < info.limits.body_bytes;
    const isWhole = pixels === 0 || (isSent && pixels <= mostPixels(asked));
    frame.element.hidden = isWhole;
    if (isWhole) return null;
    frame.show(source.url, whole.size, whole.size, Math.max(1, Math.sqrt(pixels / most)));
    const draws = asked.count > 1 ? ` for ${asked.count} draws` : "";
    const bound = `This server takes up to ${(most / 1e6).toPrecision(2)} megapixels of this picture at a time${draws}.`;
    limit.textContent = `${bound} Drag the frame to the part to restore, or use the sliders, then press Restore.`;
    return frame.box;
  }

  /** Show what is sent and the size of the result; return whether it is so quick that it follows the settings. */
  function describe(asked = settings.read()) {
    if (asked === null || whole === null) return whole === null;
    const part = partFor(asked);
    const [width, height] = part ? [part.width, part.height] : (whole.size ?? [Infinity, 1]);
    const [across, down] = [width, height].map((side) => (side * settings.restorer.factor).toLocaleString("en"));
    note.textContent = whole.note ?? (whole.size && `Result: ${across} x ${down} pixels`);
    large.hidden = width * height <= QUICK * mostPixels(asked);
    return large.hidden;
  }

  function clear() {
    task.cancel();
    whole = sent = view = null;
    note.textContent = "";
    large.hidden = frame.element.hidden = true;
    stage.replaceChildren(...empty);  // a result of another picture or restorer
  }

  /** Start with the chosen restorer. */
  function begin() {
    clear();
    brush.element.hidden = true;  // until there is a picture to paint on
    byId("panel-restore").classList.toggle("grey", settings.restorer.channels === 1);
  }

  function take(picture) {
    if (picture !== source) release(source);
    clear();
    frame.crop = { zoom: 0, x: 0.5, y: 0.5 };  // as large as it may be
    [source, wanted] = [picture, null];
    zone.show(picture);
    brush.setStrokes(picture.settings ? HOLE : []);
    follow();
  }

  /** Read the chosen file, or damage the sample. */
  async function readSource(signal) {
    const picture = source;
    const made = await (picture.file ? openPicture(picture.file) : damaged(picture, settings.restorer));
    signal.throwIfAborted();
    whole = made;
    if (whole.content) {  // the file may change
      release(picture);
      Object.assign(picture, { file: whole.content, url: URL.createObjectURL(whole.content) });
    }
    zone.show({ ...picture, url: whole.url ?? picture.url });
  }

  /** Return the picture to send. */
  async function prepare(part, signal) {
    const key = JSON.stringify(part);
    if (sent?.key === key) return sent.url;
    const url = whole.url ?? (await dataUrl(part ? await partOf(whole.content, part) : whole.content));
    signal.throwIfAborted();
    sent = { url, size: part ? [part.width, part.height] : whole.size, key };
    brush.element.hidden = !settings.takesMask || sent.size === null;
    if (!brush.element.hidden) brush.show(sent.url, sent.size);
    return sent.url;
  }

  /** Restore the picture with the current settings, or return {waits: what for}. */
  async function restored(isAsked, signal, report) {
    if (whole === null) await readSource(signal);
    const asked = settings.read();
    if (asked === null) return { waits: "A number is missing or out of range" };
    const [isQuick, part] = [describe(asked), partFor(asked)];
    if (part && !isAsked && !isQuick) return { waits: "Choose the part to restore" };
    const files = Object.entries(asked.inputs).filter(([, value]) => value instanceof File);
    const others = files.map(([, file]) => async () => dataUrl(part ? await partOf(file, part) : file));
    const reads = [() => prepare(part, signal), ...others].map((read) => ({ read }));
    const [image, ...pictures] = await readAll(reads, info.limits);
    const mask = settings.takesMask ? { mask: brush.mask() } : {};
    if (mask.mask === null) return { waits: "Paint over what is missing", isUncovered: true };
    const read = Object.fromEntries(files.map(([name], place) => [name, pictures[place]]));
    const body = { ...asked, image, inputs: { ...asked.inputs, ...read, ...mask } };
    const response = await askRestored(body, asked.count > 1 ? "application/json" : "image/png", signal, report.share);
    return asked.count > 1 ? { body, answer: await response.json() } : { body, response, blob: await response.blob() };
  }

  function follow(isAsked = false) {
    zone.setError(isAsked && source === null ? "Choose a picture." : null);
    brush.setError(null);
    if (settings.read() === null || source === null) return isAsked && focusFirstError(form);
    if (isAsked) task.cancel();  // a large picture takes long
    return task.follow("Restoring", (...work) => restored(isAsked, ...work), (result) => show(result, isAsked), refused);
  }

  function changed() {
    if (describe()) follow();
  }

  function show(result, isAsked) {
    const { waits, isUncovered, body } = result;
    if (isUncovered) {
      view = null;
      stage.replaceChildren(...empty);
      if (sent.size === null) zone.setError(`${source.name}: this browser cannot show the picture, so you cannot paint on it.`);
      else if (isAsked) brush.setError("Cover part of the picture, but not all of it.");
    }
    if (waits) return waits;
    view ??= makeRestored(stage);
    const seed = view.show(result, sent.url, source, settings.done);
    keepSettings("restore", { restorer: body.restorer, picture: linkOf(source), ...settings.draws(seed) });
    if (isAsked) reveal(stage);
    return "Picture restored";
  }

  function refused(error) {
    const fault = faultOf(error);  // of the picture or, if its place is not 0, of a further input
    const mask = /^inputs[.:] ?mask: (.*)$/s.exec(error.message);
    if (fault?.place === 0) {
      zone.setError(`${source.name}: ${fault.message}.`);
      clear();
    }
    if (mask) brush.setError(mask[1]);
    return fault?.place === 0 || mask !== null;
  }

  function drawFirst(sample) {
    wanted = sample;
    task.run("Drawing a picture", (signal) => draw(sample, info, signal), (drawn) => (take(drawn), "Picture drawn"));
  }

  function restore(link) {
    settings.restore(link);
    begin();
    const named = settingsOf(link.get("picture"), info);
    if (named !== null || source === null) drawFirst(named ?? firstSettings(0, info));
    else follow();
  }

  byId("restore-picture").prepend(zone.element);
  stage.before(frame.element, brush.element);
  begin();
  form.addEventListener("submit", () => follow(true));
  return { take, open: () => source === null && drawFirst(firstSettings(0, info)), restore };
}
