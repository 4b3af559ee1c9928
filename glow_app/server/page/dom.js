// Elements. Text is inserted as text and never as HTML, because file names and answers of a server are not trusted.

export const byId = (id) => document.getElementById(id);

/**
 * Return a new element; by default, buttons submit no form. Among the properties may be listeners (on...) and attributes
 * (role, for, aria-..., data-...); strings among the children are appended as text, and empty children are skipped.
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

export const downloadButton = (onclick, text = "Download") => h("button", { onclick }, icon("download"), text);

/** Return an icon of the sprite in index.html, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

export const joined = (between, ...texts) => texts.filter(Boolean).join(between);

/** Return a name as children of an element that may wrap before words, but not within them. */
export function breakable(name) {
  return name.split(/(?<=[_.-])(?=\p{L})/u).flatMap((part, place) => (place ? [h("wbr"), part] : [part]));
}

/** Announce something to screen readers, at their next pause; nothing while the tab of its source is hidden. */
export function announce(text, source = null) {
  if (!source?.closest("[hidden]")) byId("live").textContent = text;
}

/** Return where in an element a pointer is: how far across and how far down, from 0 to 1. */
export function placeIn(element, { clientX, clientY }) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return [(clientX - left) / width, (clientY - top) / height];
}

/** Call ondrag with each position of the pointer in a place while an element is dragged; an input gets the focus. */
export function letDrag(element, input, ondrag, place = element) {
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;  // the menu of a right click may hide its end
    event.preventDefault();  // the focus goes to the input
    element.setPointerCapture(event.pointerId);
    input.focus({ preventScroll: true });
    ondrag(placeIn(place, event));
  });
  element.addEventListener("pointermove", (event) => {
    // A second finger is captured as well.
    if (event.isPrimary && element.hasPointerCapture(event.pointerId)) ondrag(placeIn(place, event));
  });
}
