// What the reader has chosen. It lives in the address, so that a link shows the same view, and is told to whoever listens.

const DEFAULTS = {
  graph: 0, // number of the graph shown
  show: "", // what decides which edges are drawn: "stable", "required" or "strength"; empty: the best there is
  strength: -1, // least strength over the section's largest; below zero: as suits the graph
  most: 0, // edges into each feature, the strongest; 0: all
  importance: 0, // least importance over the site's largest
  loners: false, // draw features that have no edge drawn
  order: "crossings", // or "importance", "index", "module"
  focus: "all", // or "pinned", "near", "paths"
  hops: 1,
  from: "",
  to: "",
  selected: "",
  pinned: [],
  collapsed: [],
  suggested: false, // colour by the suggested groups
  zoom: 0, // 0: all in sight
  x: 0,
  y: 0,
};

const state = { ...DEFAULTS };
const listeners = [];
let trail = []; // features walked through, for going back

/** Change the state and tell everyone what changed. */
function change(part) {
  const before = { ...state };
  Object.assign(state, part);
  const keys = Object.keys(part).filter((key) => state[key] !== before[key]);
  if (keys.length) {
    for (const listener of listeners) listener(keys);
    rememberAddress();
  }
}

function select(id) {
  if (id === state.selected) return;
  if (state.selected) trail.push(state.selected);
  change({ selected: id });
}

function back() {
  if (trail.length) change({ selected: trail.pop() });
}

function togglePin(id) {
  const pinned = state.pinned.includes(id) ? state.pinned.filter((other) => other !== id) : [...state.pinned, id];
  change({ pinned });
}

/** The state as the part of the address behind "#/": only what differs from the defaults. */
function address() {
  const out = new URLSearchParams();
  if (lang() !== DATA.lang) out.set("lang", lang());
  for (const [key, usual] of Object.entries(DEFAULTS)) {
    const value = state[key];
    if (Array.isArray(usual)) value.forEach((item) => out.append(key, item));
    else if (value !== usual) out.set(key, typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));
  }
  return `#/${out}`;
}

/** The state that an address names; what it does not name, or names wrongly, is as usual. */
function readAddress(text) {
  const found = new URLSearchParams(text.startsWith("#/") ? text.slice(2) : "");
  const out = {};
  for (const [key, usual] of Object.entries(DEFAULTS)) {
    if (Array.isArray(usual)) out[key] = found.getAll(key);
    else if (!found.has(key)) out[key] = usual;
    else if (typeof usual === "boolean") out[key] = found.get(key) === "true";
    else if (typeof usual === "number") out[key] = Number.isFinite(Number(found.get(key))) ? Number(found.get(key)) : usual;
    else out[key] = found.get(key);
  }
  out.graph = Math.min(Math.max(0, Math.trunc(out.graph)), DATA.graphs.length - 1);
  out.hops = Math.min(Math.max(1, Math.trunc(out.hops)), 9);
  out.most = Math.min(Math.max(0, Math.trunc(out.most)), 1e6);
  for (const [key, known] of Object.entries({
    show: ["", "stable", "required", "strength"],
    order: ["crossings", "importance", "index", "module"],
    focus: ["all", "pinned", "near", "paths"],
  })) {
    if (!known.includes(out[key])) out[key] = DEFAULTS[key];
  }
  return { state: out, lang: ["en", "ja"].includes(found.get("lang")) ? found.get("lang") : null };
}

let writing = 0;

/** Write the address a moment after the last change; a page inside another one may not have an address to write. */
function rememberAddress() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    try {
      const text = address();
      if (text !== "#/" || location.hash) history.replaceState(null, "", text);
    } catch {
      // an embedded page: the view is simply not remembered
    }
  }, 150);
}
