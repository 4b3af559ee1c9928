// The table of scores: sorted by any column, saved as CSV.

import { breakable, h, icon, reveal } from "./dom.js";
import { className } from "./fields.js";
import { download, release, thumbnail } from "./pictures.js";

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
    this.#place.querySelector(`[data-column=${column}]`).focus();
  }

  #draw() {
    const { column, isRising } = this.#order;
    const rows = [...this.#rows];
    const value = (row) => row[column] ?? -Infinity;  // what could not be scored is last, or first
    if (column) rows.sort((a, b) => (value(a) === value(b) ? 0 : (isRising ? 1 : -1) * (value(a) - value(b))));
    const hasClasses = this.#info.num_classes !== null;
    const names = ["Picture", ...Object.values(NUMBERS), ...(hasClasses ? ["class"] : [])];
    // On a phone the rows are shown as blocks; the roles say to a screen reader that they are a table still.
    const head = h("tr", { role: "row" }, ...names.map((name, place) => this.#header(name, Object.keys(NUMBERS)[place - 1])));
    const body = h("tbody", { role: "rowgroup" }, ...rows.map((row) => this.#row(row, hasClasses)));
    const table = h("table", { role: "table", "aria-label": "Scores" }, h("thead", { role: "rowgroup" }, head), body);
    const save = h("button", { type: "button", onclick: () => this.#save(hasClasses) }, icon("download"), "Download as CSV");
    const clear = h("button", { type: "button", onclick: () => this.#clear() }, "Clear");
    this.#place.replaceChildren(table, h("div", { className: "actions" }, save, clear));
  }

  #header(name, column) {
    if (column === undefined) return h("th", { role: "columnheader", scope: "col" }, name);
    const isSorted = this.#order.column === column;
    const order = !isSorted ? "none" : this.#order.isRising ? "ascending" : "descending";
    const sort = h("button", { type: "button", "data-column": column, onclick: () => this.#sort(column) }, name);
    return h("th", { role: "columnheader", scope: "col", "aria-sort": order }, sort);
  }

  #row(row, hasClasses) {
    const { picture, note, error } = row;
    const text = h("span", { className: "file" }, ...breakable(picture.name), note && h("small", {}, note));
    const named = h("span", { className: "named" }, thumbnail(picture), text);
    const first = h("th", { role: "rowheader", scope: "row" }, named);
    if (error) {
      const colSpan = Object.keys(NUMBERS).length + (hasClasses ? 1 : 0);
      const cell = h("td", { role: "cell", className: "error", colSpan, "aria-colspan": colSpan }, error);
      return h("tr", { role: "row" }, first, cell);
    }
    const cells = Object.entries(NUMBERS).map(([key, name]) =>
      h("td", { role: "cell", "data-label": name, className: "number" }, row[key].toFixed(3)),
    );
    if (hasClasses) cells.push(h("td", { role: "cell", "data-label": "class" }, className(this.#info, row.label) ?? ""));
    return h("tr", { role: "row" }, first, ...cells);
  }

  #save(hasClasses) {
    const keys = [...Object.keys(NUMBERS), ...(hasClasses ? ["label", "class"] : []), "note"];
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

/** Return a value as RFC 4180 quotes it. */
function quoted(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
