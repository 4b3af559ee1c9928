// The tabs, after the pattern of the ARIA practices, and the address, which keeps the tab and its settings:
// "#sample?seed=3&temperature=0.7" is a link to what is seen.

const SETTLE_MS = 250;  // browsers allow few changes of an address a second
const kept = {};  // the settings of each tab, as a query
const written = {};  // the same as they stand, or stood last, in the address
const timers = {};  // by tab, for one may work while another is seen
let showOfAddress = () => {};

/** Return the tab and the settings that the address names. */
export function readAddress() {
  const [tab, query = ""] = location.hash.slice(1).split("?");
  return { tab, query, settings: new URLSearchParams(query) };
}

/** Keep the settings of a tab, but null and undefined; the address shows them where it shows the tab. */
export function keepSettings(tab, settings) {
  kept[tab] = new URLSearchParams(Object.entries(settings).filter(([, value]) => value != null)).toString();
  clearTimeout(timers[tab]);
  const { hash } = location;
  timers[tab] = setTimeout(() => {
    const shown = readAddress();
    if (location.hash !== hash) return;  // another link, which is followed next
    if (shown.tab === tab || location.hash === "") history.replaceState(null, "", addressOf(shown.tab || tab));
  }, SETTLE_MS);
}

/** Return whether the address has come to name other settings of its tab than this page knows: a link was followed. */
export function isForeign() {
  const { tab, query } = readAddress();
  const isKnown = query === "" || query === written[tab];
  written[tab] = query;
  return !isKnown;
}

function addressOf(tab) {
  written[tab] = kept[tab] ?? "";
  return `#${tab}${written[tab] && `?${written[tab]}`}`;
}

const nameOf = (tab) => tab.id.replace("tab-", "");

/** Make the tabs of a tab list work; onshow is called with the name of each tab that comes into sight. */
export function startTabs(list, onshow) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  let shown = null;

  showOfAddress = () => {
    const chosen = tabs.find((tab) => nameOf(tab) === readAddress().tab) ?? tabs[0];
    for (const tab of tabs) {
      tab.ariaSelected = String(tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
    if (chosen !== shown) onshow(nameOf(chosen));
    shown = chosen;
  };

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
  window.addEventListener("hashchange", showOfAddress);
  showOfAddress();
}

/** Show a tab: "sample", "interpolate", "edit", "restore" or "score"; the way back leads to the last one. */
export function openTab(name) {
  if (readAddress().tab !== name) location.hash = addressOf(name);
  showOfAddress();  // the event comes later, and the next key may come before it
}
