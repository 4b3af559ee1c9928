// The table of scores: a verdict for each picture, sorted by any column, saved as CSV.

import { breakable, downloadButton, h, icon, joined, reveal } from "./dom.js";
import { className } from "./fields.js";
import { download, release, thumbnail } from "./pictures.js";
import { oddnessScale, percentileScale } from "./scale.js";

const NUMBERS = {
  bits_per_dim: "bits/dim",
  typicality: "typicality",
  latent_norm: "latent norm",
  png_ratio: "PNG ratio",
  spectrum: "spectrum",
};

/** Rows that grow; onclear is called where the table is emptied. */
export class ScoreTable {
  #place;
  #info;
  #rows = [];
  #order = { column: null, isRising: false };
  #hasNumbers = false;
  #empty;
  #onclear;

  constructor(place, info, onclear) {
    this.#place = place;
    this.#info = info;
    this.#onclear = onclear;
    this.#empty = [...place.children];
  }

  /** Add pictures with what the server says of each. */
  add(pictures, scores) {
    const isFirst = this.#rows.length === 0;
    this.#rows.push(...pictures.map((picture, number) => ({ picture, ...scores[number] })));
    this.#draw();
    if (isFirst) reveal(this.#place);
  }

  #sort(column) {
    // The odd ones first, and at the second press last.
    const isRising = this.#order.column === column && !this.#order.isRising;
    this.#order = { column, isRising };
    this.#draw();
  }

  #draw() {
    const { column, isRising } = this.#order;
    const rows = [...this.#rows];
    const value = (row) => row[column] ?? -Infinity;  // what could not be scored is last, or first
    if (column) rows.sort((a, b) => (value(a) === value(b) ? 0 : (isRising ? 1 : -1) * (value(a) - value(b))));
    const columns = this.#columns();
    // On a phone the rows are shown as blocks; the roles say to a screen reader that they are a table still.
    const picture = h("th", { role: "columnheader", scope: "col" }, "Picture");
    const head = h("tr", { role: "row" }, picture, ...Object.entries(columns).map(([key, name]) => this.#header(key, name)));
    const body = h("tbody", { role: "rowgroup" }, ...rows.map((row) => this.#row(row, Object.keys(columns))));
    const table = h("table", { role: "table", "aria-label": "Scores" }, h("thead", { role: "rowgroup" }, head), body);
    const save = downloadButton(() => this.#save(), "Download as CSV");
    const clear = h("button", { onclick: () => this.#clear() }, "Clear");
    // The control that has the focus keeps it: rows may come at any time.
    const focused = this.#controls().indexOf(document.activeElement);
    const actions = h("div", { className: "actions" }, save, clear);
    this.#place.replaceChildren(...[columns.oddness && this.#toggle(), table, this.#legend(columns), actions].filter(Boolean));
    this.#controls()[focused]?.focus({ preventScroll: true });
  }

  #controls() {
    return [...this.#place.querySelectorAll("input, button")];
  }

  /** Return names by key: without ordinary pictures, of the numbers that need none. */
  #columns() {
    const scored = this.#rows.filter((row) => !row.error);
    if (scored.length > 0 && !scored.some((row) => row.usual)) {
      return Object.fromEntries(Object.entries(NUMBERS).filter(([key]) => scored[0][key] !== null));
    }
    return { oddness: "Verdict", ...(this.#hasNumbers ? NUMBERS : {}) };
  }

  #legend(columns) {
    const usual = this.#rows.find((row) => row.usual)?.usual;
    if (usual) return h("p", { className: "hint" }, `The scale shows how many ordinary pictures (${usual}) are less odd; the mark is the picture’s. 95 % of them are called usual.`);
    if (columns.oddness) return null;
    const command = h("code", {}, "glow score --reference FOLDER --save-reference");
    return h("p", { className: "hint" }, "No verdicts: the model knows no ordinary pictures. Store some: ", command);
  }

  #toggle() {
    const change = () => {
      this.#hasNumbers = !this.#hasNumbers;
      this.#draw();
    };
    const input = h("input", { type: "checkbox", role: "switch", checked: this.#hasNumbers, onchange: change });
    return h("label", { className: "switch" }, input, "All scores");
  }

  #header(column, name) {
    const isSorted = this.#order.column === column;
    const order = !isSorted ? "none" : this.#order.isRising ? "ascending" : "descending";
    const sort = h("button", { "data-column": column, onclick: () => this.#sort(column) }, name);
    return h("th", { role: "columnheader", scope: "col", "aria-sort": order }, sort);
  }

  #row(row, columns) {
    const { picture, note, error } = row;
    const kind = error ? null : className(this.#info, row.label);
    const small = joined(" · ", kind && `taken for ${kind}`, note);
    const text = h("span", { className: "file" }, ...breakable(picture.name), small && h("small", {}, small));
    const named = h("span", { className: "named" }, thumbnail(picture), text);
    const first = h("th", { role: "rowheader", scope: "row" }, named);
    if (error) {
      const colSpan = columns.length;
      const cell = h("td", { role: "cell", className: "error", colSpan, "aria-colspan": colSpan }, error);
      return h("tr", { role: "row" }, first, cell);
    }
    const cells = columns.map((key) => (key === "oddness" ? verdictCell(row) : numberCell(row, key)));
    return h("tr", { role: "row" }, first, ...cells);
  }

  #save() {
    const hasClasses = this.#info.num_classes !== null;
    const keys = ["verdict", "reason", "oddness", ...Object.keys(NUMBERS), ...(hasClasses ? ["label", "class"] : []), "note"];
    const made = {
      note: (row) => row.error ?? row.note,
      class: (row) => this.#info.classes?.[row.label],
    };
    const value = (row, key) => (made[key]?.(row) ?? row[key]) ?? "";
    const lines = this.#rows.map((row) => [row.picture.name, ...keys.map((key) => value(row, key))]);
    const text = [["file", ...keys], ...lines].map((line) => `${line.map(quoted).join(",")}\r\n`).join("");
    download(new Blob([text], { type: "text/csv" }), "scores.csv");
  }

  #clear() {
    this.#rows.forEach((row) => release(row.picture));
    this.#rows = [];
    this.#place.replaceChildren(...this.#empty);
    this.#onclear();
  }
}

function verdictCell({ verdict, reason, oddness }) {
  if (!verdict) return h("td", { role: "cell" });  // scored before the model knew any ordinary pictures
  const isOdd = verdict === "unusual";
  const word = h("strong", { className: isOdd ? "verdict odd" : "verdict" }, icon(isOdd ? "odd" : "check"), isOdd ? "Unusual" : "Usual");
  const why = h("span", { className: "reason" }, reason);
  return h("td", { role: "cell", className: "judged" }, word, " ", why, oddnessScale(oddness));
}

function numberCell(row, key) {
  const number = h("span", { className: "number" }, row[key]?.toFixed(3) ?? "");
  return h("td", { role: "cell", "data-label": NUMBERS[key] }, number, row.percentiles && percentileScale(row.percentiles[key]));
}

/** Return a value as RFC 4180 quotes it. */
function quoted(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
