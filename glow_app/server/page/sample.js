// The tab Sample: settings in, a gallery out.

import { ask } from "./api.js";
import { byId } from "./dom.js";
import { chosenClass, className, fillClasses, focusFirstError, numberField } from "./fields.js";
import { addBatch } from "./gallery.js";
import { fromPng } from "./pictures.js";
import { openTab } from "./tabs.js";
import { Task } from "./task.js";
import { temperatureControl, temperatureText } from "./temperature.js";

const LARGEST_SEED = 2 ** 31 - 1;
const NEW_SEEDS = 1_000_000;  // as many as anyone draws, and short enough to be read and told

/**
 * Start the tab.
 * @param {object} info of the model
 * @param {object} uses what else a picture may be used for, functions by name: first, second, edit, score
 */
export function startSample(info, uses) {
  const task = new Task(byId("sample-task"));
  const temperature = temperatureControl(byId("sample-temperature"), info.num_levels);
  const [label, seed, count] = ["sample-label", "sample-seed", "sample-count"].map(byId);
  fillClasses(label, info, "All in turn");
  count.max = info.limits.count;
  count.value = Math.min(8, info.limits.count);
  const [counted, seeded] = [numberField(count), numberField(seed, { optional: true })];
  const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % NEW_SEEDS;

  const reuse = (settings) => {
    temperature.value = settings.temperature;
    seed.value = settings.seed;
    label.value = settings.label ?? "";
    openTab("sample");
    seed.focus();
  };

  byId("new-seed").addEventListener("click", () => {
    seed.value = newSeed();
    seeded.read();
  });
  byId("sample-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const number = counted.read();
    seed.max = LARGEST_SEED - (number ?? 1) + 1;
    const first = seeded.read();
    if (number === undefined || first === undefined) {
      focusFirstError(byId("sample-form"));
      return;
    }
    const wanted = { count: number, temperature: temperature.value, seed: first ?? newSeed(), label: chosenClass(label) };
    task.run(
      `Drawing ${number === 1 ? "1 image" : `${number} images`}`,
      (signal) => ask("sample", wanted, signal),
      (answer) => {
        addBatch(answer.images.map((drawn) => pictureOf(drawn, wanted, info)), { ...uses, reuse });
        return `${number === 1 ? "1 image" : `${number} images`} drawn`;
      },
    );
  });
}

/** Return a drawn image with what made it: with these settings it is drawn again, whatever its place was. */
function pictureOf(drawn, wanted, info) {
  const { temperature, label } = wanted;
  const kind = className(info, drawn.label);
  const name = `seed${String(drawn.seed).padStart(6, "0")}_t${temperatureText(temperature)}.png`;
  const alt = `Drawn image: ${kind === null ? "" : `${kind}, `}seed ${drawn.seed}, temperature ${temperatureText(temperature, ", ")}`;
  return { ...fromPng(drawn.image, name, alt), kind, label: drawn.label, settings: { temperature, label, seed: drawn.seed } };
}
