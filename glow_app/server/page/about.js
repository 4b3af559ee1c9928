// The description of the model: its name and a sentence at the top, and details under "About this model".

import { attributeText, givenText } from "./attributes.js";
import { byId, h, joined } from "./dom.js";
import { settingsText } from "./drawn.js";
import { capitalised, givenWord } from "./fields.js";

const plural = (word) => `${word}${word.endsWith("s") ? "es" : "s"}`;
const whole = (number) => number.toLocaleString("en");
const counted = (number, word) => Number.isInteger(number) && `${whole(number)} ${word}${number === 1 ? "" : "s"}`;

/** Show the answer of /v1/info. */
export function describe(info) {
  const { training } = info;
  const { values = [], attributes = [] } = info.given ?? {};
  const known = [...values.map((value) => givenText(info, value)), ...attributes.map(({ name }) => attributeText(name))];
  const [channels, height, width] = info.image_shape;
  const colour = channels === 1 ? "grey" : "colour";
  byId("name").textContent = capitalised(info.name);
  byId("summary").textContent = info.summary;
  document.documentElement.style.setProperty("--ratio", `${width} / ${height}`);

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
