// Temperature, with a slider for all levels and one for each, and guidance.

import { h } from "./dom.js";
import { slider } from "./fields.js";

/**
 * Return the control; its value is a number, or a list with one per level, finest first. The slider in place is of the
 * largest temperature, and moves those of all levels, in levelsPlace, in proportion.
 */
export function temperatureControl(place, levelsPlace, info, oninput) {
  const { num_levels: numLevels, generation } = info;
  const range = { min: 0, max: 1.5, step: 0.05, value: 1, digits: 2 };
  const make = (id, label, onmove) => slider({ id, label, ...range, oninput: () => (onmove(), oninput()) });
  const all = make("temperature", "Temperature", () => {
    levels.forEach((level, number) => (level.value = Number((parts[number] * all.value).toFixed(4))));
  });
  const levels = Array.from({ length: numLevels }, (_, level) => make(`temperature-${level}`, levelName(level, numLevels), gather));
  let parts = levels.map(() => 1);  // of the largest temperature

  function gather() {
    const values = levels.map((level) => level.value);
    all.value = Math.max(...values);
    if (all.value > 0) parts = values.map((value) => value / all.value);
  }

  place.append(all.element, h("p", { className: "hint" }, "Lower is smoother, higher more varied."));
  if (numLevels > 1) levelsPlace.append(...levels.map((level) => level.element));
  const control = {
    get value() {
      const values = levels.map((level) => level.value);
      return values.every((value) => value === values[0]) ? values[0] : values;
    },
    set value(value) {
      levels.forEach((level, number) => (level.value = Array.isArray(value) ? value[number] : value));
      gather();
    },
  };
  control.value = generation.temperature;
  return control;
}

function levelName(level, numLevels) {
  if (level === 0) return "Temperature of fine detail";
  return level === numLevels - 1 ? "Temperature of large shapes" : `Temperature of level ${level + 1}`;
}

/** Return a temperature as text: "0.70" or "0.70-0.90". */
export function temperatureText(temperature, between = "-") {
  return [temperature].flat().map((value) => value.toFixed(2)).join(between);
}

/** Return the control of guidance; its value is 1 if the model takes none. */
export function guidanceControl(place, info, oninput) {
  if (!info.guided) return { value: 1 };
  const range = { min: 1, max: 3, step: 0.05, value: info.generation.guidance, digits: 2 };
  const control = slider({ id: "guidance", label: "Guidance", ...range, oninput });
  place.append(control.element);
  return control;
}
