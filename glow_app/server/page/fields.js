// Form fields: sliders, what is given, numbers, and errors beside them.

import { breakable, byId, h } from "./dom.js";

/** Fill a range input from 0, or from the end next to 0, to its value. */
export function fillRange(input) {
  const [min, max, value] = [input.min, input.max, input.value].map(Number);
  const part = (number) => (max > min ? (Math.min(Math.max(number, min), max) - min) / (max - min) : 0);
  const [low, high] = [part(0), part(value)].sort((a, b) => a - b);
  input.style.setProperty("--low", `${100 * low}%`);
  input.style.setProperty("--high", `${100 * high}%`);
}

/**
 * Return a labelled slider as {element, value, origin}; the value can also be set, even between two steps. If it is null
 * at first, for any value, it is shown as a button that sets it back to the origin. Its onshow, if set, is called after
 * each change.
 */
export function slider({ id, label, min, max, step, value, digits, oninput }) {
  const setBack = () => ((control.value = control.origin), oninput());
  // No <output>: a screen reader would read each value twice.
  const shown =
    value === null
      ? h("button", { className: "value", "aria-label": `Reset ${label}`, onclick: setBack })
      : h("span", { className: "value", "aria-hidden": "true" });
  const input = h("input", { type: "range", id, min, max, step, value });
  const inside = (number) => (number === null ? null : Math.min(max, Math.max(min, number)));
  let control;
  let exact = inside(value);  // the input itself rounds to a step
  const show = () => {
    shown.textContent = exact?.toFixed(digits) ?? "any";
    shown.disabled = exact === control.origin;
    input.setAttribute("aria-valuetext", shown.textContent);
    input.classList.toggle("any", exact === null);
    fillRange(input);
    control?.onshow?.();
  };
  input.addEventListener("input", () => {
    exact = Number(input.value);
    show();
    oninput?.();
  });
  control = {
    element: h("div", { className: "row" }, h("label", { for: id }, ...breakable(label)), input, shown),
    origin: exact,
    get value() {
      return exact;
    },
    set value(number) {
      exact = inside(number);
      input.value = exact ?? "";
      show();
    },
  };
  show();
  return control;
}

/** Return a switch of several states, the first at first, as {element, value}; the value is one of the texts. */
export function choice({ name, label, texts, oninput }) {
  const inputs = texts.map((value) => h("input", { type: "radio", name, value, className: "visually-hidden", onchange: oninput }));
  inputs[0].checked = true;
  return {
    element: h("div", { className: "answers", role: "radiogroup", "aria-label": label }, ...inputs.map((input) => h("label", {}, input, input.value))),
    get value() {
      return inputs.find((input) => input.checked).value;
    },
    set value(text) {
      inputs[texts.indexOf(text)].checked = true;
    },
  };
}

/** Return what a model can be given in a word: "class" for ClassConditioning. */
export const givenWord = ({ given }) => given.kind.replace(/(.)Conditioning$/, "$1").toLowerCase();

export const capitalised = (word) => word[0].toUpperCase() + word.slice(1);

/** Fill a select with an option for nothing and all values that the model can be given; hide it if there are none. */
export function fillGiven(select, info, none) {
  const values = info.given?.values ?? [];
  const field = select.closest(".field");
  field.hidden = values.length === 0;
  if (field.hidden) return;
  field.querySelector("span").textContent = capitalised(givenWord(info));
  select.replaceChildren(new Option(none, ""), ...values.map((value, place) => new Option(value, place)));
}

export const chosenGiven = (select, info) => (select.value === "" ? null : info.given.values[Number(select.value)]);

/** Return the place of a value among those that the model can be given, for selects and links; null for others. */
export function givenPlace(value, info) {
  const place = (info.given?.values ?? []).findIndex((each) => JSON.stringify(each) === JSON.stringify(value));
  return place < 0 ? null : place;
}

/** Show what is wrong with an input, in the last element of its aria-describedby; null clears it. */
export function setError(input, text) {
  byId(input.getAttribute("aria-describedby").split(" ").at(-1)).textContent = text ?? "";
  input.ariaInvalid = text ? "true" : null;
  if (text) input.closest("details")?.setAttribute("open", "");
}

/** Return the whole number in a field, null if it may be empty and is; show an error and return undefined if invalid. */
export function readNumber(input) {
  const isGood = input.validity.valid;
  setError(input, isGood ? null : `Enter a whole number from ${input.min} to ${input.max}.`);
  input.oninput = isGood ? null : () => readNumber(input);
  if (!isGood) return undefined;
  return input.value === "" ? null : input.valueAsNumber;
}

export function focusFirstError(form) {
  form.querySelector("[aria-invalid=true]")?.focus();
}
