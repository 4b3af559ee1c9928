// Undo and redo, by two buttons and by Ctrl+Z and Ctrl+Shift+Z.

import { h, icon } from "./dom.js";

/**
 * Return {buttons, clear()} for the controls in a place, whose values get() returns and set() sets. What the user does until
 * a control is released is one step.
 */
export function makeUndo(place, get, set) {
  const steps = [];  // as JSON
  let at = 0;  // of the values now
  const [undo, redo] = [["Undo", -1], ["Redo", 1]].map(([title, by]) =>
    h("button", { className: "icon", title, "aria-label": title, onclick: () => go(by) }, icon(title.toLowerCase())),
  );

  function turnTo(step) {
    at = step;
    undo.disabled = at === 0;
    redo.disabled = at === steps.length - 1;
  }

  function keep() {
    const now = JSON.stringify(get());
    if (now === steps[at]) return;
    steps.splice(at + 1, Infinity, now);
    turnTo(at + 1);
  }

  function go(by) {
    if (steps[at + by] === undefined) return;
    turnTo(at + by);
    set(JSON.parse(steps[at]));
  }

  for (const type of ["change", "click"]) place.addEventListener(type, keep);
  window.addEventListener("keydown", (event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (!isUndo || place.closest("[hidden]") || event.target.closest("dialog")) return;
    event.preventDefault();
    go(event.shiftKey ? 1 : -1);
  });
  return { buttons: [undo, redo], clear: () => (steps.splice(0, Infinity, JSON.stringify(get())), turnTo(0)) };
}
