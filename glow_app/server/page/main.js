// The page: asks what is served, then starts the tabs.

import { getInfo, keepKey } from "./api.js";
import { byId, h } from "./dom.js";
import { ignoreOtherDrops } from "./dropzone.js";
import { startEdit } from "./edit.js";
import { setError } from "./fields.js";
import { startInterpolate } from "./interpolate.js";
import { startSample } from "./sample.js";
import { startScore } from "./score.js";
import { openTab, startTabs } from "./tabs.js";
import { Task } from "./task.js";

const loading = new Task(byId("loading"));

function load() {
  loading.run("Asking what is served", getInfo, (info) => (start(info), "Ready"));
}

function start(info) {
  byId("key-form").hidden = true;
  describe(info);
  // Pictures go from tab to tab: the gallery hands them to the others.
  const interpolate = startInterpolate(info);
  const edit = startEdit(info);
  const score = startScore(info);
  startSample(info, {
    first: (picture) => interpolate.setEnd(0, picture),
    second: (picture) => interpolate.setEnd(1, picture),
    edit: (picture) => (edit.setPicture(picture), openTab("edit")),
    score: (picture) => (score.add([picture]), openTab("score")),
  });
  byId("main").hidden = false;
  startTabs(document.querySelector("[role=tablist]"));
}

function describe(info) {
  const [channels, height, width] = info.image_shape;
  const facts = [
    `${width} × ${height} ${channels === 1 ? "grey" : "colour"}`,
    `${info.num_levels} ${info.num_levels === 1 ? "level" : "levels"}`,
    info.num_classes === null ? null : `${info.num_classes} classes`,
    `${(info.parameters / 1e6).toFixed(1)} M parameters`,
  ];
  byId("facts").textContent = facts.filter(Boolean).join(" · ");
  document.documentElement.style.setProperty("--ratio", `${width} / ${height}`);
  const about = { "SHA-256": info.model, bits: info.num_bits, "glow-app": info.version };
  for (const [name, value] of Object.entries(info.training)) {
    if (["string", "number"].includes(typeof value)) about[name] = typeof value === "number" ? +value.toPrecision(4) : value;
  }
  for (const [name, value] of Object.entries(about)) {
    byId("about").querySelector("dl").append(h("dt", {}, name), h("dd", {}, String(value)));
  }
  byId("about").hidden = false;
}

document.addEventListener("glow:key-wanted", () => {
  byId("key-form").hidden = false;
  byId("key").focus();
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = byId("key").value.trim();
  // Other characters cannot be in a header; fetch would fail and blame the connection.
  const isSendable = /^[\x21-\x7e]+$/.test(key);
  setError(byId("key"), isSendable ? null : "A key is made of letters, digits and signs, without spaces.");
  if (!isSendable) return;
  keepKey(key);
  byId("key-form").reset();
  byId("key-form").hidden = true;
  if (byId("main").hidden) load();
});
ignoreOtherDrops();
load();
