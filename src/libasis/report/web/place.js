// Where everything drawn stands: sites are columns, the features of a column stand under one another.

const SIDE = 118; // room on both sides for labels
const GAP = 118; // least distance of two columns
const EDGE = 36; // that room at least, as it is seen, where there are very many columns
const ROW = 46; // greatest distance of two features

/**
 * What is drawn, with its place: items (features, or collapsed modules) and links between them.
 *
 * The picture has the shape of its room, so that all of it fits without waste; where there are more columns than fit
 * side by side, it is as much larger than the room.
 */
function arrange(model, choice, shown, notes, room) {
  const items = itemsOf(model, choice, shown, notes);
  const columns = model.sites.map(() => []);
  for (const item of items) columns[item.column].push(item);
  for (const column of columns) column.sort(comparison(choice, notes, model));
  const across = (columns.length - 1) * GAP;
  let side = Math.min(SIDE, room.width / 5);
  let scale = Math.max(1, (2 * side + across) / room.width);
  if (side / scale < EDGE) {
    scale = across / (room.width - 2 * EDGE);
    side = EDGE * scale;
  }
  const [width, height] = [room.width * scale, room.height * scale];
  const gap = columns.length > 1 ? (width - 2 * side) / (columns.length - 1) : 0;
  const left = columns.length > 1 ? side : width / 2;
  columns.forEach((column, c) => {
    const step = Math.min(ROW * scale, height / Math.max(1, column.length));
    column.forEach((item, k) => {
      item.x = left + c * gap;
      item.y = height / 2 + (k - (column.length - 1) / 2) * step;
      item.step = step;
    });
  });
  return { items, links: linksOf(model, shown, items), columns, width, height, gap, left, side };
}

/** One item for each feature drawn; the features of a collapsed module share one for each site. */
function itemsOf(model, choice, shown, notes) {
  const items = [];
  const groups = new Map();
  for (let v = 0; v < model.n; v++) {
    if (!shown.node[v]) continue;
    const module = notes.moduleOf(v);
    const key = module !== null && choice.collapsed.includes(module) ? `${model.site[v]} ${module}` : null;
    if (key !== null && groups.has(key)) {
      groups.get(key).members.push(v);
      continue;
    }
    const item = { key: key ?? model.id(v), group: key !== null, module, column: model.site[v], members: [v] };
    if (key !== null) groups.set(key, item);
    items.push(item);
  }
  for (const item of items) {
    const of = (values) => item.members.map((v) => values[v]);
    item.v = item.members[0];
    item.relative = Math.min(1, of(model.relative).reduce((a, b) => a + b, 0));
    item.place = of(model.place).reduce((a, b) => a + b, 0) / item.members.length;
    item.linked = item.members.some((v) => shown.linked[v]);
  }
  return items;
}

function comparison(choice, notes, model) {
  const place = (a, b) => a.place - b.place;
  const module = (item) => (item.module === null ? Infinity : notes.modules.indexOf(item.module));
  return {
    crossings: place,
    importance: (a, b) => b.relative - a.relative || place(a, b),
    index: (a, b) => model.index[a.v] - model.index[b.v],
    module: (a, b) => (module(a) === module(b) ? place(a, b) : module(a) - module(b)),
  }[choice.order];
}

/** The links between items; edges between the same two items are added up. */
function linksOf(model, shown, items) {
  const owner = new Array(model.n);
  items.forEach((item) => item.members.forEach((v) => (owner[v] = item)));
  const links = [];
  const sums = new Map();
  for (let e = 0; e < model.m; e++) {
    if (!shown.edge[e]) continue;
    const [a, b] = [owner[model.source[e]], owner[model.target[e]]];
    const one = { a, b, section: model.section[e], strength: model.strength[e], signed: model.signed[e], edges: [e] };
    if (!a.group && !b.group) {
      links.push(one);
      continue;
    }
    const key = `${a.key}\n${b.key}`;
    const sum = sums.get(key);
    if (sum) {
      sum.strength += one.strength;
      sum.signed += one.signed;
      sum.edges.push(e);
    } else {
      sums.set(key, one);
      links.push(one);
    }
  }
  for (const link of links) {
    const top = model.sections[link.section].top;
    link.fraction = top > 0 ? Math.min(1, link.strength / top) : 0;
  }
  return links.sort((p, q) => p.fraction - q.fraction);
}

/** The zoom and shift that bring everything into sight, between the heads above and the counts below. */
function fitting(placed, size) {
  return { zoom: size.width / placed.width, x: 0, y: HEAD };
}

/** The room for the picture on a stage. */
function roomOf(size) {
  return { width: size.width, height: Math.max(60, size.height - HEAD - FOOT) };
}
