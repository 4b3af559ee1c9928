// The settings of the tab Restore.

import { byId, h } from "./dom.js";
import { LARGEST_SEED, newSeed, temperatureOf, wholeNumber } from "./drawn.js";
import { readNumber, slider } from "./fields.js";

const KINDS = { photos: "Photograph", faces: "Cartoon face" };  // by the source of the training pictures
const WORDS = {
  Upscale: ({ factor }) => `enlarge ${factor} times`,
  Denoise: () => "remove noise",
  Deblock: () => "remove JPEG artefacts",
  Colourise: () => "colour",
  Fill: () => "fill in",
};
const DONE = { Upscale: "enlarged", Denoise: "denoised", Deblock: "deblocked", Colourise: "coloured", Fill: "filled" };

const FIELDS = { picture: { type: "file", accept: "image/*" }, number: { type: "number", step: "any" } };
const KNOWN = { mask: "picture", sigma: "number" };  // inputs with controls of their own: a brush, and a slider

/** Start the settings; the handlers are called when a setting, the restorer, or (by its button) the seed changes. */
export function restoreSettings(info, { onchange, onrestorer, onseed }) {
  const names = ["restorer", "several", "draws", "seed", "estimate"];
  const [select, several, draws, seed, estimate] = names.map((name) => byId(`restore-${name}`));
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
    /**
     * Return the settings of a request, with its pictures as files; null if a number is invalid, as its field shows. By
     * default it is for one result at temperature 0.
     */
    read() {
      const asked = several.checked ? readDraws() : { count: 1, temperature: 0, seed: 0 };
      for (const input of inputs) input.ariaInvalid = input.validity.valid ? null : "true";
      if (Object.values(asked).includes(undefined) || inputs.some(({ ariaInvalid }) => ariaInvalid)) return null;
      const level = settings.takes("sigma") ? { sigma: estimate.checked ? null : sigma.value } : {};
      return { restorer: select.value, ...asked, inputs: { ...level, ...Object.fromEntries(inputs.map((input) => [input.name, valueOf(input)])) } };
    },
    /** Return what a link says of the draws that begin with a seed; nothing for one result. */
    draws: (first) =>
      several.checked && { draws: draws.value, seed: first, temperature: isRecommended ? null : temperature.value },
    /** Apply the settings of a link. */
    restore(link) {
      const named = info.restorers.find(({ name }) => name === link.get("restorer"));
      choose((named ?? first).name, temperatureOf(link.get("temperature"), { num_levels: 1 }));
      const count = wholeNumber(link.get("draws"), info.limits.count, 1);
      showDraws(count !== null);
      draws.value = count ?? draws.value;
      seed.value = wholeNumber(link.get("seed"), LARGEST_SEED) ?? seed.value;
      const level = Number(link.get("sigma"));
      estimateNoise(!(level >= 1));
      if (level >= 1) sigma.value = level;
    },
  };

  function readDraws() {
    const count = readNumber(draws);
    seed.max = LARGEST_SEED - (count ?? 1) + 1;
    const chosen = isRecommended ? settings.restorer.temperature : temperature.value;
    return { count, seed: readNumber(seed), temperature: chosen };
  }

  function showDraws(isShown) {
    several.checked = isShown;
    byId("restore-drawing").hidden = !isShown;
  }

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
  select.append(...optionsOf(info.restorers));
  select.closest(".field").hidden = info.restorers.length === 1;
  draws.max = info.limits.count;
  draws.value = Math.min(4, info.limits.count);
  estimateNoise(true);
  const first = info.restorers.find(({ name }) => name === select.value);
  choose(first.name);
  select.addEventListener("change", () => {
    choose(select.value);
    onrestorer();
  });
  estimate.addEventListener("change", () => {
    estimateNoise(estimate.checked);
    onchange();
  });
  several.addEventListener("change", () => {
    showDraws(several.checked);
    onchange();
  });
  for (const input of [draws, seed]) input.addEventListener("change", () => onchange());
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

/** Return the options: the kind of pictures, or else the name of the restorer, and what it does. */
function optionsOf(restorers) {
  const place = (names, name) => [...Object.keys(names), name].indexOf(name);  // others come last
  const compare = (one, other) => place(KINDS, one.source) - place(KINDS, other.source) || place(WORDS, one.task) - place(WORDS, other.task);
  const words = (restorer) => `${KINDS[restorer.source] ?? restorer.name}: ${WORDS[restorer.task]?.(restorer) ?? restorer.task}`;
  return [...restorers].sort(compare).map((restorer) => {
    const isAlone = restorers.filter((other) => words(other) === words(restorer)).length === 1;
    return new Option(isAlone ? words(restorer) : `${words(restorer)} (${restorer.name})`, restorer.name);
  });
}
