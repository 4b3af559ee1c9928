// The page: loads and shows the description of the model, then starts the tabs.

import { getInfo, hasKey, keepKey } from "./api.js";
import { attributeText, attributesOf, givenText } from "./attributes.js";
import { startCode } from "./code.js";
import { byId, h, joined } from "./dom.js";
import { settingsText } from "./drawn.js";
import { startEdit } from "./edit.js";
import { capitalised, givenWord, setError } from "./fields.js";
import { startInterpolate } from "./interpolate.js";
import { startRestore } from "./restore.js";
import { startSample } from "./sample.js";
import { startScore } from "./score.js";
import { isNewLink, openTab, readAddress, startTabs } from "./tabs.js";
import { Task } from "./task.js";

const waiting = [];  // functions to call once there is a key
const plural = (word) => `${word}${word.endsWith("s") ? "es" : "s"}`;
const whole = (number) => number.toLocaleString("en");
const counted = (number, word) => Number.isInteger(number) && `${whole(number)} ${word}${number === 1 ? "" : "s"}`;

/**
 * Start the tabs. Each may have open() for its first visit, restore(settings) for a link, and take(picture) for pictures
 * of the gallery.
 */
function start(info) {
  info.preview = info.sizes.slice(1).findLast((size) => Math.min(...size) >= 64);
  describe(info);
  const [edits, restores] = [attributesOf(info).length > 0, info.restorers.length > 0];
  const starts = { interpolate: startInterpolate, edit: edits && startEdit, restore: restores && startRestore, score: startScore };
  const takers = {};
  for (const [name, startTab] of Object.entries(starts)) {
    if (startTab) takers[name] = startTab(info);
    else for (const part of ["tab", "panel"]) byId(`${part}-${name}`).remove();
  }
  const rows = Object.entries(takers).map(([name, tab]) => makeSampleRow(byId(`${name}-samples`), tab.take));
  const use = ([name, tab]) => [name, (...picture) => (tab.take(...picture), openTab(name))];
  const uses = Object.fromEntries(Object.entries(takers).map(use));
  const sample = startSample(info, uses, (pictures) => rows.forEach((show) => show(pictures)));
  const tabs = { sample, ...takers };
  startCode();
  byId("main").hidden = byId("code-open").hidden = false;
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

/** Show the name and a sentence at the top, and details under "About this model". */
function describe(info) {
  const { training } = info;
  const { values = [], attributes = [] } = info.given ?? {};
  const known = [...values.map((value) => givenText(info, value)), ...attributes.map(({ name }) => attributeText(name))];
  const [channels, height, width] = info.image_shape;
  const colour = channels === 1 ? "grey" : "colour";
  byId("name").textContent = info.name;
  byId("summary").textContent = info.summary;
  document.documentElement.style.setProperty("--ratio", `${width} / ${height}`);
  document.documentElement.classList.toggle("smooth", height > 64);  // the browser shrinks the pictures

  const bits = (key, images) => Number.isFinite(training[key]) && `${training[key].toFixed(3)} on ${images} images`;
  const about = {
    Images: `${width} × ${height} pixels, ${colour}, ${info.num_bits} bits per value`,
    [info.given && capitalised(plural(givenWord(info)))]: known.join(", "),
    "Bits/dim": joined(", ", bits("val/bpd", "validation"), bits("train/bpd", "training")),
    Training: joined(", ", counted(training.epoch + 1, "epoch"), counted(training.step, "step")),  // epochs from 0
    "Default settings": settingsText(info.generation),
    Parameters: whole(info.parameters),
    Origin: joined(", revision ", training.hub, training.revision),
    "SHA-256": info.model,
    "glow-app": joined(", trained with ", info.version, training.version !== info.version && training.version),
  };
  const rows = Object.entries(about).filter(([, text]) => text);
  byId("about").querySelector("dl").append(...rows.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
  byId("about").hidden = false;
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
// No form is sent as a page, and no dropped picture replaces the page.
for (const type of ["submit", "dragover", "drop"]) window.addEventListener(type, (event) => event.preventDefault());
new Task(byId("loading"), false).run("Loading", getInfo, (info) => (start(info), "Ready"));
