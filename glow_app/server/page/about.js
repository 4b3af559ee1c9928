// What is served, in words: a line at the top, and the rest under "About this model".

import { byId, h, joined } from "./dom.js";
import { settingsText } from "./drawn.js";
import { className } from "./fields.js";

const SOURCES = {
  cifar10: "CIFAR-10",
  digits: "scikit-learn’s digits",
  fashion_mnist: "Fashion-MNIST",
  folder: "a folder of pictures",
  mnist: "MNIST",
};

/** Tell of the model what /v1/info knows. */
export function describe(info) {
  const [channels, height, width] = info.image_shape;
  const colour = channels === 1 ? "grey" : "colour";
  const facts = [
    `${width} × ${height} ${colour}`,
    `${info.num_levels} ${info.num_levels === 1 ? "level" : "levels"}`,
    info.num_classes === null ? null : `${info.num_classes} classes`,
    `${(info.parameters / 1e6).toFixed(1)} M parameters`,
  ];
  byId("facts").textContent = joined(" · ", ...facts);
  document.documentElement.style.setProperty("--ratio", `${width} / ${height}`);

  const { training } = info;
  const about = {
    Images: `${width} × ${height} pixels, ${colour}, ${info.num_bits} bits a value`,
    Classes: namesOf(info),
    Attributes: info.directions.join(", "),
    "Bits/dim": bitsPerDim(training),
    "Trained on": data(training.data),
    Training: length(training),
    "Drawn with": settingsText(info.generation),
    Parameters: whole(info.parameters),
    Origin: joined(", revision ", training.hub, training.revision),
    "SHA-256": info.model,
    "glow-app": joined(", ", info.version, trainedWith(info)),
  };
  const rows = Object.entries(about).filter(([, text]) => text);
  byId("about").querySelector("dl").append(...rows.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
  byId("about").hidden = false;
}

const whole = (number) => number.toLocaleString("en");

function namesOf(info) {
  if (info.num_classes === null) return null;
  if (info.classes === null) return `${info.num_classes}, without names`;
  return info.classes.map((_, label) => className(info, label)).join(", ");
}

function bitsPerDim(training) {
  const of = { "val/bpd": "validation", "train/bpd": "training" };
  const known = Object.keys(of).filter((key) => Number.isFinite(training[key]));
  return known.map((key) => `${training[key].toFixed(3)} on ${of[key]} images`).join(", ");
}

function data(chosen) {
  if (typeof chosen?.source !== "string") return null;
  const source = SOURCES[chosen.source] ?? chosen.source;
  return Number.isInteger(chosen.limit) ? `${source}, at most ${whole(chosen.limit)} images` : source;
}

function length({ step, epoch }) {
  const parts = [
    Number.isInteger(epoch) ? `${whole(epoch + 1)} ${epoch === 0 ? "epoch" : "epochs"}` : null, // counted from 0
    Number.isInteger(step) ? `${whole(step)} ${step === 1 ? "step" : "steps"}` : null,
  ];
  return parts.filter(Boolean).join(", ");
}

function trainedWith(info) {
  const { version } = info.training;
  return version === undefined || version === info.version ? null : `trained with ${version}`;
}
