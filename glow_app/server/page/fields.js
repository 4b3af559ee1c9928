// Form fields: sliders, classes, numbers, and errors beside them.

import { breakable, byId, h } from "./dom.js";

/** Fill a range input from 0, or from the end next to 0, to its value. */
export function fillRange(input) {
  const [min, max, value] = [input.min, input.max, input.value].map(Number);
  const part = (number) => (max > min ? (Math.min(Math.max(number, min), max) - min) / (max - min) : 0);
  const [low, high] = [part(0), part(value)].sort((a, b) => a - b);
  input.style.setProperty("--low", `${100 * low}%`);
  input.style.setProperty("--high", `${100 * high}%`);
}

/** Return a labelled slider as {element, value}; the value can also be set, even between two steps. */
export function slider({ id, label, min, max, step, value, digits, oninput }) {
  // No <output>: a screen reader would read each value twice.
  const shown = h("span", { className: "value", "aria-hidden": "true" });
  const input = h("input", { type: "range", id, min, max, step, value });
  const inside = (number) => Math.min(max, Math.max(min, number));
  let exact = inside(value);  // the input itself rounds to a step
  const show = () => {
    shown.textContent = exact.toFixed(digits);
    input.setAttribute("aria-valuetext", shown.textContent);
    fillRange(input);
  };
  input.addEventListener("input", () => {
    exact = Number(input.value);
    show();
    oninput?.();
  });
  show();
  const head = h("div", { className: "slider-head" }, h("label", { for: id }, ...breakable(label)), shown);
  return {
    element: h("div", { className: "field" }, head, input),
    get value() {
      return exact;
    },
    set value(number) {
      exact = inside(number);
      input.value = exact;
      show();
    },
  };
}

/** Return the name of a class, or "class 3" if it has none or its name is a number; null for null. */
export function className(info, label) {
  if (label === null) return null;
  const name = info.classes?.[label] ?? String(label);
  return /^\d+$/.test(name) ? `class ${name}` : name;
}

/** Fill a select with an option for no class and the classes of a model; hide it if there are none. */
export function fillClasses(select, info, none) {
  select.closest(".field").hidden = info.num_classes === null;
  select.replaceChildren(new Option(none, ""));
  for (let label = 0; label < info.num_classes; label++) {
    select.append(new Option(info.classes?.[label] ?? label, label));
  }
}

/** Return the class chosen in a select, or null. */
export const chosenClass = (select) => (select.value === "" ? null : Number(select.value));

/** Show what is wrong with an input, in the last element of its aria-describedby; null clears it. */
export function setError(input, text) {
  byId(input.getAttribute("aria-describedby").split(" ").at(-1)).textContent = text ?? "";
  input.ariaInvalid = text ? "true" : null;
}

/** Return the whole number in a field, null if it may be empty and is; show an error and return undefined if invalid. */
export function readNumber(input) {
  const isGood = input.validity.valid;
  setError(input, isGood ? null : `Enter a whole number from ${input.min} to ${input.max}.`);
  input.oninput = isGood ? null : () => readNumber(input);
  if (!isGood) return undefined;
  return input.value === "" ? null : input.valueAsNumber;
}

/** Focus the first invalid field of a form. */
export function focusFirstError(form) {
  form.querySelector("[aria-invalid=true]")?.focus();
}
