// The tab Restore: a damaged picture in, draws of what it could have been out.

import { keepSettings } from "./address.js";
import { ask } from "./api.js";
import { Brush } from "./brush.js";
import { damaged } from "./damage.js";
import { byId, reveal } from "./dom.js";
import { LARGEST_SEED, draw, firstSettings, labelOf, linkOf, newSeed, settingsOf, wholeNumber } from "./drawn.js";
import { DropZone } from "./dropzone.js";
import { chosenClass, fillClasses, focusFirstError, numberField, slider } from "./fields.js";
import { faultOf, readAll, release } from "./pictures.js";
import { boundedPicture } from "./reduce.js";
import { Restored } from "./restored.js";
import { Task } from "./task.js";

const QUICK = 200_000;  // restored pixels of all draws, up to which they follow each change of a setting
const HOLE = [{ box: [0.3, 0.4, 0.4, 0.3] }];  // in a sample, until a visitor paints
const WORDS = {
  Upscale: ({ factor }) => `Enlarge ${factor} times`,
  Denoise: () => "Remove noise",
  Deblock: () => "Remove JPEG blocks",
  Colourise: () => "Colour",
  Fill: () => "Fill in",
};

/**
 * Start the tab, of a server with restorers.
 * @returns {{take: function(object), open: function(), restore: function(URLSearchParams)}} take is how other tabs hand it
 *   a picture
 */
