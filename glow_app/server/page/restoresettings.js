// The settings of the tab Restore.

import { byId, h } from "./dom.js";
import { LARGEST_SEED, newSeed, temperatureOf, wholeNumber } from "./drawn.js";
import { readNumber, slider } from "./fields.js";

const WORDS = {
  Upscale: ({ factor }) => `Enlarge ${factor} times`,
  Denoise: () => "Remove noise",
  Deblock: () => "Remove JPEG blocks",
  Colourise: () => "Colour",
  Fill: () => "Fill in",
};
const DONE = { Upscale: "enlarged", Denoise: "denoised", Deblock: "deblocked", Colourise: "coloured", Fill: "filled" };

const FIELDS = { picture: { type: "file", accept: "image/*" }, number: { type: "number", step: "any" } };
const KNOWN = { mask: "picture", sigma: "number" };  // inputs with controls of their own: a brush, and a slider

/** Start the settings; the handlers are called when a setting, the restorer, or (by its button) the seed changes. */
export function restoreSettings(info, { onchange, onrestorer, onseed }) {
  const names = ["restorer", "draws", "seed", "estimate"];
  const [select, draws, seed, estimate] = names.map((name) => byId(`restore-${name}`));
  const range = { min: 0, max: 1.5, step: 0.05, value: 1, digits: 2 };
  const onTemperature = () => ((isRecommended = false), onchange());
  const temperature = slider({ id: "restore-temperature-all", label: "Temperature", ...range, oninput: onTemperature });
  const levels = { min: 1, max: 100, step: 1, value: 25, digits: 0 };
  const sigma = slider({ id: "restore-sigma-level", label: "Noise level", ...levels, oninput: onchange });
  let inputs = [];  // the fields of inputs without controls of their own
  let isRecommended = true;  // whether the temperature is the restorer's own, which may differ by level

  const settings = {
    get restorer() {
      return info.restorers.find(({ name }) => name === select.value);
    },
    /** What the restorer does to a picture, in a word. */
    get done() {
      return DONE[settings.restorer.task] ?? "restored";
    },
    /** Return whether the restorer takes a mask or a sigma. */
    takes: (what) => what in KNOWN && settings.restorer.takes[what] === KNOWN[what],
    /** Show the noise level that the server has estimated. */
    showSigma: (level) => (sigma.value = level),
    /** Return the settings of a request, with its pictures as files; null if a number is invalid, as its field shows. */
    read() {
      const count = readNumber(draws);
      seed.max = LARGEST_SEED - (count ?? 1) + 1;
      const first = readNumber(seed);
      for (const input of inputs) input.ariaInvalid = input.validity.valid ? null : "true";
      if (count === undefined || first === undefined || inputs.some(({ ariaInvalid }) => ariaInvalid)) return null;
      const chosen = isRecommended ? null : temperature.value;
      const asked = { restorer: select.value, count, seed: first, temperature: chosen };
      const level = settings.takes("sigma") ? { sigma: estimate.checked ? null : sigma.value } : {};
      return { ...asked, inputs: { ...level, ...Object.fromEntries(inputs.map((input) => [input.name, valueOf(input)])) } };
    },
    /** Apply the settings of a link. */
    restore(link) {
      const named = info.restorers.find(({ name }) => name === link.get("restorer"));
      choose((named ?? info.restorers[0]).name, temperatureOf(link.get("temperature"), { num_levels: 1 }));
      draws.value = wholeNumber(link.get("draws"), info.limits.count, 1) ?? draws.value;
      seed.value = wholeNumber(link.get("seed"), LARGEST_SEED) ?? seed.value;
      const level = Number(link.get("sigma"));
      estimateNoise(!(level >= 1));
      if (level >= 1) sigma.value = level;
    },
  };

  function choose(name, wanted = null) {
    select.value = name;
    isRecommended = wanted === null;
    const recommended = [settings.restorer.temperature].flat();
    temperature.value = wanted ?? recommended.reduce((sum, value) => sum + value, 0) / recommended.length;
    byId("restore-sigma").hidden = !settings.takes("sigma");
    const others = Object.entries(settings.restorer.takes).filter(([what]) => !settings.takes(what));
    inputs = others.map(([what, kind]) => h("input", { ...FIELDS[kind], name: what, onchange }));
    const fields = inputs.map((input) => h("label", { className: "field" }, h("span", {}, input.name), input));
    byId("restore-inputs").replaceChildren(...fields);
  }

  function estimateNoise(isEstimated) {
    estimate.checked = sigma.element.hidden = isEstimated;
  }

  byId("restore-temperature").append(temperature.element);
  byId("restore-sigma").append(sigma.element);
  select.append(...grouped(info.restorers));
  select.closest(".field").hidden = info.restorers.length === 1;
  draws.max = info.limits.count;
  draws.value = Math.min(4, info.limits.count);
  estimateNoise(true);
  choose(info.restorers[0].name);
  select.addEventListener("change", () => {
    choose(select.value);
    onrestorer();
  });
  estimate.addEventListener("change", () => {
    estimateNoise(estimate.checked);
    onchange();
  });
  for (const input of [draws, seed]) input.addEventListener("change", onchange);
  byId("restore-new-seed").addEventListener("click", () => {
    seed.value = newSeed();
    onseed();
  });
  return settings;
}

/** Return the file or number in a field, null if it is empty. */
function valueOf(input) {
  if (input.type === "file") return input.files[0] ?? null;
  return input.value === "" ? null : input.valueAsNumber;
}

/** Return the options; those such as `photos-upscale2` and `photos-deblock` are grouped. */
function grouped(restorers) {
  const kinds = Map.groupBy(restorers, ({ name }) => (name.includes("-") ? name.split("-")[0] : null));
  return [...kinds].flatMap(([kind, members]) => {
    const options = members.map((restorer) => new Option(wordsOf(restorer, restorers), restorer.name));
    return kind === null ? options : h("optgroup", { label: kind }, ...options);
  });
}

/** Return what a restorer does, with its name if another does the same. */
function wordsOf(restorer, all) {
  const words = (other) => WORDS[other.task]?.(other) ?? other.task;
  const isAlone = all.filter((other) => words(other) === words(restorer)).length === 1;
  return isAlone ? words(restorer) : `${words(restorer)} (${restorer.name})`;
}
