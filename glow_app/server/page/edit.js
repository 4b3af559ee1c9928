// The tab Edit: a picture, a slider for each attribute, and the changed picture.

import { ask } from "./api.js";
import { attributeControls, editsLink, editsName, editsOf, editsText } from "./attributes.js";
import { breakable, byId, downloadButton, h, joined } from "./dom.js";
import { draw, firstSettings, givenOf, linkOf, settingsOf } from "./drawn.js";
import { makeDropZone } from "./dropzone.js";
import { chosenGiven, fillGiven, givenPlace, givenText } from "./fields.js";
import { download, faultOf, fileName, fromPng, noteOf, readAll, release } from "./pictures.js";
import { keepSettings } from "./tabs.js";
import { Task } from "./task.js";

/** Start the tab; take(picture, edits) sets the sliders if edits are given. */
export function startEdit(info) {
  const { directions } = info;
  const first = firstSettings(0, info);  // drawn if the user has chosen none
  const [given, stage] = ["edit-given", "edited"].map(byId);
  for (const part of byId("panel-edit").children) part.hidden = (part.id === "edit-none") !== (directions.length === 0);
  const task = new Task(byId("edit-task"));
  let picture = null;
  let original = null;  // {image, note} in the model's size
  let inferred = null;  // its most probable value of what can be given, once known
  let isOfPicture = false;  // whether what is given is the picture's, and not chosen by the user
  let pair = null;
  const empty = [...stage.children];

  const zone = makeDropZone({ id: "edit-file", label: "Picture", info, onpictures: ([chosen]) => take(chosen) });
  byId("edit-picture").append(zone.element);
  fillGiven(given, info, "Recognised by the model");
  const attributes = attributeControls("edit", info, follow);

  function take(chosen, edits = attributes.edits) {
    if (chosen !== picture) release(picture);
    task.cancel();
    picture = chosen;
    original = pair = inferred = null;
    zone.show(picture);
    if (chosen.settings || isOfPicture) given.value = chosen.place ?? "";
    isOfPicture = chosen.settings !== undefined;
    attributes.edits = edits;
    follow();
  }

  /** Return the changed picture for the current settings. */
  async function changed(signal) {
    const chosen = given.value;
    const send = async (image, edits) => {
      const drawnWith = picture.place === null ? picture.given : null;  // a value that the select does not list
      const known = chosenGiven(given, info) ?? drawnWith ?? inferred;
      const answer = await ask("edit", { image, edits, given: known }, signal);
      if (chosen === "") inferred = answer.given;
      return answer;
    };
    const still = [{ direction: directions[0], strength: 0 }];  // returns the picture in the model's size
    const { edits } = attributes;
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
        if (pair === null) zone.show(picture);  // reduced
        zone.judge(picture);
        pair ??= makePair(stage, original.image);
        pair.name = fileName(picture.name, ...(answer.edits.length ? editsName(answer.edits) : ["unchanged"]));
        pair.show(answer, original.note, info);
        keepSettings("edit", { picture: linkOf(picture), given: answer.chosen || null, ...editsLink(answer.edits) });
        return answer.edits.length ? "The picture is changed" : "The picture is unchanged";
      },
      (error) => {
        const fault = faultOf(error);
        if (fault) zone.setError(`${picture.name}: ${fault.text}.`);
        if (fault || original === null) {
          pair = null;
          stage.replaceChildren(...empty);  // a result of another picture
        }
        return fault !== null;
      },
    );
  }

  function drawFirst(settings, use = take) {
    task.run("Drawing a picture", (signal) => draw(settings, info, signal), (drawn) => (use(drawn), "A picture is drawn"));
  }

  function restore(settings) {
    attributes.edits = editsOf(settings, info);
    const wanted = settingsOf(settings.get("picture"), info);
    const chosen = givenPlace(givenOf(settings.get("given"), info), info);
    if (wanted !== null) {
      drawFirst(wanted, (drawn) => {
        take(drawn);
        given.value = chosen ?? "";
        isOfPicture = chosen === drawn.place;
      });
    } else if (picture === null) drawFirst(first);
    else follow();
  }

  given.addEventListener("change", () => {
    isOfPicture = false;
    follow();
  });
  const open = () => picture === null && directions.length > 0 && drawFirst(first);
  return { take, open, restore };
}

/** Show a picture, and next to it its changed version from show(). */
function makePair(stage, original) {
  const before = h("img", { src: fromPng(original).url, alt: "The picture before" });
  const after = h("img");
  const caption = h("figcaption");
  const notes = h("p", { className: "notes" });
  const actions = h("div", { className: "actions" }, downloadButton(() => download(after.src, view.name)));
  const figures = [h("figure", {}, before, h("figcaption", {}, "Original")), h("figure", {}, after, caption)];
  stage.replaceChildren(h("div", { className: "pair" }, ...figures), notes, actions);
  const view = {
    show(answer, note, info) {
      const how = editsText(answer.edits);
      Object.assign(after, { src: fromPng(answer.image).url, alt: how ? `The picture with ${how}` : "The picture, unchanged" });
      caption.replaceChildren(...breakable(how || "Unchanged"));
      const kind = givenText(info, answer.given);
      notes.textContent = joined(" · ", note, kind && answer.chosen === "" ? `recognised as ${kind}` : kind);
    },
  };
  return view;
}
