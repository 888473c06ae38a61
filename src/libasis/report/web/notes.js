// Labels, notes and modules that people give to features. They start from the file and what this browser remembers.

class Notes {
  constructor(model) {
    this.model = model;
    this.labels = new Map(); // id -> {label, note}
    this.given = new Map(); // id -> module
    this.read({ labels: model.plain.labels, modules: model.plain.modules });
    this.#recall();
  }

  get key() {
    return `libasis ${DATA.fingerprint} ${this.model.number}`;
  }

  #recall() {
    try {
      const kept = localStorage.getItem(this.key);
      if (kept) {
        const plain = JSON.parse(kept);
        this.labels.clear();
        this.given.clear();
        this.read(plain);
      }
    } catch {
      // no storage here, or not ours: the labels of the file stand
    }
  }

  #remember() {
    try {
      localStorage.setItem(this.key, JSON.stringify(this.toPlain()));
      return true;
    } catch {
      return false;
    }
  }

  /** What a feature is called: what people say, else an output's own name where it is more than its number. */
  labelOf(v) {
    const given = this.labels.get(this.model.id(v))?.label;
    if (given || this.model.site[v] !== this.model.sites.length - 1) return given || "";
    const name = String(this.model.outputs?.[this.model.index[v]] ?? "");
    return name === String(this.model.index[v]) ? "" : name;
  }

  noteOf(v) {
    return this.labels.get(this.model.id(v))?.note ?? "";
  }

  /** Whether the suggested groups are shown in place of the modules. */
  get preview() {
    return state.suggested && Boolean(this.model.plain.groups?.modular);
  }

  moduleOf(v) {
    if (this.preview) {
      const group = this.model.plain.groups.group[v];
      return group < 0 ? null : t("group_name", { number: group + 1 });
    }
    return this.given.get(this.model.id(v)) ?? null;
  }

  /** The names of the modules, in the order that decides their looks. */
  get modules() {
    if (this.preview) {
      return this.model.plain.groups.stability.map((_, number) => t("group_name", { number: number + 1 }));
    }
    return [...new Set(this.given.values())].sort();
  }

  /** The features of a module. */
  members(name) {
    return Array.from({ length: this.model.n }, (_, v) => v).filter((v) => this.moduleOf(v) === name);
  }

  setLabel(id, label, note) {
    if (label || note) this.labels.set(id, { label, note });
    else this.labels.delete(id);
    return this.#remember();
  }

  setModule(ids, name) {
    for (const id of ids) {
      if (name) this.given.set(id, name);
      else this.given.delete(id);
    }
    return this.#remember();
  }

  rename(old, name) {
    return this.setModule([...this.given].filter(([, module]) => module === old).map(([id]) => id), name);
  }

  /** The file that libasis reads with `graph.with_labels`. */
  toPlain() {
    return {
      format: "libasis-labels",
      version: 1,
      labels: Object.fromEntries(this.labels),
      modules: Object.fromEntries(this.given),
    };
  }

  /** Take over labels and modules; nothing is taken where one entry is wrong. Throws an Error with a sentence. */
  read({ labels = {}, modules = {} }) {
    for (const id of [...Object.keys(labels ?? {}), ...Object.keys(modules ?? {})]) {
      if (!this.exists(id)) throw new Error(t("import_unknown", { id: isolated(shortened(id, 60)) }));
    }
    for (const [id, entry] of Object.entries(labels ?? {})) {
      const given = typeof entry === "string" ? { label: entry } : entry;
      this.labels.set(id, { label: String(given?.label ?? ""), note: String(given?.note ?? "") });
    }
    for (const [id, name] of Object.entries(modules ?? {})) this.given.set(id, String(name));
  }

  /** Whether the graph has this feature, also one that the page does not hold. */
  exists(id) {
    const colon = id.lastIndexOf(":");
    const site = this.model.sites.find(({ name }) => name === id.slice(0, colon));
    const index = Number(id.slice(colon + 1));
    return site !== undefined && /^\d+$/.test(id.slice(colon + 1)) && index < site.k;
  }

  /** Take over a file's text; returns how many labels and modules it had. */
  importText(text) {
    let plain;
    try {
      plain = JSON.parse(text);
    } catch {
      throw new Error(t("import_no_json"));
    }
    if (plain?.format !== "libasis-labels" || plain.version !== 1) throw new Error(t("import_no_labels"));
    this.read(plain);
    this.#remember();
    return { labels: Object.keys(plain.labels ?? {}).length, modules: Object.keys(plain.modules ?? {}).length };
  }
}
