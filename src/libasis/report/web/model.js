// A graph as the page holds it: features and edges by number, and what follows from them.

const FIRST_LOOK = 300; // edges drawn at first where no ablation says how many are needed

class Model {
  /** @param plain one entry of the page's data: sites, nodes, edges, sections, ablation, cards, groups, labels, modules */
  constructor(plain, number) {
    this.number = number;
    this.plain = plain;
    this.sites = plain.sites;
    this.sections = plain.sections;
    this.index = plain.nodes.index;
    this.outputs = plain.cards?.outputs ?? null; // names of the last site's features
    this.importance = Float64Array.from(plain.nodes.importance);
    this.place = plain.nodes.place;
    this.source = Int32Array.from(plain.edges.source);
    this.target = Int32Array.from(plain.edges.target);
    this.strength = Float64Array.from(plain.edges.strength);
    this.signed = Float64Array.from(plain.edges.signed);
    this.stderr = plain.edges.stderr ?? null; // standard errors of edges that were estimated, 0 of exact ones
    this.n = this.index.length;
    this.m = this.source.length;
    this.#countFeatures();
    this.#countEdges();
    this.#connect();
  }

  /** An edge's strength in words, with its standard error where it was estimated. */
  amount(e) {
    return quantity(this.strength[e]) + (this.stderr?.[e] ? ` ± ${quantity(this.stderr[e])}` : "");
  }

  #countFeatures() {
    this.site = new Int32Array(this.n);
    this.relative = new Float64Array(this.n);
    this.firstNode = [];
    let next = 0;
    this.sites.forEach((site, column) => {
      this.firstNode.push(next);
      const end = next + site.held;
      let top = 0;
      for (let v = next; v < end; v++) top = Math.max(top, this.importance[v]);
      for (; next < end; next++) {
        this.site[next] = column;
        this.relative[next] = top > 0 ? Math.max(0, this.importance[next]) / top : 0;
      }
    });
    this.firstNode.push(next);
    this.numbers = new Map(Array.from({ length: this.n }, (_, v) => [this.id(v), v]));
  }

  /** Per edge its section, its strength over the section's largest, its rank there and among those into its target. */
  #countEdges() {
    this.section = new Int32Array(this.m);
    this.fraction = new Float64Array(this.m);
    this.rank = new Int32Array(this.m);
    this.rankIn = new Int32Array(this.m);
    const into = new Int32Array(this.n);
    let e = 0;
    this.sections.forEach((section, at) => {
      for (let rank = 0; rank < section.held; rank++, e++) {
        this.section[e] = at;
        this.rank[e] = rank;
        this.fraction[e] = section.top > 0 ? this.strength[e] / section.top : 0;
        this.rankIn[e] = into[this.target[e]]++;
      }
    });
    const falling = Float64Array.from(this.fraction).sort().reverse();
    this.firstStrength = falling.length > FIRST_LOOK ? falling[FIRST_LOOK - 1] : 0;
    this.decades = this.#decadesOf(falling);
  }

  /** How many powers of ten the strengths that matter span: the needed ones and nine in ten of all. */
  #decadesOf(falling) {
    const needed = this.marks().map(({ fraction }) => fraction);
    const faintest = Math.min(1, ...needed, falling[Math.floor(0.9 * falling.length)] ?? 1);
    return Math.min(9, Math.max(2, Math.ceil(-Math.log10(Math.max(faintest, 1e-9)) + 0.05)));
  }

  /** Per measured section the strength of its weakest needed edge, over the section's largest. */
  marks() {
    return this.sections.flatMap((section, at) => {
      const kind = section.needed.stable ? "stable" : "required";
      const needed = section.needed[kind];
      return needed?.weakest && section.top ? [{ at, kind, count: needed.count, fraction: needed.weakest / section.top }] : [];
    });
  }

  /** Per feature the numbers of its edges, strongest first. */
  #connect() {
    this.out = Array.from({ length: this.n }, () => []);
    this.into = Array.from({ length: this.n }, () => []);
    for (let e = 0; e < this.m; e++) {
      this.out[this.source[e]].push(e);
      this.into[this.target[e]].push(e);
    }
  }

  id(v) {
    return `${this.sites[this.site[v]].name}:${this.index[v]}`;
  }

  /** The feature with this id, or undefined where the page does not hold it. */
  find(id) {
    return this.numbers.get(id);
  }

  get edgesTotal() {
    return this.sections.reduce((sum, section) => sum + section.total, 0);
  }

  get featuresTotal() {
    return this.sites.reduce((sum, site) => sum + site.k, 0);
  }

  /** Which counts of the ablation every section has: "stable", "required" or neither. */
  measured(kind) {
    return this.sections.length > 0 && this.sections.some((section) => section.needed[kind] !== null);
  }

  /** The features that share the span of this one, and why only that is determined; undefined for most. */
  tie(v) {
    return this.sites[this.site[v]].ties.find(([first, last]) => first <= this.index[v] && this.index[v] <= last);
  }

  /** What stands behind the name of a feature that is not determined alone. */
  mark(v) {
    return this.tie(v) ? " ≈" : "";
  }

  card(v) {
    return this.plain.cards?.cards[this.id(v)] ?? null;
  }
}
