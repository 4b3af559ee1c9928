// The tab Create: a gallery, whose newest batch follows the settings.

import { ask } from "./api.js";
import { attributeControls, knowsAttributes, namedOf, valuesLink, valuesOf } from "./attributes.js";
import { byId } from "./dom.js";
import { LARGEST_SEED, guidanceLink, guidanceOf, givenOf, newSeed, nounOf, pictureOf, temperatureOf, wholeNumber } from "./drawn.js";
import { chosenGiven, fillGiven, focusFirstError, givenPlace, readNumber } from "./fields.js";
import { makeBatch } from "./gallery.js";
import { keepSettings } from "./tabs.js";
import { Task } from "./task.js";
import { guidanceControl, temperatureControl } from "./temperature.js";
import { startViewer } from "./viewer.js";

/** Start the tab; uses are functions of a picture, by name, and ondraw gets the newest batch. */
export function startSample(info, uses, ondraw) {
  const task = new Task(byId("sample-task"), true, info.preview);
  const temperature = temperatureControl(byId("sample-temperature"), byId("sample-levels"), info, follow);
  const guidance = guidanceControl(byId("sample-guidance"), info, follow);
  const [given, seed, count] = ["sample-given", "sample-seed", "sample-count"].map(byId);
  fillGiven(given, info, "All in turn");
  const attributes = knowsAttributes(info) ? attributeControls("sample", info, follow, `Any ${nounOf(info)}`) : null;
  count.max = info.limits.count;
  count.value = Math.min(6, info.limits.count);
  byId("draw").textContent = `New ${nounOf(info)}s`;
  let batch = null;  // the newest
  const stage = byId("newest").parentElement;
  new ResizeObserver(() => stage.style.setProperty("--height", `${stage.offsetHeight}px`)).observe(stage);

  const open = startViewer(info, uses, (pictures, shown) => keep(shown ? pictures : batch.pictures, shown));

  /** Draw a new batch on top; then open the picture of a seed, with edits, if one is given. */
  function draw(isAsked, opened = null, edits = {}) {
    const number = readNumber(count);
    seed.max = LARGEST_SEED - (number ?? 1) + 1;
    const first = readNumber(seed);
    if (number === undefined || first === undefined) return focusFirstError(byId("sample-form"));
    const wanted = { count: number, seed: first ?? newSeed() };
    // Other settings are applied at once, so drawing the same seeds again would change nothing.
    const { seed: last, count: most } = batch === null ? {} : drawnAs(batch.pictures);
    if (isAsked && last === wanted.seed && most === number) {
      seed.value = wanted.seed = wanted.seed + number <= Number(seed.max) ? wanted.seed + number : 0;
    }
    const images = number === 1 ? "1 image" : `${number} images`;
    task.run(
      `Drawing ${images}`,
      (signal) => picturesOf(wanted, signal),
      (pictures) => {
        batch = makeBatch(pictures, info, open);
        batch.addToGallery();
        ondraw(pictures);
        keep(pictures);
        const place = opened === null ? -1 : opened - wanted.seed;
        // The user may have changed to another tab.
        if (pictures[place] && !byId("panel-sample").hidden) open(pictures, place, edits);
        return `${images} drawn`;
      },
    );
  }

  /** Draw the newest batch again, with the current temperature, guidance and what is given. */
  function follow() {
    if (batch === null) return;
    task.follow(
      "Drawing again",
      (signal, _, size) => picturesOf({ ...drawnAs(batch.pictures), size }, signal),
      (pictures, size) => {
        batch.show(pictures);
        if (!size) ondraw(pictures);
        keep(pictures);
        return "Drawn again";
      },
    );
  }

  async function picturesOf(wanted, signal) {
    const settings = { ...wanted, temperature: temperature.value, guidance: guidance.value, given: attributes?.values ?? chosenGiven(given, info) };
    const answer = await ask("sample", settings, signal);
    return answer.images.map((image) => pictureOf(image, settings, info));
  }

  const drawnAs = (pictures) => ({ count: pictures.length, seed: pictures[0].settings.seed });

  /** Write what is shown to the address: a batch, and the open picture. */
  function keep(pictures, shown = null) {
    const { temperature: drawn, guidance: guided, given: known } = pictures[0].settings;
    const text = [drawn].flat().join("-");
    const link = { ...drawnAs(pictures), temperature: text, guidance: guidanceLink(guided), given: givenPlace(known, info) };
    const changed = attributes && shown?.settings.given !== known ? shown?.settings.given : shown?.settings.edits;
    const opened = shown && { open: shown.settings.seed, edit: valuesLink(changed ?? {}) };
    keepSettings("sample", { ...link, with: valuesLink(namedOf(known)), ...opened });
  }

  function restore(settings) {
    seed.value = wholeNumber(settings.get("seed"), LARGEST_SEED) ?? seed.value;
    count.value = wholeNumber(settings.get("count"), info.limits.count, 1) ?? count.value;
    const wanted = temperatureOf(settings.get("temperature"), info);
    temperature.value = wanted ?? temperature.value;
    // A link with a temperature but no guidance was made at guidance 1.
    const guided = wanted !== null || settings.has("guidance") ? guidanceOf(settings.get("guidance"), info) : null;
    guidance.value = guided ?? guidance.value;
    given.value = givenPlace(givenOf(settings.get("given"), info), info) ?? "";
    if (attributes) attributes.changes = valuesOf(settings.get("with"), info);
    draw(false, wholeNumber(settings.get("open"), LARGEST_SEED), valuesOf(settings.get("edit"), info));
  }

  given.addEventListener("change", follow);
  byId("sample-form").addEventListener("submit", () => draw(true));
  return { open: () => batch === null && draw(false), restore };
}
