// Sliders of a model's attributes, and the edits that they stand for: [{direction, strength}], those of strength 0 left out.

import { byId } from "./dom.js";
import { slider } from "./fields.js";

const FURTHEST = 2;  // beyond it pictures fall apart

/**
 * Make a slider for each attribute in the place of a name, "edit" for "edit-sliders" and "edit-reset"; onmove is called
 * when a visitor moves one. Return {edits}, which can be set as well.
 */
export function attributeControls(name, { directions }, onmove) {
  const limits = { min: -FURTHEST, max: FURTHEST, step: 0.1, value: 0, digits: 1 };
  const sliders = directions.map((label, number) => slider({ id: `${name}-${number}`, label, ...limits, oninput: onmove }));
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

/** Return edits in words: "smile +1.2, hat -0.5". */
export const editsText = (edits) =>
  edits.map((edit) => `${edit.direction} ${edit.strength > 0 ? "+" : ""}${edit.strength.toFixed(1)}`).join(", ");

/** Return edits as settings of a link: "edit.smile=1.2". */
export const editsLink = (edits) => Object.fromEntries(edits.map((edit) => [`edit.${edit.direction}`, String(edit.strength)]));

/** Return the edits that the settings of a link name. */
export const editsOf = (settings, info) =>
  checkedEdits(info.directions.map((direction) => ({ direction, strength: Number(settings.get(`edit.${direction}`)) })), info);

/** Return those of some edits that the model knows and the sliders reach. */
export const checkedEdits = (edits, { directions }) =>
  edits.filter(({ direction, strength }) => directions.includes(direction) && strength && Math.abs(strength) <= FURTHEST);
