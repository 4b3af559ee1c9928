// Guidance: how far images go beyond what their class has in common, for models with classes.

import { slider } from "./fields.js";

/** Return the control; its value is a number, and stays 1 where the model has no classes. */
export function guidanceControl(place, info, oninput) {
  if (info.num_classes === null) return { value: 1 };
  const all = slider({ id: "guidance", label: "Guidance", min: 1, max: 2, step: 0.05, value: info.generation.guidance, digits: 2, oninput });
  place.append(all.element);
  return all;
}

/** Return guidance as names of files have it, "_g1.25"; nothing for 1, which is the model itself. */
export const guidanceName = (guidance) => (guidance === 1 ? "" : `_g${guidance}`);
