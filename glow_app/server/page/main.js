// The page: asks what is served, then starts the tabs.

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
import { isForeign, openTab, readAddress, startTabs } from "./tabs.js";
import { Task } from "./task.js";

const waiting = [];  // what goes on once there is a key

/**
 * Start the tabs. Each has open(), for its first visit, restore(settings) of a link, and take(picture) from the gallery,
 * as far as it needs them.
 */
function start(info) {
  describe(info);
  const takers = { interpolate: startInterpolate(info), edit: startEdit(info), score: startScore(info) };
  if (info.restorers.length) takers.restore = startRestore(info);
  else for (const id of ["tab-restore", "panel-restore"]) byId(id).remove();
  const shelves = Object.entries(takers).map(([name, tab]) => makeShelf(byId(`${name}-samples`), tab.take));
  const use = ([name, tab]) => [name, (...picture) => (tab.take(...picture), openTab(name))];
  const uses = Object.fromEntries(Object.entries(takers).map(use));
  const sample = startSample(info, uses, (pictures) => shelves.forEach((show) => show(pictures)));
  const tabs = { sample, ...takers };
  byId("main").hidden = false;
  // A link is followed before its tab is shown, which else begins with pictures of its own.
  function follow() {
    const { tab, settings } = readAddress();
    const isLink = isForeign() && tabs[tab]?.restore !== undefined;
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

/** Make a row of the newest samples, where another tab takes one by a click; return what shows other samples. */
function makeShelf(place, take) {
  const row = h("div", { className: "shelf", role: "group", "aria-label": "Samples" });
  place.append(row);

  function button(picture) {
    const title = joined(", ", `Take seed ${picture.settings.seed}`, picture.kind);
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
  setError(byId("key"), hasKey() ? "The server does not take this key." : null);
  byId("key").focus();
});
document.addEventListener("submit", (event) => event.preventDefault());  // no form is sent as a page
byId("key-form").addEventListener("submit", () => {
  const key = byId("key").value.trim();
  // Other characters cannot be in a header; fetch would fail and blame the connection.
  const isSendable = /^[\x21-\x7e]+$/.test(key);
  setError(byId("key"), isSendable ? null : "A key is made of letters, digits and signs, without spaces.");
  if (!isSendable) return;
  keepKey(key);
  byId("key-form").reset();
  byId("key-form").hidden = true;
  waiting.splice(0).forEach((goOn) => goOn());
});
byId("key").addEventListener("input", () => setError(byId("key"), null));
ignoreOtherDrops();
new Task(byId("loading"), false).run("Asking what is served", getInfo, (info) => (start(info), "Ready"));
