// The tabs, as in the ARIA Authoring Practices, and the address, which contains the tab and its settings:
// "#sample?seed=3&temperature=0.7" is a link to what is shown.

const ADDRESS_DELAY_MS = 250;  // browsers limit how often the address may change
const kept = {};  // the settings of each tab, as a query
const written = {};  // the settings of each tab that the address had last
const timers = {};  // by tab, because a hidden tab may still be working
let showOfAddress = () => {};

/** Return the tab and the settings in the address. */
export function readAddress() {
  const [tab, query = ""] = location.hash.slice(1).split("?");
  return { tab, query, settings: new URLSearchParams(query) };
}

/** Keep the settings of a tab, except null and undefined, and write them to the address if it names this tab. */
export function keepSettings(tab, settings) {
  kept[tab] = new URLSearchParams(Object.entries(settings).filter(([, value]) => value != null)).toString();
  clearTimeout(timers[tab]);
  const { hash } = location;
  timers[tab] = setTimeout(() => {
    const shown = readAddress();
    if (location.hash !== hash) return;  // another link, which is followed next
    if (shown.tab === tab || location.hash === "") history.replaceState(null, "", addressOf(shown.tab || tab));
  }, ADDRESS_DELAY_MS);
}

/** Return whether the address has settings that this page did not write: a link was followed. */
export function isNewLink() {
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

/** Start the tabs of a tab list; onshow is called with the name of each tab that is shown. */
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

/** Show a tab: "sample", "interpolate", "edit", "restore" or "score"; the Back button returns to the previous one. */
export function openTab(name) {
  if (readAddress().tab !== name) location.hash = addressOf(name);
  showOfAddress();  // the event may come after the next key
}
