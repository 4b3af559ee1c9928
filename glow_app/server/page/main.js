// The page: loads the description of the model, then starts the tabs.

import { describe } from "./about.js";
import { getInfo, hasKey, keepKey } from "./api.js";
import { byId, h, joined } from "./dom.js";
import { ignoreOtherDrops } from "./dropzone.js";
import { startEdit } from "./edit.js";
import { setError } from "./fields.js";
import { startInterpolate } from "./interpolate.js";
import { startRestore } from "./restore.js";
import { startSample } from "./sample.js";
import { startScore } from "./score.js";
import { isNewLink, openTab, readAddress, startTabs } from "./tabs.js";
import { Task } from "./task.js";

const waiting = [];  // functions to call once there is a key

/**
 * Start the tabs. Each may have open() for its first visit, restore(settings) for a link, and take(picture) for pictures
 * of the gallery.
 */
function start(info) {
  describe(info);
  const takers = { interpolate: startInterpolate(info), edit: startEdit(info), score: startScore(info) };
  if (info.restorers.length) takers.restore = startRestore(info);
  else for (const id of ["tab-restore", "panel-restore"]) byId(id).remove();
  const rows = Object.entries(takers).map(([name, tab]) => makeSampleRow(byId(`${name}-samples`), tab.take));
  const use = ([name, tab]) => [name, (...picture) => (tab.take(...picture), openTab(name))];
  const uses = Object.fromEntries(Object.entries(takers).map(use));
  const sample = startSample(info, uses, (pictures) => rows.forEach((show) => show(pictures)));
  const tabs = { sample, ...takers };
  byId("main").hidden = false;
  // A link is followed before its tab is shown, which would otherwise draw pictures of its own.
  function follow() {
    const { tab, settings } = readAddress();
    const isLink = isNewLink() && tabs[tab]?.restore !== undefined;
    if (isLink) tabs[tab].restore(settings);
    return isLink;
  }
  let isFollowed = follow();
  startTabs(document.querySelector("[role=tablist]"), (name) => {
    if (!isFollowed) tabs[name].open?.();
    isFollowed = false;
  });
  window.addEventListener("hashchange", follow);
}

/** Make a row of the newest samples, from which a tab takes one by a click; return a function that shows other samples. */
function makeSampleRow(place, take) {
  const row = h("div", { className: "sample-row", role: "group", "aria-label": "Samples" });
  place.append(row);

  function button(picture) {
    const title = joined(", ", `Use seed ${picture.settings.seed}`, picture.kind);
    const image = h("img", { src: picture.url, alt: "" });
    return h("button", { className: "picture", title, "aria-label": title, onclick: () => take(picture) }, image);
  }

  return (pictures) => {
    place.hidden = false;
    row.replaceChildren(...pictures.map(button));
  };
}

document.addEventListener("glow:key-wanted", (event) => {
  waiting.push(event.detail);
  byId("key-form").hidden = false;
  setError(byId("key"), hasKey() ? "The server does not accept this key." : null);
  byId("key").focus();
});
document.addEventListener("submit", (event) => event.preventDefault());  // no form is sent as a page
byId("key-form").addEventListener("submit", () => {
  const key = byId("key").value.trim();
  // A header cannot contain other characters; fetch would fail as if the server could not be reached.
  const isSendable = /^[\x21-\x7e]+$/.test(key);
  setError(byId("key"), isSendable ? null : "A key consists of ASCII letters, digits and symbols, without spaces.");
  if (!isSendable) return;
  keepKey(key);
  byId("key-form").reset();
  byId("key-form").hidden = true;
  waiting.splice(0).forEach((resume) => resume());
});
byId("key").addEventListener("input", () => setError(byId("key"), null));
ignoreOtherDrops();
new Task(byId("loading"), false).run("Loading", getInfo, (info) => (start(info), "Ready"));
