// The list of scores: a verdict for each picture, the oddest first.

import { givenText } from "./attributes.js";
import { breakable, h, icon, joined } from "./dom.js";
import { thumbnail } from "./pictures.js";

const USUAL = 95;  // percent of ordinary pictures that are called usual

/** Make a list that grows by add(); onclear is called when it is cleared. */
export function makeScoreList(place, info, onclear) {
  let rows = [];
  const list = h("ul", { "aria-label": "Scores" });
  const legend = h("p", { className: "hint" });
  const actions = h("div", { className: "actions" }, h("button", { onclick: clear }, "Clear"));

  function clear() {
    rows = [];
    place.replaceChildren();
    onclear();
  }

  return {
    add(pictures, scores) {
      rows.push(...pictures.map((picture, number) => ({ picture, ...scores[number] })));
      const value = (row) => row.oddness ?? row.bits_per_dim ?? -1;  // pictures without scores are last
      list.replaceChildren(...rows.toSorted((one, other) => value(other) - value(one)).map((row) => itemOf(row, info)));
      legend.replaceChildren(...legendOf(rows.filter(({ error }) => !error)));
      if (!list.isConnected) place.append(list, legend, actions);  // the button stays, with the focus, when rows arrive
    },
  };
}

function legendOf(scored) {
  if (scored.length === 0) return [];
  const [{ usual }] = scored;
  if (!usual) {
    const text = "No verdicts: the model has no statistics of ordinary pictures. To add them: ";
    return [text, h("code", {}, "glow score --checkpoint MODEL --reference FOLDER --save-reference")];
  }
  return [`Percentages are of ${usual}, of which 95 % are called usual.`];
}

function itemOf({ picture, note, error, ...row }, info) {
  const kind = error ? null : givenText(info, row.given);
  const small = joined(" · ", kind && `recognised as ${kind}`, note);
  const name = h("div", { className: "file" }, ...breakable(picture.name), small && h("small", {}, small));
  const parts = error ? [h("p", { className: "error" }, error)] : [row.verdict && judged(row), bitsOf(row)];
  return h("li", {}, thumbnail(picture), name, ...parts);
}

function judged({ verdict, reason, oddness }) {
  const [className, symbol, text] = verdict === "unusual" ? ["verdict odd", "odd", "Unusual"] : ["verdict", "check", "Usual"];
  const word = h("strong", { className }, icon(symbol), text);
  const meter = h("meter", { max: 100, low: USUAL, high: USUAL, optimum: 0, value: oddness, "aria-hidden": "true" });
  const scale = h("p", { className: "hint" }, meter, ` odder than ${percentText(oddness)}`);
  return h("div", { className: "judged" }, word, " ", h("span", { className: "reason" }, reason), scale);
}

function bitsOf({ bits_per_dim: bits, percentile }) {
  const place = percentile !== null && h("p", { className: "hint" }, `more than ${percentText(percentile)}`);
  return h("div", { className: "bits" }, `${bits.toFixed(3)} bits/dim`, place);
}

/** Return a percentage as text, with a decimal above the limit, so that 95.3 does not look like 95. */
export function percentText(percent) {
  return percent >= 100 ? "all" : `${percent > USUAL ? percent.toFixed(1) : Math.round(percent)} %`;
}
