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
    strength: model.strength[e], signed: model.signed[e], ...(model.stderr ? { stderr: model.stderr[e] } : {}),
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
  const heads = ["section", "source", "target", "strength", "signed", ...(app.model.stderr ? ["stderr"] : [])];
  const rows = drawnEdges(app).map((edge) => heads.map((head) => edge[head]));
  return [heads, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

const PROMPT = ["Average", " over", " the", " data"]; // stands where attribution graphs have the prompt

/** What is drawn as the JSON of attribution graphs; the same as `InteractionGraph.to_attribution_json` of these edges. */
function attributionOf(app) {
  const { model, shown } = app;
  const drawn = Array.from({ length: model.n }, (_, v) => v).filter((v) => shown.node[v]);
  const id = (v) => `${model.site[v]}_${model.index[v]}_${PROMPT.length - 1}`;
  const groups = app.notes.modules.map((name) => [name, ...app.notes.members(name).filter((v) => shown.node[v]).map(id)]);
  const supernodes = groups.filter((group) => group.length > 1);
  return JSON.stringify({
    metadata: {
      slug: "libasis-view", scan: "libasis", transcoder_list: [], prompt_tokens: PROMPT, prompt: PROMPT.join(""), node_threshold: 1.0,
      schema_version: 1,
      info: {
        description: `The part that is drawn of an interaction graph of libasis (${model.plain.method}), an average over data and ` +
          `not of one prompt. Layers are the sites ${model.sites.map(({ name }) => name).join(", ")}. A link's weight is the root ` +
          "mean square effect with the sign of the mean effect. p of an output is its share of the outputs' importance and no " +
          "probability; influence is the cumulative share of importance at a site.",
        generator: { name: "libasis", version: DATA.version },
      },
      generation_settings: { basis: model.plain.method },
    },
    qParams: { pinnedIds: supernodes.flatMap(([, ...members]) => members), supernodes, linkType: "both", clickedId: "", sg_pos: "" },
    nodes: drawn.map((v) => attributionNode(app, v, id(v))),
    links: Array.from({ length: model.m }, (_, e) => e).filter((e) => shown.edge[e]).map((e) => ({
      source: id(model.source[e]), target: id(model.target[e]), weight: Math.sqrt(model.strength[e]) * (model.signed[e] < 0 ? -1 : 1),
    })),
  });
}

function attributionNode({ model, notes }, v, id) {
  const [layer, index] = [model.site[v], model.index[v]];
  const output = layer === model.sites.length - 1;
  const total = model.sites[layer].importance || 1;
  const share = model.importance[v] / total;
  let above = 0;
  for (let u = model.firstNode[layer]; u < model.firstNode[layer + 1]; u++) {
    if (model.importance[u] > model.importance[v] || (model.importance[u] === model.importance[v] && u <= v)) above += model.importance[u] / total;
  }
  // viewers may take text for HTML, or cut it at a quote
  const plain = { "<": "‹", ">": "›", '"': "”", "&": "+" };
  const name = notes.labelOf(v).replace(/[<>"&]/g, (character) => plain[character]) || model.id(v);
  return {
    node_id: id, feature: output ? index : ((layer + index) * (layer + index + 1)) / 2 + index, layer: String(layer),
    ctx_idx: PROMPT.length - 1, feature_type: output ? "logit" : "cross layer transcoder", token_prob: output ? share : 0,
    is_target_logit: false, run_idx: 0, reverse_ctx_idx: 0, jsNodeId: output ? `L_${index}-0` : `${layer}_${index}-0`,
    clerp: output ? `Output "${name}" (p=${share.toFixed(3)})` : name, influence: output ? null : Math.min(above, 1), activation: null,
  };
}

/** The menu of files. */
function exportMenu(app) {
  const menu = el("details", { class: "menu" });
  const kinds = {
    svg: () => save(app.fileName("svg"), svgOf(app.stage.scene, app.stage.resting()), "image/svg+xml"),
    png: async () => save(app.fileName("png"), await pngOf(app.stage.scene, app.stage.resting()), "image/png"),
    json: () => save(app.fileName("json"), jsonOf(app), "application/json"),
    csv: () => save(app.fileName("csv"), csvOf(app), "text/csv"),
    attribution: () => save(app.fileName("attribution.json"), attributionOf(app), "application/json"),
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
