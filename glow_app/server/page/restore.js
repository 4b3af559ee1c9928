// The tab Restore: draws of possible originals of a damaged picture.

import { ask } from "./api.js";
import { makeBrush } from "./brush.js";
import { damaged } from "./damage.js";
import { byId, reveal } from "./dom.js";
import { draw, firstSettings, linkOf, settingsOf } from "./drawn.js";
import { makeDropZone } from "./dropzone.js";
import { focusFirstError } from "./fields.js";
import { faultOf, readAll, release } from "./pictures.js";
import { boundedPicture } from "./reduce.js";
import { makeRestored } from "./restored.js";
import { restoreSettings } from "./restoresettings.js";
import { keepSettings } from "./tabs.js";
import { Task } from "./task.js";

const QUICK = 200_000;  // restored pixels of all draws, up to which they are redrawn with each change of a setting
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
  let source = null;  // the picture as it was chosen
  let sent = null;  // the picture as it is sent
  let view = null;  // of the draws
  let wanted = null;  // settings of the sample that is being drawn as the picture

  const pixelsPer = (count) => count * settings.restorer.factor ** 2;
  const mostPixels = (count) => Math.min(info.limits.pixels, Math.floor(info.limits.restored_pixels / pixelsPer(count)));
  /** Return whether draws are so quick that they follow the settings. */
  const isQuick = (count) => Boolean(sent?.size) && pixelsPer(count) * sent.size[0] * sent.size[1] <= QUICK;

  function clear() {
    task.cancel();
    sent = view = null;
    note.textContent = "";
    large.hidden = true;
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
    [source, wanted] = [picture, null];
    zone.show(picture);
    brush.setStrokes(picture.settings ? HOLE : []);
    follow();
  }

  /** Return the picture to send for some draws: a damaged sample, or a file reduced to what the server accepts. */
  async function prepare(count, signal) {
    const [picture, most] = [source, mostPixels(count)];
    if (sent?.most === most) return sent.url;
    const made = await (picture.file ? boundedPicture(picture.file, most) : damaged(picture, settings.restorer));
    signal.throwIfAborted();
    if (made.content) picture.file = made.content;  // the file may change
    const isNews = sent === null || sent.note !== made.note;
    sent = { ...made, most };
    if (isNews) zone.show({ ...picture, url: sent.url });
    const fewer = picture.file && count > 1 && most < info.limits.pixels ? "; fewer draws allow a larger picture" : "";
    note.textContent = made.note && `${made.note}${fewer}`;
    large.hidden = isQuick(count);
    brush.element.hidden = !settings.takes("mask") || sent.size === null;
    if (!brush.element.hidden && isNews) brush.show(sent.url, sent.size);
    return sent.url;
  }

  /** Restore the picture with the current settings; return undefined if one has become invalid. */
  async function restored(signal) {
    const asked = settings.read();
    if (asked === null) return undefined;
    const files = Object.entries(asked.inputs).filter(([, value]) => value instanceof File);
    const others = files.map(([, file]) => async () => (await boundedPicture(file, mostPixels(asked.count))).url);
    const reads = [() => prepare(asked.count, signal), ...others].map((read) => ({ read }));
    const [image, ...pictures] = await readAll(reads, info.limits);
    const mask = settings.takes("mask") ? { mask: brush.mask() } : {};
    const read = Object.fromEntries(files.map(([name], place) => [name, pictures[place]]));
    const body = { ...asked, image, inputs: { ...asked.inputs, ...read, ...mask } };
    return mask.mask === null ? null : { body, answer: await ask("restore", body, signal) };
  }

  function follow(isAsked = false) {
    zone.setError(isAsked && source === null ? "Choose a picture." : null);
    brush.setError(null);
    if (settings.read() === null || source === null) return isAsked && focusFirstError(form);
    if (isAsked) task.cancel();  // draws of a large picture take long
    return task.follow("Restoring", restored, (result) => show(result, isAsked), refused);
  }

  function changed() {
    const asked = settings.read();
    if (asked === null) return;
    large.hidden = sent === null || isQuick(asked.count);
    if (sent === null || isQuick(asked.count)) follow();
  }

  function show(result, isAsked) {
    if (result === undefined) return "A number is missing or out of range";
    if (result === null) {
      view = null;
      stage.replaceChildren(...empty);
      if (sent.size === null) zone.setError(`${source.name}: this browser cannot show the picture, so you cannot paint on it.`);
      else if (isAsked) brush.setError("Cover part of the picture, but not all of it.");
      return "Paint over what is missing";
    }
    const { body, answer } = result;
    view ??= makeRestored(stage);
    view.show(answer, source, body, settings.done);
    const { restorer, count: draws, temperature, inputs: { sigma } } = body;
    if (sigma === null) settings.showSigma(answer.facts.sigma);
    const [{ seed }] = answer.images;
    keepSettings("restore", { restorer, picture: linkOf(source), draws, seed, temperature, sigma });
    if (isAsked) reveal(stage);
    return "The picture is restored";
  }

  function refused(error) {
    const fault = faultOf(error);  // of the picture or, if its place is not 0, of a further input
    const mask = /^inputs[.:] ?mask: (.*)$/s.exec(error.message);
    if (fault?.place === 0) {
      zone.setError(`${source.name}: ${fault.text}.`);
      clear();
    }
    if (mask) brush.setError(mask[1]);
    return fault?.place === 0 || mask !== null;
  }

  function drawFirst(sample) {
    wanted = sample;
    task.run("Drawing a picture", (signal) => draw(sample, info, signal), (drawn) => (take(drawn), "A picture is drawn"));
  }

  function restore(link) {
    settings.restore(link);
    begin();
    const named = settingsOf(link.get("picture"), info);
    if (named !== null || source === null) drawFirst(named ?? firstSettings(0, info));
    else follow();
  }

  byId("restore-picture").prepend(zone.element);
  stage.before(brush.element);
  begin();
  form.addEventListener("submit", () => follow(true));
  return { take, open: () => source === null && drawFirst(firstSettings(0, info)), restore };
}
