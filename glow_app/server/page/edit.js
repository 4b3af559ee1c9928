// The tab Edit: a picture, a slider for each attribute, and the picture changed.

import { keepSettings } from "./address.js";
import { ask } from "./api.js";
import { breakable, byId, h, icon } from "./dom.js";
import { draw, firstSettings, linkOf, settingsOf } from "./drawn.js";
import { DropZone } from "./dropzone.js";
import { chosenClass, className, fillClasses, slider } from "./fields.js";
import { download, faultOf, fromPng, noteOf, readAll, release } from "./pictures.js";
import { Task } from "./task.js";

/**
 * Start the tab.
 * @returns {{setPicture: function(object), open: function(), restore: function(URLSearchParams)}} setPicture is how other
 *   tabs hand it one
 */
export function startEdit(info) {
  const { directions } = info;
  const first = firstSettings(0, info);  // drawn where a visitor has chosen none
  const [form, none, label, stage] = ["edit-form", "edit-none", "edit-label", "edited"].map(byId);
  form.hidden = stage.hidden = directions.length === 0;
  none.hidden = directions.length > 0;
  const task = new Task(byId("edit-task"));
  let picture = null;
  let original = null;  // {image, note}: as the model sees it, in its size
  let isClassOfPicture = false;  // chosen with it, and not by the visitor
  let pair = null;
  const empty = [...stage.children];

  const zone = new DropZone({ id: "edit-file", label: "Picture", info, onpictures: ([chosen]) => setPicture(chosen) });
  byId("edit-picture").append(zone.element);
  fillClasses(label, info, "Recognised by the model");
  const sliders = directions.map((name, number) =>
    slider({ id: `edit-${number}`, label: name, min: -2, max: 2, step: 0.1, value: 0, digits: 1, oninput: follow }),
  );
  byId("edit-sliders").append(...sliders.map((one) => one.element));

  function setPicture(chosen) {
    if (chosen !== picture) release(picture);
    task.cancel();
    picture = chosen;
    original = pair = null;
    zone.show(picture);
    if (chosen.label !== undefined || isClassOfPicture) label.value = chosen.label ?? "";
    isClassOfPicture = chosen.label !== undefined;
    follow();
  }
  function clear() {
    pair = null;
    stage.replaceChildren(...empty);  // what is there is of another picture
  }
  const moved = () =>
    sliders.map((one, number) => ({ direction: directions[number], strength: one.value })).filter((one) => one.strength !== 0);

  /** Return the picture, and the picture changed, as the settings are now. */
  async function changed(signal) {
    const chosen = label.value;
    const send = (image, edits) => ask("edit", { image, edits, label: chosenClass(label) }, signal);
    const still = [{ direction: directions[0], strength: 0 }];  // gives the picture back, in the model's size
    const edits = moved();
    if (original === null) {
      const before = await send((await readAll([picture], info.limits))[0], still);
      original = { image: before.image, note: noteOf(picture, before.note) };
      if (edits.length === 0) return { edits, chosen, ...before };
    }
    return { edits, chosen, ...(await send(original.image, edits.length ? edits : still)) };
  }

  function follow() {
    if (picture === null || directions.length === 0) return;
    zone.setError(null);
    task.follow(
      "Changing the picture",
      changed,
      (answer) => {
        if (pair === null) zone.show(picture);  // smaller than it was chosen
        pair ??= new Pair(stage, original.image);
        pair.show(answer, original.note, info);
        keep(answer.edits, answer.chosen);
        return answer.edits.length ? "The picture is changed" : "The picture as it is";
      },
      (error) => {
        const fault = faultOf(error);
        if (fault) zone.setError(`${picture.name}: ${fault.text}.`);
        if (fault || original === null) clear();
        return fault !== null;
      },
    );
  }

  function keep(edits, chosen) {
    const strengths = Object.fromEntries(edits.map((one) => [`edit.${one.direction}`, String(one.strength)]));
    keepSettings("edit", { picture: linkOf(picture), class: chosen === "" ? null : chosen, ...strengths });
  }

  function drawFirst(settings) {
    task.run("Drawing a picture", (signal) => draw(settings, info, signal), (drawn) => (setPicture(drawn), "A picture is drawn"));
  }

  function restore(settings) {
    sliders.forEach((one, number) => (one.value = Number(settings.get(`edit.${directions[number]}`)) || 0));
    const wanted = settingsOf(settings.get("picture"), info);
    if (wanted !== null || picture === null) drawFirst(wanted ?? first);
    else follow();
  }

  label.addEventListener("change", () => {
    isClassOfPicture = false;
    follow();
  });
  byId("edit-reset").addEventListener("click", () => {
    for (const one of sliders) one.value = 0;
    follow();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  const open = () => picture === null && directions.length > 0 && drawFirst(first);
  return { setPicture, open, restore };
}

/** A picture and the same picture changed, side by side. */
class Pair {
  #image = h("img");
  #caption = h("figcaption");
  #notes = h("p", { className: "notes" });
  #url = "";

  constructor(stage, original) {
    const before = h("img", { src: fromPng(original).url, alt: "The picture before" });
    const save = () => download(this.#url, "edited.png");
    stage.replaceChildren(
      h("div", { className: "pair" }, h("figure", {}, before, h("figcaption", {}, "Original")), h("figure", {}, this.#image, this.#caption)),
      this.#notes,
      h("div", { className: "actions" }, h("button", { type: "button", onclick: save }, icon("download"), "Download")),
    );
  }

  show(answer, note, info) {
    const how = answer.edits.map((one) => `${one.direction} ${one.strength > 0 ? "+" : ""}${one.strength.toFixed(1)}`).join(", ");
    this.#url = fromPng(answer.image).url;
    Object.assign(this.#image, { src: this.#url, alt: how ? `The picture with ${how}` : "The picture, unchanged" });
    this.#caption.replaceChildren(...breakable(how || "Unchanged"));
    const kind = className(info, answer.label);
    const taken = answer.chosen === "" ? `taken for ${kind}` : kind;
    this.#notes.textContent = [note, kind === null ? null : taken].filter(Boolean).join(" · ");
  }
}
