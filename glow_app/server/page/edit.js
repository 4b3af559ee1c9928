// The tab Edit: a picture, a slider for each attribute, and the changed picture.

import { ask } from "./api.js";
import { attributeControls, editOf, givenText, knowsAttributes, valuesLink, valuesName, valuesOf, valuesText } from "./attributes.js";
import { breakable, byId, downloadButton, h, joined } from "./dom.js";
import { draw, firstSettings, givenOf, linkOf, settingsOf } from "./drawn.js";
import { makeDropZone } from "./dropzone.js";
import { chosenGiven, fillGiven, givenPlace, slider } from "./fields.js";
import { download, faultOf, fileName, fromBase64, noteOf, readAll } from "./pictures.js";
import { keepSettings } from "./tabs.js";
import { Task } from "./task.js";
import { makeUndo } from "./undo.js";

/** Start the tab; take(picture, changes) opens a picture with changed attributes, another without changes if none are given. */
export function startEdit(info) {
  const knows = knowsAttributes(info);
  const first = firstSettings(0, info);  // drawn if the user has chosen none
  const [given, stage] = ["edit-given", "edited"].map(byId);
  const task = new Task(byId("edit-task"), true, info.preview);
  let picture = null;
  let original = null;  // {image, note} in the model's size
  let inferred = null;  // its most probable value of what can be given, once known
  let givenBy = null;  // "picture" if the model drew it with these values, and its PNG says so
  let isOfPicture = false;  // whether what is given is the picture's, and not chosen by the user
  let pair = null;
  const empty = [...stage.children];

  const zone = makeDropZone({ id: "edit-file", label: "Picture", info, onpictures: ([chosen]) => take(chosen) });
  byId("edit-picture").append(zone.element);
  fillGiven(given, info, "Recognised by the model");
  const attributes = attributeControls("edit", info, follow, "As in the picture");
  const strength = slider({ id: "edit-strength", label: "Strength", min: 0, max: 2, step: 0.05, value: 1, digits: 2, oninput: follow });
  if (knows) byId("edit-attributes").append(strength.element);
  const setMoves = (moves) => ((attributes.changes = moves.changes), (strength.value = moves.strength), follow());
  const undo = makeUndo(byId("edit-attributes"), () => ({ changes: attributes.changes, strength: strength.value }), setMoves);
  byId("edit-attributes").querySelector(".resets").append(...undo.buttons);

  function take(chosen, changes = chosen === picture ? attributes.changes : {}) {  // the same is cropped
    task.cancel();
    picture = chosen;
    original = pair = inferred = null;
    zone.show(picture);
    if (chosen.settings || isOfPicture) given.value = chosen.place ?? "";
    isOfPicture = chosen.settings !== undefined;
    attributes.start = {};
    attributes.changes = changes;
    undo.clear();
    if (knows && chosen.settings) pair = makePair(stage, chosen.url, info);  // it takes a while to be recognised
    follow();
  }

  async function changed(signal, _, preview) {
    const chosen = given.value;
    const send = async (image, changes, size) => {
      const drawnWith = picture.place === null && !knows ? picture.given : null;  // a value that the select does not list
      const known = chosenGiven(given, info) ?? inferred ?? drawnWith;
      const body = { image, size, given: known, ...editOf(changes, info), ...(knows && { strength: strength.value }) };
      const answer = await ask("edit", body, signal);
      if (chosen === "" && inferred === null) [inferred, givenBy] = [answer.given, answer.given_by];
      return answer;
    };
    let before = null;
    if (original === null) {
      before = await send((await readAll([picture], info.limits))[0], {});
      original = { image: before.image, note: noteOf(picture, before.note) };
      if (knows) attributes.start = inferred;
    }
    const { changes } = attributes;
    const isChanged = Object.keys(changes).length > 0;
    return { changes, isChanged, chosen, ...((!isChanged && before) || (await send(original.image, changes, preview))) };
  }

  function follow() {
    if (picture === null) return;
    zone.setError(null);
    task.follow(
      knows && original === null ? "Recognising the attributes" : "Changing the picture",
      changed,
      (answer) => {
        if (pair === null) zone.show(picture);  // reduced
        zone.judge(picture);
        pair ??= makePair(stage, fromBase64(original.image).url, info);
        pair.name = fileName(picture.name, ...(answer.isChanged ? valuesName(answer.changes, info) : ["unchanged"]));
        pair.show(answer, original.note, answer.chosen === "" ? givenBy : null);
        const link = { picture: linkOf(picture), given: answer.chosen || null, strength: knows ? strength.value : null };
        keepSettings("edit", { ...link, edit: valuesLink(answer.changes) });
        return answer.isChanged ? "Picture changed" : "Picture unchanged";
      },
      (error) => {
        const fault = faultOf(error);
        if (fault) zone.setError(`${picture.name}: ${fault.message}.`);
        if (fault || original === null) {
          pair = null;
          stage.replaceChildren(...empty);  // a result of another picture
        }
        return fault !== null;
      },
    );
  }

  function drawFirst(settings, use = (drawn) => take(drawn, attributes.changes)) {
    task.run("Drawing a picture", (signal) => draw(settings, info, signal), (drawn) => (use(drawn), "Picture drawn"));
  }

  function restore(settings) {
    attributes.changes = valuesOf(settings.get("edit"), info);
    if (settings.has("strength")) strength.value = Number(settings.get("strength")) || 0;
    const wanted = settingsOf(settings.get("picture"), info);
    const chosen = givenPlace(givenOf(settings.get("given"), info), info);
    if (wanted !== null) {
      drawFirst(wanted, (drawn) => {
        take(drawn, attributes.changes);
        given.value = chosen ?? "";
        isOfPicture = chosen === drawn.place;
      });
    } else if (picture === null) drawFirst(first);
    else (undo.clear(), follow());
  }

  given.addEventListener("change", () => {
    isOfPicture = false;
    follow();
  });
  const open = () => picture === null && drawFirst(first);
  return { take, open, restore };
}

/** Show a picture, and next to it its changed version from show(). */
function makePair(stage, url, info) {
  const before = h("img", { src: url, alt: "The picture before" });
  const after = h("img", { src: url, alt: "" });
  const caption = h("figcaption");
  const notes = h("p", { className: "notes" });
  const actions = h("div", { className: "actions" }, downloadButton(() => download(after.src, view.name)));
  const figures = [h("figure", {}, before, h("figcaption", {}, "Original")), h("figure", {}, after, caption)];
  stage.replaceChildren(h("div", { className: "pair" }, ...figures), notes, actions);
  const view = {
    name: "picture.png",
    show(answer, note, givenBy) {
      const how = valuesText(answer.changes, info);
      Object.assign(after, { src: fromBase64(answer.image).url, alt: how ? `The picture with ${how}` : "The picture, unchanged" });
      caption.replaceChildren(...breakable(how || "Unchanged"));
      const kind = knowsAttributes(info) ? null : givenText(info, answer.given);  // the controls show attributes
      const classes = { picture: `drawn as ${kind}`, inference: `recognised as ${kind}` };
      const words = knowsAttributes(info) ? { picture: "attributes as drawn", inference: "attributes recognised" } : classes;
      notes.textContent = joined(" · ", note, words[givenBy] ?? kind);
    },
  };
  return view;
}