export function startRestore(info) {
  const task = new Task(byId("restore-task"));
  const panel = byId("panel-restore");
  const names = ["form", "restorer", "note", "label", "draws", "seed", "estimate", "large", "result"];
  const [form, select, note, label, draws, seed, estimate, large, stage] = names.map((name) => byId(`restore-${name}`));
  const empty = [...stage.children];
  const open = (file) => ({ name: file.name, file, url: URL.createObjectURL(file) });
  const zone = new DropZone({ id: "restore-file", label: "Picture", info, open, onpictures: ([picture]) => take(picture) });
  const brush = new Brush(changed);
  const warm = () => ((isRecommended = false), changed());
  const range = { min: 0, max: 1.5, step: 0.05, value: 1, digits: 2 };
  const temperature = slider({ id: "restore-temperature-all", label: "Temperature", ...range, oninput: warm });
  const levels = { min: 1, max: 100, step: 1, value: 25, digits: 0 };
  const sigma = slider({ id: "restore-sigma-level", label: "Noise level", ...levels, oninput: changed });
  const [counted, seeded] = [numberField(draws), numberField(seed, { optional: true })];
  let isRecommended = true;  // the temperature, which may differ by level
  let source = null;  // the picture as it was chosen
  let sent = null;  // the same as it is sent
  let view = null;  // a Restored

  const restorer = () => info.restorers[select.selectedIndex];
  const takes = (what) => restorer().takes.includes(what);
  const mostPixels = (count) => Math.min(info.limits.pixels, Math.floor(info.limits.restored_pixels / count / restorer().factor ** 2));
  /** Return whether a result takes so little time that it follows the settings. */
  const isQuick = () => Boolean(sent?.size) && draws.valueAsNumber * restorer().factor ** 2 * sent.size[0] * sent.size[1] <= QUICK;

  function clear() {
    task.cancel();
    sent = view = null;
    note.textContent = "";
    large.hidden = true;
    stage.replaceChildren(...empty);  // what is there is of another picture, or another restorer
  }

  function setRestorer(number, wanted = null) {
    clear();
    select.selectedIndex = number;
    isRecommended = wanted === null;
    const recommended = [restorer().temperature].flat();
    temperature.value = wanted ?? recommended.reduce((sum, value) => sum + value, 0) / recommended.length;
    byId("restore-sigma").hidden = !takes("sigma");
    brush.element.hidden = true;  // until there is a picture to paint on
    panel.classList.toggle("grey", restorer().channels === 1);
    label.replaceChildren();
    byId("restore-label-field").hidden = true;
    fillClasses(label, restorer(), "All in turn");
  }

  function take(picture) {
    if (picture !== source) release(source);
    clear();
    source = picture;
    zone.show(picture);
    brush.strokes = picture.settings ? HOLE : [];
    follow();
  }

  /** Read the picture as it is sent: a sample damaged, a file no larger than the server takes. */
  async function prepare(count, signal) {
    const [picture, most] = [source, mostPixels(count)];
    if (sent?.most === most) return sent.base64;
    const made = await (picture.file ? boundedPicture(picture.file, most) : damaged(picture, restorer()));
    signal.throwIfAborted();
    if (made.content) picture.file = made.content;  // the file may change or go
    const isNews = sent === null || sent.note !== made.note;
    sent = { ...made, most, url: `data:${made.type};base64,${made.base64}` };
    if (isNews) zone.show({ ...picture, url: sent.url });
    const fewer = picture.file && count > 1 && most < info.limits.pixels ? "; fewer draws keep more of it" : "";
    note.textContent = made.note && `${made.note}${fewer}`;
    large.hidden = isQuick();
    brush.element.hidden = !takes("mask") || sent.size === null;
    if (!brush.element.hidden && isNews) brush.show(sent.url, sent.size);
    return sent.base64;
  }

  /** Restore the picture as the settings are now; return undefined if a number has become wrong since the change. */
  async function restored(signal) {
    const [count, first] = [counted.read(), seeded.read()];
    if ([count, first].includes(undefined)) return undefined;
    const [image] = await readAll([{ read: () => prepare(count, signal) }], info.limits);
    const body = { image, restorer: restorer().name, count, seed: first, label: chosenClass(label) };
    body.temperature = isRecommended ? null : temperature.value;
    if (takes("sigma")) body.sigma = estimate.checked ? null : sigma.value;
    if (takes("mask")) body.mask = brush.mask();
    return body.mask === null ? null : { body, answer: await ask("restore", body, signal) };
  }

  function follow(isAsked = false) {
    zone.setError(isAsked && source === null ? "Choose a picture." : null);
    brush.setError(null);
    const number = counted.read();
    seed.max = LARGEST_SEED - (number ?? 1) + 1;
    if ([number, seeded.read()].includes(undefined) || source === null) return isAsked && focusFirstError(form);
    if (isAsked) task.cancel();  // a large picture's draws take long
    return task.follow("Restoring", restored, (result) => show(result, isAsked), refused);
  }

  function changed() {
    const isCounted = counted.read() !== undefined;
    large.hidden = sent === null || isQuick();
    if (isCounted && isQuick()) follow();
  }

  function show(result, isAsked) {
    if (result === undefined) return "A number is missing or out of range";
    if (result === null) {
      view = null;
      stage.replaceChildren(...empty);
      if (sent.size === null) zone.setError(`${source.name}: this browser cannot show it, so that nothing can be painted on it.`);
      else if (isAsked) brush.setError("Cover some of the picture, and not all of it.");
      return "Paint over what is missing";
    }
    const { body, answer } = result;
    if (view === null) view = new Restored(stage);
    view.show(answer, source, body);
    if (takes("sigma") && body.sigma === null) sigma.value = answer.sigma;
    keep({ ...body, seed: answer.images[0].seed });
    if (isAsked) reveal(stage);
    return "The picture is restored";
  }

  function refused(error) {
    const fault = faultOf(error);
    const mask = /^mask: (.*)$/s.exec(error.message);
    if (fault) zone.setError(`${source.name}: ${fault.text}.`);
    if (fault) clear();
    if (mask) brush.setError(mask[1]);
    return Boolean(fault || mask);
  }

  function keep({ restorer: name, count, seed: first, temperature: value, sigma: level, label: kind }) {
    const link = { restorer: name, picture: linkOf(source), draws: count, seed: first, temperature: value, sigma: level ?? null, class: kind };
    keepSettings("restore", link);
  }

  function drawFirst(settings) {
    task.run("Drawing a picture", (signal) => draw(settings, info, signal), (drawn) => (take(drawn), "A picture is drawn"));
  }

  function restore(settings) {
    const number = info.restorers.findIndex(({ name }) => name === settings.get("restorer"));
    const [warmth, level] = ["temperature", "sigma"].map((name) => (settings.has(name) ? Number(settings.get(name)) : null));
    setRestorer(Math.max(0, number), warmth >= 0 ? warmth : null);
    draws.value = wholeNumber(settings.get("draws"), info.limits.count, 1) ?? draws.value;
    seed.value = wholeNumber(settings.get("seed"), LARGEST_SEED) ?? seed.value;
    label.value = labelOf(settings.get("class"), restorer()) ?? "";
    estimate.checked = !(level >= 1);
    if (!estimate.checked) sigma.value = level;
    sigma.element.hidden = estimate.checked;
    const wanted = settingsOf(settings.get("picture"), info);
    if (wanted !== null || source === null) drawFirst(wanted ?? firstSettings(0, info));
    else follow();
  }

  byId("restore-picture").prepend(zone.element);
  byId("restore-brush").append(brush.element);
  byId("restore-temperature").append(temperature.element);
  byId("restore-sigma").append(sigma.element);
  sigma.element.hidden = true;
  select.append(...info.restorers.map((one) => new Option(wordsOf(one, info.restorers), one.name)));
  select.closest(".field").hidden = info.restorers.length === 1;
  draws.max = info.limits.count;
  draws.value = Math.min(4, info.limits.count);
  setRestorer(0);
  select.addEventListener("change", () => {
    setRestorer(select.selectedIndex);
    follow();
  });
  estimate.addEventListener("change", () => {
    sigma.element.hidden = estimate.checked;
    changed();
  });
  for (const input of [label, draws, seed]) input.addEventListener("change", changed);
  byId("restore-new-seed").addEventListener("click", () => {
    seed.value = newSeed();
    follow(true);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    follow(true);
  });
  return { take, open: () => source === null && drawFirst(firstSettings(0, info)), restore };
}

/** Return what a restorer does, with its name where another does the same. */
function wordsOf(restorer, all) {
  const words = (one) => WORDS[one.task]?.(one) ?? one.task;
  const isAlone = all.filter((one) => words(one) === words(restorer)).length === 1;
  return isAlone ? words(restorer) : `${words(restorer)} (${restorer.name})`;
}
