// The one routine that draws the graph. Screen, SVG file and PNG file differ in the surface alone.

const INK = "#1d1b26";
const GREY = "#5a5666";
const PAPER = "#ffffff";
const ACCENT = "#5d3a9b";
const NODE = "#3b3650";
const POSITIVE = "#1a6fd6";
const NEGATIVE = "#d41159";
const DASH = [6, 4];
const HEAD = 50; // height of the band with the sites' names
const FOOT = 26; // height of the band with the counts of edges
const HEAD_LEAST = 36; // columns nearer to each other are not all named
const HEAD_ROOM = 100; // room for a name where not all are
const WIDTHS = 6; // widths of edges; equal ones are drawn in one stroke
const DIMMED = 0.16; // opacity of the other edges while some are lit
const FADED = 0.28; // and of the other features

/** Colour and shape of the modules: neighbours differ in both, so that colour is never needed. */
const MODULE_LOOKS = [
  ["#0072b2", "square"], ["#e69f00", "diamond"], ["#009e73", "triangle"], ["#cc79a7", "hexagon"],
  ["#56b4e9", "wedge"], ["#d55e00", "bar"], ["#7a6a00", "star"], ["#5b4fc4", "plus"],
];

function moduleLook(number) {
  const [color] = MODULE_LOOKS[number % 8];
  const [, shape] = MODULE_LOOKS[(number + Math.floor(number / 8)) % 8];
  return { color, shape };
}

const CORNERS = {
  square: [[-1, -1], [1, -1], [1, 1], [-1, 1]],
  diamond: [[0, -1.35], [1.35, 0], [0, 1.35], [-1.35, 0]],
  triangle: [[0, -1.35], [1.25, 0.9], [-1.25, 0.9]],
  wedge: [[0, 1.35], [1.25, -0.9], [-1.25, -0.9]],
  hexagon: [[-0.6, -1.1], [0.6, -1.1], [1.25, 0], [0.6, 1.1], [-0.6, 1.1], [-1.25, 0]],
  bar: [[-1.5, -0.7], [1.5, -0.7], [1.5, 0.7], [-1.5, 0.7]],
  star: [[0, -1.6], [0.45, -0.5], [1.5, -0.5], [0.7, 0.25], [1, 1.35], [0, 0.7], [-1, 1.35], [-0.7, 0.25], [-1.5, -0.5], [-0.45, -0.5]],
  plus: [[-0.5, -1.4], [0.5, -1.4], [0.5, -0.5], [1.4, -0.5], [1.4, 0.5], [0.5, 0.5], [0.5, 1.4], [-0.5, 1.4], [-0.5, 0.5], [-1.4, 0.5], [-1.4, -0.5], [-0.5, -0.5]],
};

/** The corners of a shape around a point, or a circle. */
function outline(shape, x, y, radius) {
  return shape ? { points: CORNERS[shape].map(([dx, dy]) => [x + dx * radius * 0.9, y + dy * radius * 0.9]) } : { x, y, radius };
}

function radiusOf(item, zoom) {
  const scale = Math.min(1.5, Math.max(0.6, Math.sqrt(zoom)));
  const radius = (2.2 + 4.6 * item.relative ** 0.25 + (item.group ? 3 : 0)) * scale;
  return Math.max(1.7, Math.min(radius, 0.46 * item.step * zoom));
}

/** The curve of a link on the stage: start, two handles, end. */
function curveOf(link, view) {
  const x1 = link.a.x * view.zoom + view.x + radiusOf(link.a, view.zoom);
  const x2 = link.b.x * view.zoom + view.x - radiusOf(link.b, view.zoom);
  const y1 = link.a.y * view.zoom + view.y;
  const y2 = link.b.y * view.zoom + view.y;
  const bend = (x2 - x1) * 0.42;
  return [x1, y1, x1 + bend, y1, x2 - bend, y2, x2, y2];
}

/** Draw links: one stroke for each sign and width, the weakest first. */
function paintLinks(surface, links, view, size) {
  const batches = new Map();
  for (const link of links) {
    const curve = curveOf(link, view);
    if (curve[6] < 0 || curve[0] > size.width || Math.max(curve[1], curve[7]) < 0 || Math.min(curve[1], curve[7]) > size.height) {
      continue;
    }
    const width = Math.min(WIDTHS - 1, Math.floor(Math.sqrt(link.fraction) * WIDTHS));
    const key = 2 * width + (link.signed < 0 ? 1 : 0);
    if (!batches.has(key)) batches.set(key, []);
    batches.get(key).push(...curve);
  }
  const crowd = links.length > 1500 ? 0.6 : 1;
  for (const key of [...batches.keys()].sort((p, q) => p - q)) {
    const strong = (Math.floor(key / 2) + 0.5) / WIDTHS;
    const negative = key % 2 === 1;
    surface.curves(batches.get(key), {
      color: negative ? NEGATIVE : POSITIVE,
      width: Math.round((0.7 + 3.4 * strong) * 100) / 100,
      opacity: Math.round((0.35 + 0.5 * strong) * crowd * 100) / 100,
      dash: negative ? DASH : null,
    });
  }
}

/** Draw the features; those not in `lit`, where there is one, are dimmed. */
function paintNodes(surface, scene, lit) {
  for (const item of scene.placed.items) {
    const x = item.x * scene.view.zoom + scene.view.x;
    const y = item.y * scene.view.zoom + scene.view.y;
    if (x < -200 || x > scene.size.width + 200 || y < HEAD - 30 || y > scene.size.height + 30) continue;
    surface.thing(scene.describe(item), lit && !lit.items.has(item) ? FADED : 1, (inner) => {
      paintNode(inner, item, { x, y }, scene);
      if (showsLabel(item, scene, lit)) paintLabel(inner, item, { x, y }, scene);
    });
  }
}

