// The viewer: one enlarged picture of a batch, its attributes, and what it can be used for.

import { attributeControls, knowsAttributes, namedOf } from "./attributes.js";
import { announce, byId, joined } from "./dom.js";
import { changed } from "./drawn.js";
import { download } from "./pictures.js";
import { Task } from "./task.js";

/**
 * Start the viewer; return open(pictures, place, edits), which shows a picture of a batch. uses are functions of a picture
 * by name, of which edit also takes its edits; onshow gets the batch and the shown picture, null once it is closed.
 */
export function startViewer(info, uses, onshow) {
  const dialog = byId("viewer");
  const image = dialog.querySelector(".large");
  const button = (act) => dialog.querySelector(`[data-act=${act}]`);
  const task = new Task(byId("viewer-task"), true, info.preview);
  const attributes = attributeControls("viewer", info, follow, "As drawn");
  for (const act of ["edit", "restore"]) button(act).hidden = !uses[act];
  if (!uses.edit) byId("viewer-attributes").remove();
  let batch = [];
  let place = 0;
  const taking = ["download", "interpolate", "restore", "score"].map(button);
  let shown = null;  // the shown picture, edited or not

  const allow = (isAllowed) => taking.forEach((each) => (each.disabled = !isAllowed));

  function show(picture) {
    shown = picture;
    byId("viewer-title").textContent = joined(" · ", `Seed ${picture.settings.seed}`, picture.kind);
    Object.assign(image, { src: picture.url, alt: picture.alt });
    onshow(batch, picture);
  }

  /** Show the picture with the edits of the sliders; buttons that use the shown picture are disabled until then. */
  function follow() {
    allow(false);
    task.follow(
      "Changing the picture",
      (signal, _, size) => changed(batch[place], attributes, info, signal, size),
      (picture, size) => (show(picture), allow(!size), "Picture changed"),
    );
  }

  function turnTo(next, edits) {
    task.cancel();  // of another picture
    place = next;
    attributes.start = namedOf(batch[place].given);
    attributes.changes = edits;
    button("back").disabled = place === 0;
    button("forth").disabled = place === batch.length - 1;
    show(batch[place]);
    allow(true);
    if (Object.keys(edits).length || batch[place].settings.size) follow();
  }

  function open(pictures, first, edits = {}) {
    batch = pictures;
    turnTo(first, edits);
    if (!dialog.open) dialog.showModal();
  }

  function go(step) {
    if (batch[place + step] === undefined) return;
    turnTo(place + step, {});
    announce(shown.alt);
  }

  const staying = { back: () => go(-1), forth: () => go(1), download: () => download(shown.url, shown.name) };
  const leaving = {
    interpolate: () => uses.interpolate(shown),
    edit: () => (knowsAttributes(info) ? uses.edit(shown, {}) : uses.edit(batch[place], attributes.changes)),
    restore: () => uses.restore(shown),
    score: () => uses.score(shown),
  };

  dialog.addEventListener("click", (event) => {
    const act = event.target.closest("button")?.dataset.act;
    staying[act]?.();
    if (!leaving[act]) return;
    dialog.close();
    leaving[act]();
    if (act === "edit") byId("edit-form").scrollIntoView({ block: "nearest" });  // on a phone, it is below
  });
  image.addEventListener("click", () => image.classList.toggle("whole"));  // on a phone, where it is small otherwise
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && !event.target.matches("input")) go(step);
  });
  dialog.addEventListener("close", () => {
    task.cancel();
    onshow(batch, null);
  });
  // The page behind the dialog is needed.
  document.addEventListener("glow:key-wanted", () => dialog.close());
  window.addEventListener("hashchange", () => dialog.close());
  return open;
}
