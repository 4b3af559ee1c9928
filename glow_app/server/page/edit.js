// The tab Edit: a picture, a slider for each attribute, and the picture changed.

import { ask } from "./api.js";
import { breakable, byId, h, icon } from "./dom.js";
import { DropZone } from "./dropzone.js";
import { chosenClass, className, fillClasses, slider } from "./fields.js";
import { download, faultOf, fromPng, release, tooLarge } from "./pictures.js";
import { Task } from "./task.js";

const SETTLE_MS = 150;  // a slider has to rest so long before the server is asked

/** Start the tab; returns {setPicture(picture)}, by which other tabs hand it one. */
export function startEdit(info) {
  const { directions } = info;
  const [form, none, label] = [byId("edit-form"), byId("edit-none"), byId("edit-label")];
  form.hidden = byId("edited").hidden = directions.length === 0;
  none.hidden = directions.length > 0;
  const task = new Task(byId("edit-task"));
  let picture = null;
  let original = null;  // as the model sees it, in its size
  let isClassOfPicture = false;  // chosen with it, and not by the visitor
  let timer = 0;
  const stage = byId("edited");
  const empty = [...stage.children];

  const zone = new DropZone({ id: "edit-file", label: "Picture", onpictures: ([chosen]) => setPicture(chosen) });
  byId("edit-picture").append(zone.element);
  fillClasses(label, info, "Recognised by the model");
  const sliders = directions.map((name, number) =>
    slider({ id: `edit-${number}`, label: name, min: -2, max: 2, step: 0.1, value: 0, digits: 1, oninput: later }),
  );
  byId("edit-sliders").append(...sliders.map((one) => one.element));

  function setPicture(chosen) {
    release(picture);
    picture = chosen;
    original = null;
    zone.show(picture);
    if (chosen.label !== undefined || isClassOfPicture) label.value = chosen.label ?? "";
    isClassOfPicture = chosen.label !== undefined;
    now();
  }
  function refuse(text) {
    zone.setError(text);
    stage.replaceChildren(...empty);  // what is there is of another picture
  }
  function later() {
    clearTimeout(timer);
    timer = setTimeout(now, SETTLE_MS);
  }
  function now() {
    if (picture === null || directions.length === 0) return;
    const large = tooLarge([picture], info.limits);
    zone.setError(null);
    if (large !== null) {
      task.cancel();
      refuse(large);
      return;
    }
    const edits = sliders.map((one, number) => ({ direction: directions[number], strength: one.value }));
    const moved = edits.filter((one) => one.strength !== 0);
    const still = [{ ...edits[0], strength: 0 }];  // gives the picture back, in the model's size
    const send = (which, image, signal) => ask("edit", { image, edits: which, label: chosenClass(label) }, signal);
    task.run(
      "Changing the picture",
      async (signal) => {
        const image = await picture.read();
        const before = original ?? (await send(still, image, signal));
        return { before, after: moved.length ? await send(moved, image, signal) : before };
      },
      ({ before, after }) => {
        original = before;
        show(before, after, moved, info);
        return moved.length ? "The picture is changed" : "The picture as it is";
      },
      (error) => {
        const fault = faultOf(error);
        if (fault) refuse(`${picture.name}: ${fault.text}.`);
        else if (original === null) stage.replaceChildren(...empty);
        return fault !== null;
      },
    );
  }

  label.addEventListener("change", () => {
    isClassOfPicture = false;
    now();
  });
  byId("edit-reset").addEventListener("click", () => {
    for (const one of sliders) one.value = 0;
    now();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  return { setPicture };
}

function show(before, after, moved, info) {
  const how = moved.map((one) => `${one.direction} ${one.strength > 0 ? "+" : ""}${one.strength.toFixed(1)}`).join(", ");
  const changed = fromPng(after.image, "edited.png", how ? `The picture with ${how}` : "The picture, unchanged");
  const figure = (url, alt, caption) => h("figure", {}, h("img", { src: url, alt }), h("figcaption", {}, ...breakable(caption)));
  const original = fromPng(before.image, "", "").url;
  const notes = [after.note, after.label === null ? null : `taken for ${className(info, after.label)}`].filter(Boolean);
  byId("edited").replaceChildren(
    h(
      "div",
      { className: "pair" },
      figure(original, "The picture before", "Original"),
      figure(changed.url, changed.alt, how || "Unchanged"),
    ),
    h("p", { className: "notes" }, notes.join(" · ")),
    h(
      "div",
      { className: "actions" },
      h("button", { type: "button", onclick: () => download(changed.url, changed.name) }, icon("download"), "Download"),
    ),
  );
}
