// Temperature, one slider for all levels or one for each, and guidance.

import { h } from "./dom.js";
import { slider } from "./fields.js";

/** Return the control; its value is a number, or a list of one for each level, the finest first. */
export function temperatureControl(place, info, oninput) {
  const { num_levels: numLevels, generation } = info;
  const make = (id, label) => slider({ id, label, min: 0, max: 1.5, step: 0.05, value: 1, digits: 2, oninput });
  const all = make("temperature", "Temperature");
  const levels = Array.from({ length: numLevels }, (_, level) => make(`temperature-${level}`, levelName(level, numLevels)));
  const several = h("div", { className: "group", role: "group", "aria-label": "Temperature of each level" });
  several.append(...levels.map((level) => level.element));
  const toggle = h("input", { type: "checkbox", id: "temperature-levels", role: "switch" });
  const switched = h("label", { className: "switch", for: toggle.id }, toggle, "One per level");

  function show() {
    [several.hidden, all.element.hidden] = [!toggle.checked, toggle.checked];
  }
  toggle.addEventListener("change", () => {
    // What is seen goes on from what was seen, as far as it can.
    if (toggle.checked) for (const level of levels) level.value = all.value;
    show();
  });
  place.append(all.element, several);
  if (numLevels > 1) place.append(switched);
  const control = {
    get value() {
      return toggle.checked ? levels.map((level) => level.value) : all.value;
    },
    set value(value) {
      toggle.checked = Array.isArray(value);
      if (toggle.checked) levels.forEach((level, number) => (level.value = value[number]));
      else all.value = value;
      show();
    },
  };
  control.value = generation.temperature;
  return control;
}

function levelName(level, numLevels) {
  if (level === 0) return "Level 1, the finest";
  return level === numLevels - 1 ? `Level ${level + 1}, the coarsest` : `Level ${level + 1}`;
}

/** Return a temperature as names of files and texts have it: "0.70" or "0.70-0.90". */
export function temperatureText(temperature, between = "-") {
  return [temperature].flat().map((value) => value.toFixed(2)).join(between);
}

/** Return the control of guidance, how far images go beyond what their class has in common; of 1 for a model without classes. */
export function guidanceControl(place, info, oninput) {
  if (info.num_classes === null) return { value: 1 };
  const range = { min: 1, max: 2, step: 0.05, value: info.generation.guidance, digits: 2 };
  const control = slider({ id: "guidance", label: "Guidance", ...range, oninput });
  place.append(control.element);
  return control;
}

/** Return guidance as names of files have it, "_g1.25"; nothing for 1, which is the model itself. */
export const guidanceName = (guidance) => (guidance === 1 ? "" : `_g${guidance}`);
