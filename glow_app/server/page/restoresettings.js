// The settings of the tab Restore: the restorer, and how it restores.

import { byId, h } from "./dom.js";
import { LARGEST_SEED, labelOf, newSeed, temperatureOf, wholeNumber } from "./drawn.js";
import { chosenClass, fillClasses, readNumber, slider } from "./fields.js";

const WORDS = {
  Upscale: ({ factor }) => `Enlarge ${factor} times`,
  Denoise: () => "Remove noise",
  Deblock: () => "Remove JPEG blocks",
  Colourise: () => "Colour",
  Fill: () => "Fill in",
};

export class RestoreSettings {
  #info;
  #select = byId("restore-restorer");
  #label = byId("restore-label");
  #draws = byId("restore-draws");
  #seed = byId("restore-seed");
  #estimate = byId("restore-estimate");
  #temperature;
  #sigma;
  #isRecommended = true;  // the temperature, which may differ by level

  /**
   * @param {object} info of a server with restorers
   * @param {{onchange: function(), onrestorer: function(), onseed: function()}} handlers called when a setting, the
   *   restorer or, by the button for it, the seed is changed
   */
  constructor(info, { onchange, onrestorer, onseed }) {
    this.#info = info;
    const warm = () => ((this.#isRecommended = false), onchange());
    const range = { min: 0, max: 1.5, step: 0.05, value: 1, digits: 2 };
    this.#temperature = slider({ id: "restore-temperature-all", label: "Temperature", ...range, oninput: warm });
    const levels = { min: 1, max: 100, step: 1, value: 25, digits: 0 };
    this.#sigma = slider({ id: "restore-sigma-level", label: "Noise level", ...levels, oninput: onchange });
    byId("restore-temperature").append(this.#temperature.element);
    byId("restore-sigma").append(this.#sigma.element);
    this.#select.append(...grouped(info.restorers));
    this.#select.closest(".field").hidden = info.restorers.length === 1;
    this.#draws.max = info.limits.count;
    this.#draws.value = Math.min(4, info.limits.count);
    this.#estimateNoise(true);
    this.#choose(info.restorers[0].name);
    this.#select.addEventListener("change", () => (this.#choose(this.#select.value), onrestorer()));
    this.#estimate.addEventListener("change", () => (this.#estimateNoise(this.#estimate.checked), onchange()));
    for (const input of [this.#label, this.#draws, this.#seed]) input.addEventListener("change", onchange);
    byId("restore-new-seed").addEventListener("click", () => ((this.#seed.value = newSeed()), onseed()));
  }

  get restorer() {
    return this.#info.restorers.find(({ name }) => name === this.#select.value);
  }

  /** Return whether the restorer takes a mask or a sigma. */
  takes(what) {
    return this.restorer.takes.includes(what);
  }

  /** Show the level of noise that the server has estimated. */
  set sigma(level) {
    this.#sigma.value = level;
  }

  /** Return the settings as a request has them; null where a number is wrong, as its field says until it is corrected. */
  read() {
    const count = readNumber(this.#draws);
    this.#seed.max = LARGEST_SEED - (count ?? 1) + 1;
    const seed = readNumber(this.#seed);
    if (count === undefined || seed === undefined) return null;
    const temperature = this.#isRecommended ? null : this.#temperature.value;
    const settings = { restorer: this.restorer.name, count, seed, temperature, label: chosenClass(this.#label) };
    return this.takes("sigma") ? { ...settings, sigma: this.#estimate.checked ? null : this.#sigma.value } : settings;
  }

  /** Take the settings of a link. */
  restore(link) {
    const restorer = this.#info.restorers.find(({ name }) => name === link.get("restorer")) ?? this.#info.restorers[0];
    this.#choose(restorer.name, temperatureOf(link.get("temperature"), { num_levels: 1 }));
    this.#draws.value = wholeNumber(link.get("draws"), this.#info.limits.count, 1) ?? this.#draws.value;
    this.#seed.value = wholeNumber(link.get("seed"), LARGEST_SEED) ?? this.#seed.value;
    this.#label.value = labelOf(link.get("class"), this.restorer) ?? "";
    const level = Number(link.get("sigma"));
    this.#estimateNoise(!(level >= 1));
    if (level >= 1) this.sigma = level;
  }

  #choose(name, temperature = null) {
    this.#select.value = name;
    this.#isRecommended = temperature === null;
    const recommended = [this.restorer.temperature].flat();
    this.#temperature.value = temperature ?? recommended.reduce((sum, value) => sum + value, 0) / recommended.length;
    byId("restore-sigma").hidden = !this.takes("sigma");
    fillClasses(this.#label, this.restorer, "All in turn");
  }

  #estimateNoise(isEstimated) {
    this.#estimate.checked = this.#sigma.element.hidden = isEstimated;
  }
}

/** Return the options; those such as `photos-upscale2` and `photos-deblock` in a group of their kind. */
function grouped(restorers) {
  const kinds = Map.groupBy(restorers, ({ name }) => (name.includes("-") ? name.split("-")[0] : null));
  return [...kinds].flatMap(([kind, members]) => {
    const options = members.map((restorer) => new Option(wordsOf(restorer, restorers), restorer.name));
    return kind === null ? options : h("optgroup", { label: kind }, ...options);
  });
}

/** Return what a restorer does, with its name where another does the same. */
function wordsOf(restorer, all) {
  const words = (other) => WORDS[other.task]?.(other) ?? other.task;
  const isAlone = all.filter((other) => words(other) === words(restorer)).length === 1;
  return isAlone ? words(restorer) : `${words(restorer)} (${restorer.name})`;
}
