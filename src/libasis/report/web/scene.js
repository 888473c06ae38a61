// Everything that one picture shows: what is drawn, where, and how it is called.

class Scene {
  constructor(model, notes, shown, size) {
    this.model = model;
    this.notes = notes;
    this.shown = shown;
    this.size = size;
    this.placed = arrange(model, state, shown, notes, roomOf(size));
    this.fit = fitting(this.placed, size);
    this.view = state.zoom > 0 ? this.#viewOf(state) : this.fit;
    this.names = headsIn(model.sites.map(({ name }) => name), this.placed.gap * this.view.zoom, 2 * this.placed.side);
    this.byKey = new Map(this.placed.items.map((item) => [item.key, item]));
    this.byFeature = new Map(this.placed.items.flatMap((item) => item.members.map((v) => [v, item])));
    this.linksOf = new Map(this.placed.items.map((item) => [item, []]));
    for (const link of this.placed.links) {
      this.linksOf.get(link.a).push(link);
      if (link.a !== link.b) this.linksOf.get(link.b).push(link);
    }
  }

  /** The state says how often the fitting zoom and what part of the picture is in the middle of the stage. */
  #viewOf({ zoom, x, y }) {
    const scale = zoom * this.fit.zoom;
    return {
      zoom: scale,
      x: this.size.width / 2 - x * this.placed.width * scale,
      y: this.size.height / 2 - y * this.placed.height * scale,
    };
  }

  /** The other way round: the part of the state that a view is. */
  stateOf({ zoom, x, y }) {
    return {
      zoom: zoom / this.fit.zoom,
      x: (this.size.width / 2 - x) / zoom / this.placed.width,
      y: (this.size.height / 2 - y) / zoom / this.placed.height,
    };
  }

  /** The item that stands for a feature, or undefined where it is not drawn. */
  itemOf(id) {
    return this.byFeature.get(this.model.find(id));
  }

  /** What is lit with an item: its links and their other ends. */
  around(item) {
    const links = this.linksOf.get(item);
    const items = new Set([item, ...links.flatMap((link) => [link.a, link.b])]);
    return { links, items, near: items.size <= 60 ? items : new Set([item]) };
  }

  along(link) {
    const items = new Set([link.a, link.b]);
    return { links: [link], items, near: items };
  }

  rings(item) {
    return {
      selected: item.members.some((v) => this.model.id(v) === state.selected),
      pinned: item.members.some((v) => state.pinned.includes(this.model.id(v))),
    };
  }

  named(item) {
    return item.group || this.notes.labelOf(item.v) !== "";
  }

  label(item) {
    if (item.group) return item.module;
    const label = this.notes.labelOf(item.v);
    const number = `${this.model.index[item.v]}${this.model.mark(item.v)}`;
    return label ? `${number} · ${label}` : number;
  }

  /** What a screen reader says of an item, and how a test finds it. */
  describe(item) {
    return {
      class: "node", "data-key": item.key, role: "button", tabindex: -1, "aria-label": this.title(item),
      "aria-pressed": this.rings(item).selected ? "true" : "false",
    };
  }

  title(item) {
    const into = this.linksOf.get(item).filter((link) => link.b === item).length;
    const out = this.linksOf.get(item).length - into;
    if (item.group) return t("node_group", { name: item.module, count: whole(item.members.length), into: whole(into), out: whole(out) });
    const site = this.model.sites[item.column];
    const value = this.model.importance[item.v];
    return t("node_title", {
      id: `${this.model.id(item.v)}${this.model.mark(item.v)}`, label: this.notes.labelOf(item.v) ? `“${this.notes.labelOf(item.v)}”` : "",
      importance: quantity(value), share: percent(site.importance > 0 ? value / site.importance : 0),
      into: whole(into), out: whole(out),
    });
  }

  linkTitle(link) {
    const end = (item) => (item.group ? item.module : this.model.id(item.v));
    return t(link.signed < 0 ? "edge_negative" : "edge_positive", {
      a: isolated(end(link.a)), b: isolated(end(link.b)), strength: link.edges.length === 1 ? this.model.amount(link.edges[0]) : quantity(link.strength), fraction: percent(link.fraction),
      mean: quantity(link.signed),
    });
  }

  /** The heads of the columns and the counts of edges between them, without words where there is no room. */
  heads(narrow) {
    const count = (key, shown, total) => (narrow ? `${whole(shown)} / ${whole(total)}` : t(key, { shown: whole(shown), total: whole(total) }));
    return this.model.sites.map((site, c) => {
      const drawn = this.placed.columns[c].reduce((sum, item) => sum + item.members.length, 0);
      const section = this.model.sections[c];
      return {
        count: count("head_features", drawn, site.k),
        below: section && count("foot_edges", this.edgesOf(c), section.total),
      };
    });
  }

  edgesOf(section) {
    let count = 0;
    for (let e = 0; e < this.model.m; e++) if (this.shown.edge[e] && this.model.section[e] === section) count++;
    return count;
  }
}
