// Temperature, with a slider for all levels or one per level, and guidance.

import { h } from "./dom.js";
import { slider } from "./fields.js";

/** Return the control; its value is a number, or a list with one per level, finest first. */
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

/** Return a temperature as text: "0.70" or "0.70-0.90". */
export function temperatureText(temperature, between = "-") {
  return [temperature].flat().map((value) => value.toFixed(2)).join(between);
}

/** Return the control of guidance; its value is 1 if the model takes none. */
export function guidanceControl(place, info, oninput) {
  if (!info.guided) return { value: 1 };
  const range = { min: 1, max: 2, step: 0.05, value: info.generation.guidance, digits: 2 };
  const control = slider({ id: "guidance", label: "Guidance", ...range, oninput });
  place.append(control.element);
  return control;
}

/** Return guidance for file names, "_g1.25"; nothing for 1. */
export const guidanceName = (guidance) => (guidance === 1 ? "" : `_g${guidance}`);
