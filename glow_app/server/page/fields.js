// Form fields: sliders, classes, numbers, and errors beside them.

import { breakable, byId, h } from "./dom.js";

/** Let a range input be filled from 0, or from its end where 0 is beyond, to where it stands. */
export function fillRange(input) {
  const [min, max, value] = [input.min, input.max, input.value].map(Number);
  const part = (number) => (max > min ? (Math.min(Math.max(number, min), max) - min) / (max - min) : 0);
  const [low, high] = [part(0), part(value)].sort((a, b) => a - b);
  input.style.setProperty("--low", `${100 * low}%`);
  input.style.setProperty("--high", `${100 * high}%`);
}

/** Return a labelled slider as {element, value}; the value can be set as well, to what lies between two steps too. */
export function slider({ id, label, min, max, step, value, digits, oninput }) {
  // No <output>: a screen reader would tell each value twice, as the slider's and as news.
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

/** Return the name of a class; "class 3" where it has none, or one that is a number. null for none. */
export function className(info, label) {
  if (label === null) return null;
  const name = info.classes?.[label] ?? String(label);
  return /^\d+$/.test(name) ? `class ${name}` : name;
}

/** Fill a select with the classes of a model, after a choice of none of them; it is hidden for a model without. */
export function fillClasses(select, info, none) {
  select.closest(".field").hidden = info.num_classes === null;
  select.replaceChildren(new Option(none, ""));
  for (let label = 0; label < info.num_classes; label++) {
    select.append(new Option(info.classes?.[label] ?? label, label));
  }
}

/** Return the class chosen in a select, or null. */
export const chosenClass = (select) => (select.value === "" ? null : Number(select.value));

/** Say what is wrong with an input, in the element that its aria-describedby names last; null for nothing. */
export function setError(input, text) {
  byId(input.getAttribute("aria-describedby").split(" ").at(-1)).textContent = text ?? "";
  input.ariaInvalid = text ? "true" : null;
}

/** Return the whole number in a field, null where it is empty and may be; where it is wrong say so, and return undefined. */
export function readNumber(input) {
  const isGood = input.validity.valid;
  setError(input, isGood ? null : `A whole number from ${input.min} to ${input.max}, please.`);
  input.oninput = isGood ? null : () => readNumber(input);
  if (!isGood) return undefined;
  return input.value === "" ? null : input.valueAsNumber;
}

/** Go to the first field of a form that is wrong. */
export function focusFirstError(form) {
  form.querySelector("[aria-invalid=true]")?.focus();
}
