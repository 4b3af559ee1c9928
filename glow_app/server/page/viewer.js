// The viewer: one picture of a batch, large, its attributes beside it, and what can be done with it.

import { attributeControls } from "./attributes.js";
import { announce, byId, joined } from "./dom.js";
import { edited } from "./drawn.js";
import { download } from "./pictures.js";
import { Task } from "./task.js";

/**
 * Start the viewer; return open(pictures, place, edits), which shows a picture of a batch.
 * @param {object} info of the model
 * @param {object} uses what a picture may be used for, functions by name; edit takes its edits as well, reuse its settings
 * @param {function(object[], object)} onshow is given the batch and what is shown of it, null once nothing is
 */
export function startViewer(info, uses, onshow) {
  const dialog = byId("viewer");
  const image = dialog.querySelector(".large");
  const button = (act) => dialog.querySelector(`[data-act=${act}]`);
  const task = new Task(byId("viewer-task"));
  const attributes = attributeControls("viewer", info, follow);
  button("restore").hidden = info.restorers.length === 0;
  if (info.directions.length === 0) byId("viewer-edits").remove();
  let batch = [];
  let place = 0;
  const taking = ["download", "interpolate", "restore", "score"].map(button);
  let shown = null;  // the picture as it is seen, edited or not

  const allow = (isAllowed) => taking.forEach((each) => (each.disabled = !isAllowed));

  function show(picture) {
    shown = picture;
    Object.assign(image, { src: picture.url, alt: picture.alt });
    onshow(batch, picture);
  }

  /** Show the picture changed as the sliders say. What takes the picture that is shown waits for it. */
  function follow() {
    allow(false);
    task.follow(
      "Changing the picture",
      (signal) => edited(batch[place], attributes.edits, signal),
      (picture) => (show(picture), allow(true), "The picture is changed"),
    );
  }

  function turnTo(next, edits) {
    task.cancel();  // of another picture
    place = next;
    attributes.edits = edits;
    const { kind, settings } = batch[place];
    byId("viewer-title").textContent = joined(" · ", `Seed ${settings.seed}`, kind);
    button("back").disabled = place === 0;
    button("forth").disabled = place === batch.length - 1;
    show(batch[place]);
    allow(true);
    if (edits.length) follow();
  }

  function open(pictures, first, edits = []) {
    batch = pictures;
    turnTo(first, edits);
    if (!dialog.open) dialog.showModal();
  }

  function go(step) {
    if (batch[place + step] === undefined) return;
    turnTo(place + step, []);
    announce(shown.alt);
  }

  const staying = { back: () => go(-1), forth: () => go(1), download: () => download(shown.url, shown.name) };
  const leaving = {
    reuse: () => uses.reuse(shown.settings),
    interpolate: () => uses.interpolate(shown),
    edit: () => uses.edit(batch[place], attributes.edits),
    restore: () => uses.restore(shown),
    score: () => uses.score(shown),
  };

  dialog.addEventListener("click", (event) => {
    const act = event.target.closest("button")?.dataset.act;
    staying[act]?.();
    if (event.target !== dialog && act !== "close" && !(act in leaving)) return;  // the dialog itself is its backdrop
    dialog.close();
    leaving[act]?.();
  });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && !event.target.matches("input")) go(step);
  });
  dialog.addEventListener("close", () => {
    task.cancel();
    onshow(batch, null);
  });
  // What is behind it is wanted.
  document.addEventListener("glow:key-wanted", () => dialog.close());
  window.addEventListener("hashchange", () => dialog.close());
  return open;
}
