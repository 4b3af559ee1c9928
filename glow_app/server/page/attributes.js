// The attributes of a model, and their values by name: as controls, as text and in links. Some models are given
// attributes; for others, each direction is an attribute, whose value is the strength of an edit.

import { byId, h } from "./dom.js";
import { choice, givenWord, slider } from "./fields.js";

const MAX_STRENGTH = 2;  // pictures fall apart beyond it
const STEPS = 100;  // of a slider, at least

export const knowsAttributes = ({ given }) => Boolean(given?.attributes.length);

/** Return the attributes {name, kind, least, most, digits}, yes/no attributes first; digits follow the decimal point. */
export function attributesOf(info) {
  const directionOf = (name) => ({ name, kind: "direction", least: -MAX_STRENGTH, most: MAX_STRENGTH, digits: 1 });
  if (!knowsAttributes(info)) return info.directions.map(directionOf);
  const rounded = ({ least, most, ...each }) => {
    const digits = Math.min(6, Math.max(0, Math.ceil(Math.log10(STEPS / (most - least)) - 0.1)));  // 2 for 0.000021 to 0.999994
    const unit = 10 ** digits;
    return { ...each, digits, least: Math.floor(least * unit) / unit, most: Math.ceil(most * unit) / unit };
  };
  return info.given.attributes.map(rounded).toSorted((a, b) => (b.kind === "yes_no") - (a.kind === "yes_no"));
}

/**
 * Make a control for each attribute and a button that resets them, with resetText if the model is given attributes. For
 * the name "edit" they are placed in "edit-attributes"; onmove is called when a user changes one.
 * Return {start, values, changes}: values by name, and those that differ from where they started. Both can be set.
 */
export function attributeControls(name, info, onmove, resetText) {
  const none = knowsAttributes(info) ? null : 0;
  const all = attributesOf(info).map((each, number) => [each.name, controlOf(`${name}-${number}`, each, () => (mark(), onmove()))]);
  const isChanged = ({ value, origin }) => value !== origin;
  const valuesOfAll = (isWanted) => Object.fromEntries(all.filter(([, control]) => isWanted(control)).map(([key, { value }]) => [key, value]));
  const mark = () => all.forEach(([, control]) => control.element.classList.toggle("changed", isChanged(control)));
  const controls = {
    set start(values) {
      const { changes } = controls;
      for (const [key, control] of all) {
        control.value = values[key] ?? none;
        control.origin = control.value;  // between the ends of the slider
      }
      controls.changes = changes;
    },
    get values() {
      return valuesOfAll(({ value }) => value !== none);
    },
    get changes() {
      return valuesOfAll(isChanged);
    },
    set changes(values) {
      for (const [key, control] of all) control.value = key in values ? values[key] : control.origin;
      mark();
    },
  };
  const onclick = () => {
    controls.changes = {};
    onmove();
  };
  const reset = h("button", { onclick }, none === null ? resetText : "All to 0");
  byId(`${name}-attributes`).prepend(h("div", { className: "attributes" }, ...groupsOf(all)), h("div", { className: "resets" }, reset));
  return controls;
}

// The groups of the attributes of rendered faces, by their names or, of colours, first words.
const GROUPS = {
  face: ["smiling", "eyes_closed", "glasses", "sunglasses", "beard", "skin"],
  hair: ["long_hair", "hair"],
  clothes: ["hat", "clothes"],
  background: ["background"],
};

// The colours of rendered faces, as in glow_app/data/faces/colours.py: lightness, chroma and hue of OKLCH.
const COLOURS = {
  skin: ({ lightness, warmth }) => [0.36 + 0.54 * lightness, 0.085, 34 + 18 * lightness + 28 * warmth],
  hair: ({ lightness, warmth }) => [0.2 + 0.66 * lightness, 0.13 * warmth * Math.min(1, 0.3 + lightness), 45 + 40 * lightness],
  background: ({ hue, lightness }) => [0.62 + 0.28 * lightness, 0.075, 50 + 260 * hue],
  clothes: ({ hue, lightness }) => [0.35 + 0.45 * lightness, 0.085, 360 * hue],
};
const STOPS = [0, 0.2, 0.4, 0.6, 0.8, 1];

/** Show colours in sliders of the same thing: on its track what each leads to, and in a swatch what all are set to. */
function paint(word, controls, swatch) {
  const parts = controls.map(([name, control]) => [name.slice(word.length + 1), control]);
  const colour = (own, value) => {
    const values = parts.map(([part, control]) => [part, control === own ? value : control.value ?? 0.5]);
    const [lightness, chroma, hue] = COLOURS[word](Object.fromEntries(values));
    return `oklch(${lightness} ${chroma} ${hue})`;
  };
  const show = () => {
    for (const [, control] of parts) {
      const track = `linear-gradient(to right, ${STOPS.map((stop) => colour(control, stop))})`;
      control.element.querySelector("input").style.setProperty("--fill", track);
    }
    swatch.hidden = parts.some(([, { value }]) => value === null);
    swatch.style.background = colour();
  };
  for (const [, control] of parts) control.onshow = show;
  show();
}

