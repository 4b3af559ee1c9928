// The tabs pattern of the ARIA practices: arrow keys move, one tab is in the Tab order, and the address keeps which.

import { goTo, readAddress } from "./address.js";

let showOfAddress = () => {};

/** Make the tabs of a tab list work; onshow is called with the name of each tab that comes into sight. */
export function startTabs(list, onshow) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  let shown = null;

  function show(chosen) {
    for (const tab of tabs) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !isChosen;
    }
    if (chosen !== shown) onshow(nameOf(chosen));
    shown = chosen;
  }

  const ofAddress = () => tabs.find((tab) => nameOf(tab) === readAddress().tab) ?? tabs[0];

  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) openTab(nameOf(tab));
  });
  list.addEventListener("keydown", (event) => {
    const here = tabs.indexOf(document.activeElement);
    const there = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: -1 }[event.key];
    if (here < 0 || there === undefined) return;
    event.preventDefault();
    const tab = tabs.at(there % tabs.length);
    tab.focus();
    openTab(nameOf(tab));
  });
  showOfAddress = () => show(ofAddress());
  window.addEventListener("hashchange", showOfAddress);
  showOfAddress();
}

const nameOf = (tab) => tab.id.replace("tab-", "");

/** Show a tab: "sample", "interpolate", "edit", "restore" or "score". */
export function openTab(name) {
  if (readAddress().tab !== name) goTo(name);
  showOfAddress();  // the event comes later, and the next key may come before it
}
