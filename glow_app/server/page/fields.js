// Form fields: sliders, classes, numbers, and errors beside them.

import { byId, h } from "./dom.js";

/**
 * Return a labelled slider that shows its value.
 * @returns {{element: HTMLElement, value: number}} value can be set as well
 */
export function slider({ id, label, min, max, step, value, digits, oninput }) {
  // No <output>: a screen reader would tell each value twice, as the slider's and as news.
  const shown = h("span", { className: "value", "aria-hidden": "true" });
  const input = h("input", { type: "range", id, min, max, step, value });
  const show = () => {
    shown.textContent = Number(input.value).toFixed(digits);
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => (show(), oninput?.()));
  show();
  const head = h("div", { className: "slider-head" }, h("label", { for: id }, label), shown);
  return {
    element: h("div", { className: "field" }, head, input),
    get value() {
      return Number(input.value);
    },
    set value(number) {
      input.value = number;
      show();
    },
  };
}

/** Return the name of a class, or its number where the server knows no names; null for none. */
export function className(info, label) {
  return label === null ? null : (info.classes?.[label] ?? `class ${label}`);
}

/** Fill a select with the classes of a model, after a choice of none of them; it stays hidden for a model without. */
export function fillClasses(select, info, none) {
  if (info.num_classes === null) return;
  select.append(h("option", { value: "" }, none));
  for (let label = 0; label < info.num_classes; label++) {
    select.append(h("option", { value: label }, info.classes?.[label] ?? String(label)));
  }
  select.closest(".field").hidden = false;
}

/** Return the class chosen in a select, or null. */
export const chosenClass = (select) => (select.value === "" ? null : Number(select.value));

/** Say what is wrong with an input, in the element that its aria-describedby names last; null for nothing. */
export function setError(input, text) {
  byId(input.getAttribute("aria-describedby").split(" ").at(-1)).textContent = text ?? "";
  if (text) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

/** Return the whole number in an input, null where it is empty, or undefined and an error beside it. */
export function wholeNumber(input, { optional = false } = {}) {
  const { min, max } = input;
  const isEmpty = input.value === "" && !input.validity.badInput;
  if (isEmpty && optional) {
    setError(input, null);
    return null;
  }
  const isGood = !isEmpty && input.validity.valid && Number.isInteger(input.valueAsNumber);
  setError(input, isGood ? null : `A whole number from ${min} to ${max}, please.`);
  if (isGood) return input.valueAsNumber;
  input.focus();
  return undefined;
}
