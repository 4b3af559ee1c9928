// The settings of the tab Restore.

import { byId, h } from "./dom.js";
import { LARGEST_SEED, newSeed, temperatureOf, wholeNumber } from "./drawn.js";
import { readNumber, slider } from "./fields.js";

const KINDS = { photos: "Photograph", faces: "Cartoon face" };  // by the source of the training pictures
const larger = ({ factor }) => `enlarge ${factor} times`;
const WORDS = {  // in their order
  Clean: () => "clean (noise, JPEG)",
  Enlarge: larger,
  Upscale: larger,
  Colourise: () => "colour",
  Fill: () => "fill in",
};
const DONE = { Enlarge: "enlarged", Upscale: "enlarged", Clean: "cleaned", Colourise: "coloured", Fill: "filled" };

const MOST_TIMES = 4;  // that pictures are enlarged in all
const FIELDS = { picture: { type: "file", accept: "image/*" }, number: { type: "number", step: "any" } };

/** Start the settings; the handlers are called when a setting, the restorer, or (by its button) the seed changes. */
export function restoreSettings(info, { onchange, onrestorer, onseed }) {
  const names = ["restorer", "clean", "force", "strip", "several", "count", "seed"];
  const [select, clean, force, strip, several, number, seed] = names.map((name) => byId(`restore-${name}`));
  const range = { min: 0, max: 1.5, step: 0.05, value: 1, digits: 2 };
  const onTemperature = () => ((isRecommended = false), onchange());
  const temperature = slider({ id: "restore-temperature-all", label: "Temperature", ...range, oninput: onTemperature });
  let inputs = [];  // the fields of all inputs but a mask
  const ownSource = info.training.data?.source;
  let isRecommended = true;  // whether the temperature is the restorer's own, which may differ by level

  const settings = {
    get restorer() {
      return restorerOf(select.value);
    },
    /** Return the restorers of a picture, each of which restores what the one before it gives; earlier ones are known if some were used. */
    restorersOf({ earlier = clean.checked ? cleaners() : [] }) {
      return [...earlier, settings.restorer];
    },
    /** Whether the restorer takes a mask, which is painted; other inputs have fields. */
    get takesMask() {
      return "mask" in settings.restorer.takes;
    },
    /** Return the restorer that enlarges results, which are enlarged so many times; undefined if there is none, or it is enough. */
    enlargerFor(times) {
      const { source } = settings.restorer;
      return info.restorers.find(({ factor, source: own }) => factor > 1 && own === source && times * factor <= MOST_TIMES);
    },
    /** Whether the restorer is for pictures like those that the model draws. */
    get isForSamples() {
      return ownSource !== undefined && settings.restorer.source === ownSource;
    },
    /** Choose a restorer for pictures that the model draws, if there is one. */
    suitSamples() {
      const fitting = [...select.options].find(({ value }) => ownSource && restorerOf(value).source === ownSource);
      if (fitting && !settings.isForSamples) choose(fitting.value);
    },
    choose,
    /**
     * Return the settings of a request, with its pictures as files; null if a number is invalid, as its field shows. By
     * default it is for one result at temperature 0.
     */
    read() {
      const asked = several.checked ? readDraws() : { count: 1, temperature: 0, seed: 0 };
      for (const input of inputs) input.ariaInvalid = input.validity.valid ? null : "true";
      if (Object.values(asked).includes(undefined) || inputs.some(({ ariaInvalid }) => ariaInvalid)) return null;
      const restorer = settings.restorersOf({}).map(({ name }) => name);
      const switches = { force: (canForce() && force.checked) || null, strip: strip.checked || null };
      return { restorer, ...asked, ...switches, inputs: Object.fromEntries(inputs.map((input) => [input.name, valueOf(input)])) };
    },
    /** Return what a link says of the draws that begin with a seed; nothing for one result. */
    draws: (first) =>
      several.checked && { count: number.value, seed: first, temperature: isRecommended ? null : temperature.value },
    /** Apply the settings of a link. */
    restore(link) {
      choose((restorerOf(link.get("restorer")) ?? first).name, temperatureOf(link.get("temperature"), { num_levels: 1 }));
      const count = wholeNumber(link.get("count"), info.limits.count, 1);
      several.checked = count !== null;
      showSwitches();
      number.value = count ?? number.value;
      seed.value = wholeNumber(link.get("seed"), LARGEST_SEED) ?? seed.value;
    },
  };

  function restorerOf(name) {
    return info.restorers.find((restorer) => restorer.name === name);
  }

  function readDraws() {
    const count = readNumber(number);
    seed.max = LARGEST_SEED - (count ?? 1) + 1;
    const chosen = isRecommended ? settings.restorer.temperature : temperature.value;
    return { count, seed: readNumber(seed), temperature: chosen };
  }

  /** Return the restorer that cleans pictures before the chosen one enlarges them, in a list that is empty if there is none. */
  function cleaners() {
    const { factor, source } = settings.restorer;
    return factor > 1 ? info.restorers.filter((other) => other.decides && other.source === source).slice(0, 1) : [];
  }

  /** Return whether something is left as it is if it seems clean, which draws of the chosen restorer never are. */
  function canForce() {
    return settings.restorersOf({}).some(({ decides }, place, { length }) => decides && (place < length - 1 || !several.checked));
  }

  function showSwitches() {
    byId("restore-drawing").hidden = !several.checked;
    clean.closest("label").hidden = cleaners().length === 0;
    force.closest("label").hidden = !canForce();
  }

  function choose(name, wanted = null) {
    select.value = name;
    isRecommended = wanted === null;
    const recommended = [settings.restorer.temperature].flat();
    temperature.value = wanted ?? recommended.reduce((sum, value) => sum + value, 0) / recommended.length;
    const others = Object.entries(settings.restorer.takes).filter(([name]) => name !== "mask");
    inputs = others.map(([name, kind]) => h("input", { ...FIELDS[kind], name, onchange }));
    const fields = inputs.map((input) => h("label", { className: "field" }, h("span", {}, input.name), input));
    byId("restore-inputs").replaceChildren(...fields);
    showSwitches();
  }

  byId("restore-temperature").append(temperature.element);
  select.append(...optionsOf(info.restorers));
  select.closest(".field").hidden = info.restorers.length === 1;
  number.max = info.limits.count;
  number.value = Math.min(4, info.limits.count);
  const first = settings.restorer;
  choose(first.name);
  select.addEventListener("change", () => {
    choose(select.value);
    onrestorer();
  });
  const onsetting = () => (showSwitches(), onchange());
  for (const input of [clean, force, strip, several, number, seed]) input.addEventListener("change", onsetting);
  byId("restore-new-seed").addEventListener("click", () => {
    seed.value = newSeed();
    onseed();
  });
  return settings;
}

/** Return what a restorer does, in the words of its option. */
export const wordsOf = (restorer) => WORDS[restorer.task]?.(restorer) ?? restorer.task;

/** Return what a restorer does to a picture, in one word. */
export const doneBy = ({ task }) => DONE[task] ?? "restored";

/** Return the file or number in a field, null if it is empty. */
function valueOf(input) {
  if (input.type === "file") return input.files[0] ?? null;
  return input.value === "" ? null : input.valueAsNumber;
}

/** Return the options, each the kind of pictures, or else the name of the restorer, and what it does. */
function optionsOf(restorers) {
  const place = (names, name) => [...Object.keys(names), name].indexOf(name);  // others come last
  const compare = (one, other) => place(KINDS, one.source) - place(KINDS, other.source) || place(WORDS, one.task) - place(WORDS, other.task);
  const words = (restorer) => `${KINDS[restorer.source] ?? restorer.name}: ${wordsOf(restorer)}`;
  return [...restorers].sort(compare).map((restorer) => {
    const isAlone = restorers.filter((other) => words(other) === words(restorer)).length === 1;
    return new Option(isAlone ? words(restorer) : `${words(restorer)} (${restorer.name})`, restorer.name);
  });
}