/** Return the elements of controls by name: first the rows of no group, and then groups, with captions if they have several. */
function groupsOf(all) {
  const rows = rowsOf(all);
  const groups = Object.entries(GROUPS).map(([name, words]) => [name, words.filter((word) => rows.has(word))]);
  const known = groups.flatMap(([, words]) => words);
  const others = [...rows].filter(([word]) => !known.includes(word)).map(([, row]) => row);
  const groupOf = ([name, words]) =>
    h("fieldset", { "aria-label": name }, words.length > 1 && h("legend", {}, name), ...words.map((word) => rows.get(word)));
  return [...others, ...groups.filter(([, words]) => words.length).map(groupOf)];
}

/** Return the rows of controls by their words: the name of one, or the first word of sliders, which are side by side. */
function rowsOf(all) {
  const wordOf = ([name, { element }]) => (element.querySelector("[type=range]") ? name.split("_")[0] : name);
  const rowOf = (word, controls) => {
    const elements = controls.map(([, { element }]) => element);
    if (elements.length === 1) return elements[0];
    for (const label of elements.map((element) => element.querySelector("label"))) {
      const rest = label.textContent.slice(word.length).trimStart();
      label.replaceChildren(h("span", { className: "visually-hidden" }, `${word} `), rest);
    }
    const swatch = h("i", { className: "swatch", hidden: true });
    if (word in COLOURS) paint(word, controls, swatch);
    const className = `row together ${word in COLOURS ? "coloured" : ""}`;
    return h("div", { className }, h("span", { "aria-hidden": "true" }, h("span", {}, word), swatch), ...elements);
  };
  return new Map([...Map.groupBy(all, wordOf)].map(([word, controls]) => [word, rowOf(word, controls)]));
}

function controlOf(id, { name, kind, least, most, digits }, oninput) {
  const label = attributeText(name);
  if (kind === "yes_no") return answers(id, label, oninput);
  const value = kind === "direction" ? 0 : null;
  return slider({ id, label, min: least, max: most, step: 10 ** -digits, value, digits, oninput });
}

/** Return a switch of three states as {element, value, origin}: no, any and yes are 0, null and 1. */
function answers(id, label, oninput) {
  const values = { No: 0, Any: null, Yes: 1 };
  const control = choice({ name: id, label, texts: Object.keys(values), oninput });
  control.value = "Any";
  return {
    origin: null,
    element: h("div", { className: "row" }, h("span", { "aria-hidden": "true" }, label), control.element),
    get value() {
      return values[control.value];
    },
    set value(value) {
      control.value = Object.keys(values).find((text) => values[text] === value);
    },
  };
}

/** Return the name of an attribute in words: "long hair" for "long_hair". */
export const attributeText = (name) => name.replaceAll("_", " ").replace(/\bhue$/, "colour");

/** Return values as text: "smiling, without hat, hair lightness 0.30", or of directions "smiling +1.2". */
export function valuesText(values, info) {
  const text = ({ name, kind, digits }) => {
    const [words, value] = [attributeText(name), values[name]];
    if (kind === "yes_no") return value ? words : `without ${words}`;
    return `${words} ${kind === "direction" && value > 0 ? "+" : ""}${value.toFixed(digits)}`;
  };
  return attributesOf(info).filter(({ name }) => name in values).map(text).join(", ");
}

/** Return values as parts of a file name: ["smiling", "without hat"], or of directions ["smiling", "less hat"]. */
export function valuesName(values, info) {
  const lacks = { yes_no: "without ", direction: "less " };
  const all = attributesOf(info).filter(({ name }) => name in values);
  return all.map(({ name, kind }) => `${values[name] > 0 ? "" : lacks[kind] ?? ""}${name}`);
}

/** Return what was given as values by name: none unless the model is given attributes. */
export const namedOf = (given) => (typeof given === "object" ? given ?? {} : {});

/** Return what was given as text, numbers as "class 3"; null for null. */
export function givenText(info, given) {
  if (given === null || typeof given === "object") return given && valuesText(given, info);
  return /^[\d.]+$/.test(given) ? `${givenWord(info)} ${given}` : String(given);
}

/** Return values as text for a link, "smiling*1.2*hat*-0.5"; null if there are none. */
export const valuesLink = (values) => Object.entries(values).flat().join("*") || null;

/** Return the values in a link that the model has and the controls can show. */
export function valuesOf(link, info) {
  const parts = (link ?? "").split("*");
  const isGood = ([{ kind, least, most }, value]) =>
    value >= least && value <= most && (kind !== "direction" || value !== 0) && (kind !== "yes_no" || Number.isInteger(value));
  const all = attributesOf(info).map((each) => [each, parts.includes(each.name) ? Number(parts[parts.indexOf(each.name) + 1]) : NaN]);
  return Object.fromEntries(all.filter(isGood).map(([{ name }, value]) => [name, value]));
}

/** Return changes as the body of a request; without any, its answer is the picture in the model's size. */
export function editOf(changes, info) {
  if (knowsAttributes(info)) return { attributes: changes };
  const edits = Object.entries(changes).map(([direction, strength]) => ({ direction, strength }));
  return { edits: edits.length ? edits : [{ direction: info.directions[0], strength: 0 }] };
}
