// The address keeps the tab and its settings: "#sample?seed=3&temperature=0.7" is a link to what is seen.

const SETTLE_MS = 250;  // browsers allow few changes of an address a second
const kept = {};  // the settings of each tab, as a query
const written = {};  // the same as they stand, or stood last, in the address
const timers = {};  // by tab, for one may work while another is seen

/** Return the tab and the settings that the address names. */
export function readAddress() {
  const [tab, query = ""] = location.hash.slice(1).split("?");
  return { tab, query, settings: new URLSearchParams(query) };
}

/** Keep the settings of a tab, those that are not null; the address shows them where it shows the tab. */
export function keepSettings(tab, settings) {
  kept[tab] = new URLSearchParams(Object.entries(settings).filter(([, value]) => value !== null)).toString();
  clearTimeout(timers[tab]);
  const { hash } = location;
  timers[tab] = setTimeout(() => {
    const shown = readAddress();
    if (location.hash !== hash) return;  // another link, which is followed next
    if (shown.tab === tab || location.hash === "") history.replaceState(null, "", addressOf(shown.tab || tab));
  }, SETTLE_MS);
}

/** Go to a tab, so that the way back leads here. */
export function goTo(tab) {
  location.hash = addressOf(tab);
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
