// Sliders for the attributes of a model, and their edits [{direction, strength}], without those of strength 0.

import { byId } from "./dom.js";
import { slider } from "./fields.js";

const MAX_STRENGTH = 2;  // pictures disintegrate beyond it

/**
 * Make a slider for each attribute. With the name "edit" they are placed in "edit-sliders", and "edit-reset" resets
 * them; onmove is called when a user moves one. Return {edits}, which can also be set.
 */
export function attributeControls(name, { directions }, onmove) {
  const limits = { min: -MAX_STRENGTH, max: MAX_STRENGTH, step: 0.1, value: 0, digits: 1 };
  const make = (direction, number) => slider({ id: `${name}-${number}`, label: attributeText(direction), ...limits, oninput: onmove });
  const sliders = directions.map(make);
  const controls = {
    get edits() {
      const all = sliders.map((slider, number) => ({ direction: directions[number], strength: slider.value }));
      return all.filter((edit) => edit.strength !== 0);
    },
    set edits(edits) {
      const strengths = new Map(edits.map((edit) => [edit.direction, edit.strength]));
      sliders.forEach((slider, number) => (slider.value = strengths.get(directions[number]) ?? 0));
    },
  };
  byId(`${name}-sliders`).append(...sliders.map((slider) => slider.element));
  byId(`${name}-reset`).addEventListener("click", () => {
    controls.edits = [];
    onmove();
  });
  return controls;
}

/** Return the name of an attribute in words: "long hair" for "long_hair". */
const attributeText = (direction) => direction.replaceAll("_", " ").replace(/\bhue$/, "colour");

/** Return edits as text: "smile +1.2, hat -0.5". */
export const editsText = (edits) =>
  edits.map(({ direction, strength }) => `${attributeText(direction)} ${strength > 0 ? "+" : ""}${strength.toFixed(1)}`).join(", ");

/** Return edits as parts of a file name: ["smile", "less-hat"]. */
export const editsName = (edits) => edits.map(({ direction, strength }) => (strength > 0 ? direction : `less ${direction}`));

/** Return edits as settings of a link: "edit.smile=1.2". */
export const editsLink = (edits) => Object.fromEntries(edits.map((edit) => [`edit.${edit.direction}`, String(edit.strength)]));

/** Return the edits in the settings of a link. */
export const editsOf = (settings, info) =>
  checkedEdits(info.directions.map((direction) => ({ direction, strength: Number(settings.get(`edit.${direction}`)) })), info);

/** Return the edits that the model has and the sliders can show. */
export const checkedEdits = (edits, { directions }) =>
  edits.filter(({ direction, strength }) => directions.includes(direction) && strength && Math.abs(strength) <= MAX_STRENGTH);
