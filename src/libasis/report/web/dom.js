// Building the page's elements. Whatever comes from a user or a model becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (on… are listeners) and children (text or elements; null and false are skipped). */
function el(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Put new children in the place of the old ones; the focus stays on the control with the same data-key. */
function fill(node, ...children) {
  const active = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  if (active !== undefined) node.querySelector(`[data-key="${CSS.escape(active)}"]`)?.focus({ preventScroll: true });
  return node;
}

function button(text, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, text);
}

/** Text in its own direction, so that a label written from right to left does not turn its neighbours around. */
function isolated(text) {
  return `\u2068${text}\u2069`;
}

/** At most so many characters, the rest as an ellipsis; whole characters, not halves of pairs. */
function shortened(text, most) {
  const letters = Array.from(text);
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join("")}…`;
}

/** Runs a function once in the next frame, however often it is asked for. */
function once(run) {
  let waiting = 0;
  return () => {
    if (!waiting) {
      waiting = requestAnimationFrame(() => {
        waiting = 0;
        run();
      });
    }
  };
}

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