function paintNode(surface, item, { x, y }, scene) {
  const radius = radiusOf(item, scene.view.zoom);
  const number = scene.notes.modules.indexOf(item.module);
  const { color, shape } = number < 0 ? { color: NODE, shape: null } : moduleLook(number);
  const ring = scene.rings(item);
  if (ring.selected) surface.shape({ x, y, radius: radius + 5 }, { stroke: ACCENT, width: 2.5 });
  if (ring.pinned) surface.shape({ x, y, radius: radius + 2.6 }, { stroke: INK, width: 1.2 });
  surface.shape(outline(shape, x, y, radius), { fill: item.linked ? color : PAPER, stroke: color, width: 1.1 });
  if (item.group) {
    surface.text(x, y + 3.2, String(item.members.length), { size: 9, color: PAPER, anchor: "middle", weight: 700 });
  }
}

/** A label is drawn where it has room, and always where the reader is looking. */
function showsLabel(item, scene, lit) {
  const ring = scene.rings(item);
  const gap = scene.placed.gap * scene.view.zoom;
  const room = !gap || gap >= Math.min(60, 2 * radiusOf(item, scene.view.zoom) + 9 + 6.5 * scene.label(item).length);
  return (room && item.step * scene.view.zoom >= 10.5) || ring.selected || ring.pinned || (lit?.near.has(item) ?? false);
}

function paintLabel(surface, item, { x, y }, scene) {
  const radius = radiusOf(item, scene.view.zoom);
  const left = item.column === 0 && scene.placed.columns.length > 1;
  const named = scene.named(item);
  surface.text(x + (left ? -radius - 6 : radius + 6), y + 3.8, isolated(shortened(scene.label(item), 26)), {
    size: 11, color: named ? INK : GREY, anchor: left ? "end" : "start", halo: PAPER, weight: named ? 600 : 400,
  });
}

/** The names of the sites above and the counts of edges below; they stay in sight. */
function paintBands(surface, scene) {
  const { placed, view, size } = scene;
  const band = (y, height) => surface.shape(
    { points: [[0, y], [size.width, y], [size.width, y + height], [0, y + height]] }, { fill: PAPER, opacity: 0.94 });
  band(0, HEAD - 6);
  band(size.height - FOOT, FOOT);
  const gap = placed.gap * view.zoom;
  const { every, heads } = scene.names;
  const fits = (text) => !gap || text.length * 6 < gap;
  scene.heads(gap && gap < 120).forEach(({ count, below }, c) => {
    const x = (placed.left + c * placed.gap) * view.zoom + view.x;
    if (x > -100 && x < size.width + 100) {
      if (c % every === 0) {
        const look = { size: 12, color: INK, anchor: every > 1 ? "start" : "middle", weight: 600 };
        surface.text(every > 1 ? x - 4 : x, 18, isolated(heads[c]), look);
        if (every > 1) surface.shape({ points: [[x, 24], [x, 38]] }, { stroke: GREY, width: 1 });
      }
      if (fits(count)) surface.text(x, 34, count, { size: 10.5, color: GREY, anchor: "middle" });
    }
    if (below && fits(below)) surface.text(x + gap / 2, size.height - 9, below, { size: 11, color: GREY, anchor: "middle" });
  });
}

/** The names above columns, cut to the room between these; all of them, or where they would not differ one of so many. */
function headsIn(names, gap, side) {
  const cut = (room) => {
    const letters = Math.max(3, Math.floor((room - 6) / 7.6));
    const shared = sharedStart(names.filter((name) => name.length > letters));
    return names.map((name) => headOf(name, letters, shared));
  };
  const heads = cut(Math.min(gap || 400, side));
  if (!gap || (gap >= HEAD_LEAST && new Set(heads).size === names.length)) return { every: 1, heads };
  const every = Math.ceil(HEAD_ROOM / gap);
  return { every, heads: cut(every * gap) };
}

/** The longest beginning, up to a dot or colon, that all names have in common, or of many all but a few. */
function sharedStart(names) {
  if (names.length < 2) return "";
  const one = names[Math.floor(names.length / 2)];
  const most = names.length - Math.floor(names.length / 8);
  const ends = Array.from(one.matchAll(/[.:]/g), (found) => found.index + 1).reverse();
  const starts = ends.map((end) => one.slice(0, end));
  return starts.find((start) => names.filter((name) => name.startsWith(start)).length >= most) ?? "";
}

/** A name that is too long loses first what it shares with the other long ones, then its middle. */
function headOf(name, most, shared) {
  if (Array.from(name).length <= most || !shared || !name.startsWith(shared)) return middle(name, most);
  return shortened(`…${name.slice(shared.length)}`, most);
}

/** A name cut in its middle: its end tells as much as its beginning. */
function middle(text, most) {
  const letters = Array.from(text);
  if (letters.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return `${letters.slice(0, head).join("")}…${letters.slice(letters.length - (most - 1 - head)).join("")}`;
}

/** Everything, on one surface: what the layers of the stage show together. */
function paintAll(surface, scene, lit) {
  const { width, height } = scene.size;
  surface.shape({ points: [[0, 0], [width, 0], [width, height], [0, height]] }, { fill: PAPER });
  const all = (inner) => paintLinks(inner, scene.placed.links, scene.view, scene.size);
  if (lit) {
    surface.layer(DIMMED, all);
    paintLinks(surface, lit.links, scene.view, scene.size);
  } else {
    all(surface);
  }
  paintNodes(surface, scene, lit);
  paintBands(surface, scene);
}
