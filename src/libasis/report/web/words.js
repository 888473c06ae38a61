// The words of both languages, and numbers for people.

const DATA = JSON.parse(document.getElementById("view-data").textContent);

/** The language shown. */
function lang() {
  return document.documentElement.lang === "ja" ? "ja" : "en";
}

/** A text of the current language, its {blanks} filled. */
function t(key, blanks = {}) {
  return DATA.words[lang()][key].replace(/\{(\w+)\}/g, (_, name) => blanks[name]);
}

/** The word for a method, metric or other thing of a kind; what has none keeps its own name. */
function named(kind, name) {
  return DATA.words[lang()][`${kind}_${name}`] ?? name;
}

function whole(number) {
  return number.toLocaleString("en-US");
}

/** A number with four digits that count, in plain notation where that is readable. */
function quantity(value) {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.floor(Math.log10(Math.abs(value)));
  if (size < -4 || size >= 7) return value.toExponential(3).replace("e-", "e−").replace("e+", "e").replace(/^-/, "−");
  const digits = Math.max(0, 3 - size);
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace(/^-/, "−");
}

/** A share as a percentage that never rounds to a false 0 or 100. */
function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1%";
  if (share < 1 && share >= 0.9995) return "> 99.9%";
  return share === 0 || share === 1 ? `${share * 100}%` : `${(share * 100).toFixed(1)}%`;
}
