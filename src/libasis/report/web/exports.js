// Files of the view as it is: pictures by the routine that draws the screen, data of what is drawn.

/** Hand a file to the reader. */
function save(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The view as an SVG document. */
function svgOf(scene, lit) {
  const { width, height } = scene.size;
  const root = el("svg:svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` });
  root.append(el("svg:title", {}, document.title));
  paintAll(new SvgSurface(root), scene, lit);
  for (const node of root.querySelectorAll("[tabindex], [role]")) {
    for (const name of ["tabindex", "role", "aria-label", "aria-pressed", "class"]) node.removeAttribute(name);
  }
  return new XMLSerializer().serializeToString(root);
}

/** The view as a PNG of so many pixels for each of the screen's. */
function pngOf(scene, lit, ratio = 2) {
  const canvas = el("canvas");
  paintAll(new CanvasSurface(canvas, scene.size, ratio), scene, lit);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function drawnNodes({ model, notes, shown }) {
  return Array.from({ length: model.n }, (_, v) => v).filter((v) => shown.node[v]).map((v) => ({
    id: model.id(v), site: model.sites[model.site[v]].name, column: model.site[v], index: model.index[v],
    importance: model.importance[v], label: notes.labelOf(v), note: notes.noteOf(v), module: notes.moduleOf(v),
  }));
}

function drawnEdges({ model, shown }) {
  return Array.from({ length: model.m }, (_, e) => e).filter((e) => shown.edge[e]).map((e) => ({
    section: model.section[e], source: model.id(model.source[e]), target: model.id(model.target[e]),
    strength: model.strength[e], signed: model.signed[e],
  }));
}

/** The shape of `InteractionGraph.to_json`, of what is drawn alone, with what decided that. */
function jsonOf(app) {
  const { model, shown } = app;
  return JSON.stringify({
    format: "libasis-graph-json",
    method: model.plain.method,
    sites: model.sites.map(({ name }) => name),
    nodes: drawnNodes(app),
    edges: drawnEdges(app),
    info: { view: { ...state }, edges_total: model.edgesTotal, features_total: model.featuresTotal, hidden: shown.hidden, digits: 5 },
  }, null, 1);
}

function csvOf(app) {
  const cell = (value) => (/[",\n\r]/.test(String(value)) ? `"${String(value).replace(/"/g, '""')}"` : String(value));
  const rows = drawnEdges(app).map((edge) => [edge.section, edge.source, edge.target, edge.strength, edge.signed]);
  return [["section", "source", "target", "strength", "signed"], ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** The menu of files. */
function exportMenu(app) {
  const menu = el("details", { class: "menu" });
  const kinds = {
    svg: () => save(app.fileName("svg"), svgOf(app.stage.scene, app.stage.resting()), "image/svg+xml"),
    png: async () => save(app.fileName("png"), await pngOf(app.stage.scene, app.stage.resting()), "image/png"),
    json: () => save(app.fileName("json"), jsonOf(app), "application/json"),
    csv: () => save(app.fileName("csv"), csvOf(app), "text/csv"),
  };
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  return {
    root: menu,
    relabel() {
      fill(menu, el("summary", { class: "button" }, t("export")), el("ul", {}, Object.entries(kinds).map(([kind, run]) =>
        el("li", {}, button(t(`export_${kind}`), () => {
          menu.open = false;
          run();
        }, { id: `export-${kind}` })))));
    },
  };
}
