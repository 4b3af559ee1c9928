// The page: asks what is served, then starts the tabs.

import { describe } from "./about.js";
import { isForeign, readAddress } from "./address.js";
import { getInfo, hasKey, keepKey } from "./api.js";
import { byId } from "./dom.js";
import { ignoreOtherDrops } from "./dropzone.js";
import { startEdit } from "./edit.js";
import { setError } from "./fields.js";
import { startInterpolate } from "./interpolate.js";
import { startRestore } from "./restore.js";
import { startSample } from "./sample.js";
import { startScore } from "./score.js";
import { makeShelf } from "./shelf.js";
import { openTab, startTabs } from "./tabs.js";
import { Task } from "./task.js";

const loading = new Task(byId("loading"), false);
const waiting = [];  // what goes on once there is a key

function start(info) {
  describe(info);
  // Pictures go from tab to tab: the gallery hands them to the others.
  const interpolate = startInterpolate(info);
  const edit = startEdit(info);
  const restore = info.restorers.length ? startRestore(info) : null;
  if (restore === null) for (const id of ["tab-restore", "panel-restore"]) byId(id).remove();
  const score = startScore(info);
  const take = { interpolate: interpolate.take, edit: edit.setPicture, score: (picture) => score.add([picture]) };
  if (restore !== null) take.restore = restore.take;
  const shelves = Object.entries(take).map(([tab, use]) => makeShelf(byId(`${tab}-samples`), use));
  const open = ([tab, use]) => [tab, (...picture) => (use(...picture), openTab(tab))];
  const uses = Object.fromEntries(Object.entries(take).map(open));
  const sample = startSample(info, uses, (pictures) => shelves.forEach((show) => show(pictures)));
  byId("main").hidden = false;
  const panels = { sample, interpolate, edit, ...(restore && { restore }) };
  // A link is followed before its tab is shown, which else begins with pictures of its own.
  function follow() {
    const { tab, settings } = readAddress();
    const isLink = isForeign() && tab in panels;
    if (isLink) panels[tab].restore(settings);
    return isLink;
  }
  let isFollowed = follow();
  startTabs(document.querySelector("[role=tablist]"), (name) => {
    if (!isFollowed) panels[name]?.open();
    isFollowed = false;
  });
  window.addEventListener("hashchange", follow);
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
loading.run("Asking what is served", getInfo, (info) => (start(info), "Ready"));
