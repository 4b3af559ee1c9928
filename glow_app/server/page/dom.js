// Elements from script. Text goes in as text and never as HTML: names of files and what a server says are not to be trusted.

/** Return the element of an id. */
export const byId = (id) => document.getElementById(id);

/**
 * Return a new element; by default, buttons submit no form.
 * @param {string} tag its name
 * @param {object} properties listeners (on...), attributes (role, for, aria-..., data-...), and else properties
 * @param {...(Node|string|null|false|undefined)} children appended in turn, strings as text; what is empty is left out
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  if (tag === "button") element.type = "button";
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (/^(aria-|data-|role$|for$)/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter(Boolean));
  return element;
}

/** Return the button that saves what is shown. */
export const downloadButton = (onclick, text = "Download") => h("button", { onclick }, icon("download"), text);

/** Return an icon of the sprite in index.html; it says nothing to a screen reader. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** Return texts as one, without those that are empty. */
export const joined = (between, ...texts) => texts.filter(Boolean).join(between);

/** Return a name as parts of an element, which a line may end between: before words, and not within them. */
export function breakable(name) {
  return name.split(/(?<=[_.-])(?=\p{L})/u).flatMap((part, place) => (place ? [h("wbr"), part] : [part]));
}

/**
 * Tell a screen reader something, at its next pause.
 * @param {string} text
 * @param {?HTMLElement} source what it is about; nothing is said while its tab is hidden: the listener is at another one
 */
export function announce(text, source = null) {
  if (!source?.closest("[hidden]")) byId("live").textContent = text;
}

/** Return where in an element a pointer is: how far across and how far down, from 0 to 1. */
export function placeIn(element, { clientX, clientY }) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return [(clientX - left) / width, (clientY - top) / height];
}

/** Call ondrag with the place in an element that is pressed, and with each to which it is dragged; an input gets the focus. */
export function letDrag(element, input, ondrag) {
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;  // a menu may take the end of it
    event.preventDefault();  // the focus goes to the input
    element.setPointerCapture(event.pointerId);
    input.focus({ preventScroll: true });
    ondrag(placeIn(element, event));
  });
  element.addEventListener("pointermove", (event) => {
    // Each finger is captured where it touches, also a second one.
    if (event.isPrimary && element.hasPointerCapture(event.pointerId)) ondrag(placeIn(element, event));
  });
}

/** Scroll to where results are, where they would stay out of sight: on a phone they are below the settings. */
export function reveal(element) {
  if (element.getBoundingClientRect().top < window.innerHeight * 0.8) return;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
}
