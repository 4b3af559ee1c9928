// Pictures that the model draws. Seed, temperature and class make them, so that a link can name them.

import { ask } from "./api.js";
import { className } from "./fields.js";
import { fromPng } from "./pictures.js";
import { temperatureText } from "./temperature.js";

export const LARGEST_SEED = 2 ** 31 - 1;

/** Return a drawn image with what made it: with these settings it is drawn again, whatever its place was. */
export function pictureOf(drawn, { temperature, label }, info) {
  const kind = className(info, drawn.label);
  const name = `seed${String(drawn.seed).padStart(6, "0")}_t${temperatureText(temperature)}.png`;
  const alt = `Drawn image: ${kind === null ? "" : `${kind}, `}seed ${drawn.seed}, temperature ${temperatureText(temperature, ", ")}`;
  return { ...fromPng(drawn.image, name, alt), kind, label: drawn.label, settings: { temperature, label, seed: drawn.seed } };
}

/** Return a picture as a link names it, "7_0.7_3"; null where it was not drawn. */
export function linkOf(picture) {
  if (!picture?.settings) return null;
  return [picture.settings.seed, [picture.settings.temperature].flat().join("-"), picture.label ?? ""].join("_");
}

/** Return the settings of the picture that a link names; null where it names none of this model. */
export function settingsOf(link, info) {
  const [seed, temperature, label] = (link ?? "").split("_");
  const settings = { seed: wholeNumber(seed, LARGEST_SEED), temperature: temperatureOf(temperature, info), label: labelOf(label, info) };
  return settings.seed === null || settings.temperature === null ? null : settings;
}

/** Draw the picture of settings. */
export async function draw(settings, info, signal) {
  const answer = await ask("sample", { count: 1, ...settings }, signal);
  return pictureOf(answer.images[0], settings, info);
}

/** Return the whole number that a text is, from least to most; null for anything else. */
export function wholeNumber(text, most, least = 0) {
  const number = /^\d{1,10}$/.test(text ?? "") ? Number(text) : NaN;
  return number >= least && number <= most ? number : null;
}

/** Return the temperature, or one for each level, that a text of a link is; null for anything else. */
export function temperatureOf(text, info) {
  const values = (text ?? "").split("-").map((part) => (/^\d(\.\d{1,3})?$/.test(part) ? Number(part) : NaN));
  if (values.some(Number.isNaN)) return null;
  return values.length === 1 ? values[0] : values.length === info.num_levels ? values : null;
}

/** Return the class that a text of a link is; null for none. */
export const labelOf = (text, info) => (info.num_classes === null ? null : wholeNumber(text, info.num_classes - 1));
