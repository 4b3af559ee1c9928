// The table of scores: a verdict for each picture, the oddest first.

import { givenText } from "./attributes.js";
import { breakable, h, icon, joined } from "./dom.js";
import { thumbnail } from "./pictures.js";

const USUAL = 95;  // percent of ordinary pictures that are called usual

/** Make a table that grows by add(); onclear is called when it is cleared. */
export function makeScoreTable(place, info, onclear) {
  let rows = [];
  const actions = h("div", { className: "actions" }, h("button", { onclick: clear }, "Clear"));

  function draw() {
    const columns = columnsNow();
    // On a phone rows are shown as blocks; the roles tell screen readers that they are still a table.
    const header = (name) => h("th", { role: "columnheader", scope: "col" }, name);
    const head = h("tr", { role: "row" }, ...["Picture", ...Object.values(columns)].map(header));
    const value = (row) => row.oddness ?? row.bits_per_dim ?? -1;  // pictures without scores are last
    const sorted = rows.toSorted((one, other) => value(other) - value(one));
    const body = h("tbody", { role: "rowgroup" }, ...sorted.map((row) => rowOf(row, Object.keys(columns), info)));
    const table = h("table", { role: "table", "aria-label": "Scores" }, h("thead", { role: "rowgroup" }, head), body);
    if (!actions.isConnected) place.append(actions);  // it stays, with the focus, when rows arrive
    while (place.firstChild !== actions) place.firstChild.remove();
    actions.before(table, legend(columns) ?? "");
  }

  /** Return column names by key, without a verdict if no picture has one. */
  function columnsNow() {
    const scored = rows.filter((row) => !row.error);
    const isJudged = scored.length === 0 || scored.some((row) => row.usual);
    return { ...(isJudged && { oddness: "Verdict" }), bits_per_dim: "bits/dim" };
  }

  function legend(columns) {
    const usual = rows.find((row) => row.usual)?.usual;
    if (usual) {
      const marks = `The marks show how many ordinary pictures (${usual}) are less odd, and how many take fewer bits.`;
      return h("p", { className: "hint" }, `${marks} 95 % of them are called usual.`);
    }
    if (columns.oddness) return null;
    const command = h("code", {}, "glow score --reference FOLDER --save-reference");
    return h("p", { className: "hint" }, "No verdicts: the model has no statistics of ordinary pictures. To add them: ", command);
  }

  function clear() {
    rows = [];
    place.replaceChildren();
    onclear();
  }

  return {
    add(pictures, scores) {
      rows.push(...pictures.map((picture, number) => ({ picture, ...scores[number] })));
      draw();
    },
  };
}

function rowOf(row, columns, info) {
  const { picture, note, error } = row;
  const kind = error ? null : givenText(info, row.given);
  const small = joined(" · ", kind && `recognised as ${kind}`, note);
  const text = h("span", { className: "file" }, ...breakable(picture.name), small && h("small", {}, small));
  const named = h("span", { className: "named" }, thumbnail(picture), text);
  const first = h("th", { role: "rowheader", scope: "row" }, named);
  const colSpan = columns.length;
  const cells = error
    ? [h("td", { role: "cell", className: "error", colSpan, "aria-colspan": colSpan }, error)]
    : columns.map((key) => (key === "oddness" ? verdictCell(row) : bitsCell(row)));
  return h("tr", { role: "row" }, first, ...cells);
}

function verdictCell({ verdict, reason, oddness }) {
  const [className, symbol, text] = verdict === "unusual" ? ["verdict odd", "odd", "Unusual"] : ["verdict", "check", "Usual"];
  const word = h("strong", { className }, icon(symbol), text);
  const why = h("span", { className: "reason" }, reason);
  return h("td", { role: "cell", className: "judged" }, word, " ", why, oddnessScale(oddness));
}

function bitsCell({ bits_per_dim: bits, percentile }) {
  const place = percentile !== null && scale(percentile, "scale plain");
  return h("td", { role: "cell", "data-label": "bits/dim" }, h("span", { className: "number" }, bits.toFixed(3)), place);
}

/** Return the scale of oddness; the unusual part beyond the limit is enlarged. */
function oddnessScale(percent) {
  const place = percent <= USUAL ? (percent / USUAL) * 70 : 70 + ((percent - USUAL) / (100 - USUAL)) * 30;
  const text = h("span", {}, `odder than ${percentText(percent)}`);
  return h("span", { className: "hint oddness" }, scale(place, percent > USUAL ? "scale odd" : "scale"), text);
}

/** Return a percentage as text, with a decimal above the limit, so that 95.3 does not look like 95. */
export function percentText(percent) {
  return percent >= 100 ? "all" : `${percent > USUAL ? percent.toFixed(1) : Math.round(percent)} %`;
}

function scale(place, className) {
  const mark = h("span", { className: "mark" });
  mark.style.left = `${place}%`;
  return h("span", { className, "aria-hidden": "true" }, mark);
}
