// What is drawn, as tables: for screen readers, for copying, and for those who prefer numbers.

const PAGE = 100; // rows of a page

function tableView(app) {
  const body = el("div", { class: "tables" });
  const root = el("details", { class: "as-table", ontoggle: () => build() }, el("summary"), body);
  const page = { nodes: 0, edges: 0 };

  function build() {
    root.querySelector("summary").textContent = t("as_table");
    if (!root.open) {
      body.replaceChildren();
      return;
    }
    const { model, notes, shown } = app;
    const nodes = Array.from({ length: model.n }, (_, v) => v).filter((v) => shown.node[v]);
    const edges = Array.from({ length: model.m }, (_, e) => e).filter((e) => shown.edge[e]);
    const walk = (v) => button("", () => select(model.id(v)), { class: "link" });
    const step = (v) => {
      const node = walk(v);
      node.append(el("bdi", {}, model.id(v)));
      return node;
    };
    fill(
      body,
      paged("nodes", nodes, ["feature", "label", "module", "importance"], (v) =>
        [[step(v), model.mark(v)], el("bdi", {}, notes.labelOf(v)), el("bdi", {}, notes.moduleOf(v) ?? ""), quantity(model.importance[v])]),
      paged("edges", edges, ["from", "to", "strength", "mean"], (e) =>
        [step(model.source[e]), step(model.target[e]), quantity(model.strength[e]), quantity(model.signed[e])]),
    );
  }

  function paged(kind, rows, heads, cells) {
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    page[kind] = Math.min(page[kind], pages - 1);
    const first = page[kind] * PAGE;
    const turn = (by) => () => {
      page[kind] += by;
      build();
    };
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t(`table_${kind}`) },
      el("table", {}, el("caption", {}, t(`table_${kind}`), " ", el("span", { class: "hint" }, t("rows", {
        first: whole(Math.min(first + 1, rows.length)), last: whole(Math.min(first + PAGE, rows.length)), count: whole(rows.length),
      }))),
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, t(`head_${head}`))))),
      el("tbody", {}, rows.slice(first, first + PAGE).map((row) => el("tr", {}, cells(row).map((cell, k) =>
        (k === 0 ? el("th", { scope: "row" }, cell) : el("td", {}, cell))))))),
      pages > 1 && el("div", { class: "row" },
        button(t("earlier"), turn(-1), { class: "small", disabled: page[kind] === 0, "data-key": `earlier-${kind}` }),
        button(t("later"), turn(1), { class: "small", disabled: page[kind] === pages - 1, "data-key": `later-${kind}` })));
  }

  return { root, build };
}
