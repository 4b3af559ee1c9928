// Pictures that the model draws. Seed, temperature, guidance, class and edits make them, so that a link can name them.

import { ask } from "./api.js";
import { checkedEdits, editsText } from "./attributes.js";
import { joined } from "./dom.js";
import { className } from "./fields.js";
import { base64Of, fromPng } from "./pictures.js";
import { guidanceName, temperatureText } from "./temperature.js";

export const LARGEST_SEED = 2 ** 31 - 1;
const NEW_SEEDS = 1_000_000;  // as many as anyone draws, and short enough to read out

/** Return a random seed. */
export const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % NEW_SEEDS;

/** Return a drawn image with what made it: with these settings it is drawn again, whatever its place was. */
export function pictureOf(drawn, { temperature, guidance, label }, info) {
  const kind = className(info, drawn.label);
  const name = `seed${String(drawn.seed).padStart(6, "0")}_t${temperatureText(temperature)}${guidanceName(guidance)}.png`;
  const alt = `Drawn image: ${joined(", ", kind, `seed ${drawn.seed}`, settingsText({ temperature, guidance }))}`;
  const settings = { temperature, guidance, label, seed: drawn.seed };
  return { ...fromPng(drawn.image, name, alt), kind, label: drawn.label, settings };
}

/** Return temperature and guidance in words; guidance 1 is the model itself and not mentioned. */
export function settingsText({ temperature, guidance }, between = ", ") {
  return joined(between, `temperature ${temperatureText(temperature, ", ")}`, guidance !== 1 && `guidance ${guidance}`);
}

/** Return a drawn picture edited; its settings are those of the drawing, and the edits. */
export async function edited(picture, edits, signal) {
  if (edits.length === 0) return picture;
  const answer = await ask("edit", { image: base64Of(picture.url), edits, label: picture.label }, signal);
  const name = picture.name.replace(".png", "_edited.png");
  const { kind, label, settings } = picture;
  return { ...fromPng(answer.image, name, `${picture.alt}, ${editsText(edits)}`), kind, label, settings: { ...settings, edits } };
}

/** Return a drawn picture as a link names it: "7_0.7_3", with guidance "7_0.7_3_1.25", edited "7_0.7_3*smile*1.2"; else null. */
export function linkOf(picture) {
  if (!picture?.settings) return null;
  const { seed, temperature, guidance, edits = [] } = picture.settings;
  const parts = [seed, [temperature].flat().join("-"), picture.label ?? "", guidanceLink(guidance)];
  return [parts.filter((part) => part !== null).join("_"), ...edits.flatMap(Object.values)].join("*");
}

/** Return the settings of the picture that a link names; null where it names none of this model. */
export function settingsOf(link, info) {
  const [drawn, ...names] = (link ?? "").split("*");
  const [seed, temperature, label, guidance] = drawn.split("_");
  const edits = names.flatMap((direction, place) => (place % 2 ? [] : [{ direction, strength: Number(names[place + 1]) }]));
  const settings = {
    seed: wholeNumber(seed, LARGEST_SEED),
    temperature: temperatureOf(temperature, info),
    guidance: guidanceOf(guidance, info),
    label: labelOf(label, info),
    edits: checkedEdits(edits, info),
  };
  return [settings.seed, settings.temperature, settings.guidance].includes(null) ? null : settings;
}

/** Return the settings of the picture of a seed where a visitor has chosen none. */
export const firstSettings = (seed, info) => ({ seed, ...info.generation, label: null });

/** Draw the picture of settings. */
export async function draw({ edits = [], ...settings }, info, signal) {
  const answer = await ask("sample", { count: 1, ...settings }, signal);
  return edited(pictureOf(answer.images[0], settings, info), edits, signal);
}

/** Return the whole number that a text is, from least to most; null for anything else. */
export function wholeNumber(text, most, least = 0) {
  const number = /^\d{1,10}$/.test(text ?? "") ? Number(text) : NaN;
  return number >= least && number <= most ? number : null;
}

/** Return guidance as links have it: null for 1, the model itself, which they leave out. */
export const guidanceLink = (guidance) => (guidance === 1 ? null : guidance);

/** Return the guidance that a text of a link is, 1 where there is none; null for anything else. */
export function guidanceOf(text, info) {
  if ((text ?? "") === "" || info.num_classes === null) return 1;
  return /^\d(\.\d{1,4})?$/.test(text) ? Number(text) : null;
}

/** Return the temperature, or one for each level, that a text of a link is; null for anything else. */
export function temperatureOf(text, info) {
  const values = (text ?? "").split("-").map((part) => (/^\d(\.\d{1,4})?$/.test(part) ? Number(part) : NaN));
  if (values.some(Number.isNaN)) return null;
  return values.length === 1 ? values[0] : values.length === info.num_levels ? values : null;
}

/** Return the class that a text of a link is; null for none. */
export const labelOf = (text, info) => (info.num_classes === null ? null : wholeNumber(text, info.num_classes - 1));
