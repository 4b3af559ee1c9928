// A scale of percentages among ordinary pictures, with a mark where a picture is.

import { h } from "./dom.js";

const USUAL = 95;  // percent of ordinary pictures, which are called usual

/** Return the scale of oddness: usual up to the limit, unusual beyond, which takes more room than its share. */
export function oddnessScale(percent) {
  const place = percent <= USUAL ? (percent / USUAL) * 70 : 70 + ((percent - USUAL) / (100 - USUAL)) * 30;
  const scale = marked(place, percent > USUAL ? "scale odd" : "scale");
  return h("span", { className: "oddness" }, scale, h("span", {}, `odder than ${percentText(percent)}`));
}

/** Return a small scale of one score, from below all ordinary pictures to above them. */
export function percentileScale(percent) {
  return marked(percent, "scale plain");
}

/** Return a percentage as text, with a decimal above the limit, which 95.3 would otherwise seem to meet. */
export function percentText(percent) {
  return percent >= 100 ? "all" : `${percent > USUAL ? percent.toFixed(1) : Math.round(percent)} %`;
}

function marked(place, className) {
  const mark = h("span", { className: "mark" });
  mark.style.left = `${place}%`;
  return h("span", { className, "aria-hidden": "true" }, mark);
}
