// Pictures that the model draws. Seed, temperature, guidance, what is given and edits determine them, so a link can contain them.

import { ask } from "./api.js";
import { editOf, givenText, knowsAttributes, namedOf, valuesLink, valuesName, valuesOf, valuesText } from "./attributes.js";
import { joined } from "./dom.js";
import { givenPlace } from "./fields.js";
import { fileName, fromBase64 } from "./pictures.js";
import { temperatureText } from "./temperature.js";

export const LARGEST_SEED = 2 ** 31 - 1;
const NEW_SEEDS = 1_000_000;  // more than anyone draws, and short

export const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % NEW_SEEDS;

/** Return what the model draws, in a word. */
export const nounOf = ({ training }) => (training.data?.source === "faces" ? "face" : "picture");

/** Return a drawn image with the settings that draw it again. */
export function pictureOf(drawn, { temperature, guidance, given, size }, info) {
  const asked = knowsAttributes(info) ? given : drawn.given;
  const [kind, place] = [givenText(info, asked), givenPlace(asked, info)];
  const name = fileName(place === null ? nounOf(info) : kind, `seed${drawn.seed}`, ...valuesName(namedOf(asked), info));
  const alt = `Drawn image: ${joined(", ", kind, `seed ${drawn.seed}`, settingsText({ temperature, guidance }))}`;
  const settings = { temperature, guidance, given, size, seed: drawn.seed };
  return { ...fromBase64(drawn.image, name, alt), kind, given: drawn.given, settings, place };
}

/** Return temperature and guidance as text; guidance 1 has no effect and is omitted. */
export function settingsText({ temperature, guidance }, between = ", ") {
  return joined(between, `temperature ${temperatureText(temperature, ", ")}`, guidance !== 1 && `guidance ${guidance}`);
}

/** Return a drawn picture with changes: drawn again with other values if the model knows attributes, or else edited. */
export async function changed(picture, { changes }, info, signal, size) {
  if (picture.settings.size && !size) picture = await draw({ ...picture.settings, size }, info, signal);  // of a preview
  if (Object.keys(changes).length === 0) return picture;
  if (knowsAttributes(info)) {
    const given = Object.entries({ ...namedOf(picture.settings.given), ...changes }).filter(([, value]) => value !== null);
    return draw({ ...picture.settings, size, given: Object.fromEntries(given) }, info, signal);
  }
  const body = { image: picture.url, size, ...editOf(changes, info), given: picture.given };
  const [name, alt] = [fileName(picture.name, ...valuesName(changes, info)), `${picture.alt}, ${valuesText(changes, info)}`];
  const edited = fromBase64((await ask("edit", body, signal)).image, name, alt);
  return { ...picture, ...edited, settings: { ...picture.settings, edits: changes } };
}

/** Return a drawn picture as text for a link: "7_0.7_3", with guidance "7_0.7_3_1.25", edited "7_0.7_3*smile*1.2"; or null. */
export function linkOf(picture) {
  if (!picture?.settings) return null;
  const { seed, temperature, guidance, given, edits } = picture.settings;
  const parts = [seed, [temperature].flat().join("-"), picture.place ?? "", guidanceLink(guidance)];
  return joined("*", parts.filter((part) => part !== null).join("_"), valuesLink({ ...namedOf(given), ...edits }));
}

/** Return the settings of the picture in a link; null if there is none that this model can draw. */
export function settingsOf(link, info) {
  const [drawn] = (link ?? "").split("*");
  const [seed, temperature, given, guidance] = drawn.split("_");
  const values = valuesOf(link, info);
  const settings = {
    seed: wholeNumber(seed, LARGEST_SEED),
    temperature: temperatureOf(temperature, info),
    guidance: guidanceOf(guidance, info),
    ...(knowsAttributes(info) ? { given: values } : { given: givenOf(given, info), edits: values }),
  };
  return [settings.seed, settings.temperature, settings.guidance].includes(null) ? null : settings;
}

export const firstSettings = (seed, info) => ({ seed, ...info.generation, given: null });

export async function draw({ edits = {}, ...settings }, info, signal) {
  const answer = await ask("sample", { count: 1, ...settings }, signal);
  return changed(pictureOf(answer.images[0], settings, info), { changes: edits }, info, signal, settings.size);
}

/** Parse a whole number from least to most; return null for anything else. */
export function wholeNumber(text, most, least = 0) {
  const number = /^\d{1,10}$/.test(text ?? "") ? Number(text) : NaN;
  return number >= least && number <= most ? number : null;
}

export const guidanceLink = (guidance) => (guidance === 1 ? null : guidance);

/** Parse the guidance of a link, 1 if empty; return null for anything else. */
export function guidanceOf(text, info) {
  if ((text ?? "") === "" || !info.guided) return 1;
  return /^\d(\.\d{1,4})?$/.test(text) ? Number(text) : null;
}

/** Parse the temperature of a link, or one per level; return null for anything else. */
export function temperatureOf(text, info) {
  const values = (text ?? "").split("-").map((part) => (/^\d(\.\d{1,4})?$/.test(part) ? Number(part) : NaN));
  if (values.some(Number.isNaN)) return null;
  return values.length === 1 ? values[0] : values.length === info.num_levels ? values : null;
}

/** Return what is given in a link, which has its place among all values; null for nothing. */
export function givenOf(text, info) {
  const values = info.given?.values ?? [];
  return values[wholeNumber(text, values.length - 1)] ?? null;
}
