// The parts put together: what the state says is drawn, and every panel follows.

const TABS = ["view", "feature", "groups"];

class App {
  constructor(root) {
    this.models = DATA.graphs.map((plain, number) => new Model(plain, number));
    this.allNotes = this.models.map((model) => new Notes(model));
    const found = readAddress(location.hash);
    if (found.lang) document.documentElement.lang = found.lang;
    Object.assign(state, found.state);
    this.stageRoot = el("div", { class: "stage" });
    this.stage = new Stage(this.stageRoot, (size) => new Scene(this.model, this.notes, this.shown, size));
    this.search = searchBox(this);
    this.files = exportMenu(this);
    this.panels = { view: viewPanel(this), feature: cardPanel(this), groups: groupsPanel(this) };
    this.table = tableView(this);
    this.counts = el("p", { class: "counts", role: "status" });
    this.why = el("details", { class: "why" });
    this.legend = el("ul", { class: "legend" });
    this.tabs = el("div", { class: "tabs", role: "tablist", onkeydown: (event) => this.#turnTab(event) });
    this.switch_ = el("div", { class: "switch", role: "radiogroup" });
    this.tools = el("div", { class: "zoom" });
    this.message = el("p", { class: "message", role: "status", hidden: true });
    this.#assemble(root);
    this.look();
    this.relabel();
    this.openTab(state.selected ? "feature" : "view");
    this.redraw = once(() => this.stage.draw());
    this.stage.drawn = () => this.#tell();
    gestures(this.stage);
    listeners.push((keys) => this.follow(keys));
    window.addEventListener("hashchange", () => this.readAddress());
  }

  get model() {
    return this.models[state.graph];
  }

  get notes() {
    return this.allNotes[state.graph];
  }

  #assemble(root) {
    root.append(
      el("div", { class: "toolbar" }, this.switch_, this.search.root, this.tools, this.files.root),
      el("div", { class: "work" },
        el("div", { class: "picture" }, this.stageRoot, el("div", { class: "under" }, this.counts, this.why, this.legend)),
        el("aside", { class: "side" }, this.tabs, TABS.map((name) => el("div", { class: "panel", role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, tabindex: 0 }, this.panels[name].root)))),
      this.message,
      this.table.root,
    );
  }

  /** What is drawn, as the state and the notes are now. */
  look() {
    this.shown = look(this.model, state);
  }

  /** The state changed: draw and rebuild what depends on it. */
  follow(keys) {
    const has = (...names) => names.some((name) => keys.includes(name));
    this.look();
    this.redraw();
    this.#tell();
    if (has("graph")) {
      trail = [];
      this.relabel();
      return;
    }
    if (has("selected")) {
      if (state.selected) this.openTab("feature");
      this.panels.feature.turn();
    } else {
      this.panels.feature.build();
    }
    this.panels.view.update();
    if (has("collapsed", "suggested", "pinned")) this.panels.groups.build();
    if (has("suggested")) this.#tellLegend();
    this.table.build();
  }

  /** Labels or modules changed; `stored` says whether this browser keeps them, `typed` whether on the card itself. */
  noted(stored, typed = false) {
    this.look();
    this.redraw();
    if (typed) this.panels.feature.rename();
    else this.panels.feature.build();
    this.panels.groups.build();
    this.#tellLegend();
    this.table.build();
    if (!stored) this.say(t("not_stored"));
  }

  say(text) {
    this.message.textContent = text;
    this.message.hidden = false;
    clearTimeout(this.silence);
    this.silence = setTimeout(() => (this.message.hidden = true), 8000);
  }

  /** Every word anew, after a change of language or graph. */
  relabel() {
    this.search.relabel();
    this.files.relabel();
    for (const name of TABS) this.panels[name].build();
    fill(this.tabs, TABS.map((name) => el("button", {
      type: "button", role: "tab", id: `tab-${name}`, "data-key": `tab-${name}`, "aria-controls": `panel-${name}`, onclick: () => this.openTab(name),
    }, t(`tab_${name}`))));
    this.tabs.setAttribute("aria-label", t("panels"));
    this.switch_.hidden = this.models.length < 2;
    this.switch_.setAttribute("aria-label", t("basis"));
    fill(this.switch_, this.models.map((model, number) => el("label", {}, el("input", {
      type: "radio", name: "graph", value: number, "data-key": `graph-${number}`, checked: number === state.graph,
      onchange: () => change({ graph: number, zoom: 0, collapsed: [], suggested: false }),
    }), el("span", {}, model.plain.label[lang()]))));
    fill(this.tools, [["zoom_in", "+", () => this.stage.zoomAt(...this.#middle(), 1.4)], ["zoom_out", "−", () => this.stage.zoomAt(...this.#middle(), 1 / 1.4)],
      ["fit", null, () => this.stage.showAll()]].map(([key, sign, run]) => button(sign ?? t(key), run, { "aria-label": t(key), title: t(key), id: key, "data-key": key })));
    this.openTab(this.tab ?? "view");
    this.#tell();
    this.#tellLegend();
    this.table.build();
    this.redraw?.();
  }

  #middle() {
    return [this.stageRoot.clientWidth / 2, this.stageRoot.clientHeight / 2];
  }

  openTab(name) {
    this.tab = name;
    for (const other of TABS) {
      const tab = document.getElementById(`tab-${other}`);
      tab.setAttribute("aria-selected", other === name ? "true" : "false");
      tab.setAttribute("tabindex", other === name ? 0 : -1);
      document.getElementById(`panel-${other}`).hidden = other !== name;
    }
  }

  #turnTab(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const next = TABS[(TABS.indexOf(this.tab) + by + TABS.length) % TABS.length];
    this.openTab(next);
    document.getElementById(`tab-${next}`).focus();
  }

  /** The counts: what is drawn, what is hidden, and why. */
  #tell() {
    const { shown, model } = this;
    this.counts.textContent = t("counts", {
      edges: whole(shown.edges), edges_total: whole(model.edgesTotal),
      features: whole(shown.nodes), hidden: whole(model.featuresTotal - shown.nodes),
    });
    const absent = model.featuresTotal - model.n;
    const reasons = Object.entries(shown.hidden).filter(([, count]) => count > 0).map(([key, count]) => el("li", {}, t(`hidden_${key}`, { count: whole(count) })));
    const { kind } = cutOf(model, state);
    const missing = model.sections.reduce((sum, { needed }) => sum + (needed[kind] ? needed[kind].count - needed[kind].held : 0), 0);
    if (missing > 0) reasons.push(el("li", {}, t("hidden_needed", { count: whole(missing) })));
    const every = this.stage.scene?.names.every ?? 1;
    if (every > 1) reasons.push(el("li", {}, t("hidden_heads", { every: whole(every) })));
    if (absent > 0) reasons.push(el("li", {}, t("hidden_features", { count: whole(absent) })));
    fill(this.why, el("summary", {}, t("why")), el("ul", {}, reasons.length ? reasons : el("li", {}, t("hidden_nothing"))));
  }

  #tellLegend() {
    const line = (negative) => el("svg:svg", { class: "swatch wide", viewBox: "0 0 32 10", "aria-hidden": "true" }, el("svg:line", {
      x1: 1, x2: 31, y1: 5, y2: 5, stroke: negative ? NEGATIVE : POSITIVE, "stroke-width": 2.2, "stroke-dasharray": negative ? "5 3.4" : null,
    }));
    const dot = (radius, hollow) => el("svg:circle", { cx: radius === 2.4 ? 4 : 13, cy: 9, r: radius, fill: hollow ? PAPER : NODE, stroke: NODE, "stroke-width": 1.1 });
    fill(this.legend,
      el("li", {}, line(false), t("legend_positive")), el("li", {}, line(true), t("legend_negative")),
      el("li", {}, el("svg:svg", { class: "swatch wide", viewBox: "0 0 32 10", "aria-hidden": "true" },
        el("svg:line", { x1: 1, x2: 31, y1: 2.5, y2: 2.5, stroke: GREY, "stroke-width": 0.8 }),
        el("svg:line", { x1: 1, x2: 31, y1: 7, y2: 7, stroke: GREY, "stroke-width": 3.4 })), t("legend_strength")),
      el("li", {}, el("svg:svg", { class: "swatch", viewBox: "0 0 22 18", "aria-hidden": "true" }, dot(2.4, false), dot(5.6, false)), t("legend_size")),
      el("li", {}, el("svg:svg", { class: "swatch", viewBox: "4 0 18 18", "aria-hidden": "true" }, dot(4.4, true)), t("legend_hollow")),
      this.notes.modules.map((name, number) => el("li", {}, swatch(number), el("bdi", {}, shortened(name, 30)))));
  }

  fileName(end) {
    return `libasis-${this.model.plain.method.replace(/[^\w-]+/g, "_") || "graph"}${end.includes(".") ? "-" : "."}${end}`;
  }

  /** Back to how the page opened; pins, labels and modules stay. */
  reset() {
    change({ ...DEFAULTS, graph: state.graph, selected: state.selected, pinned: state.pinned });
  }

  readAddress() {
    if (!location.hash.startsWith("#/")) return;
    const found = readAddress(location.hash);
    if (found.lang && found.lang !== lang()) speak(this, found.lang);
    change(found.state);
  }
}

/** Show the page in a language. */
function speak(app, language) {
  document.documentElement.lang = language;
  document.title = DATA.title[language];
  for (const input of document.querySelectorAll('input[name="lang"]')) input.checked = input.value === language;
  app?.relabel();
  rememberAddress();
}

const app = new App(document.getElementById("workbench"));
for (const input of document.querySelectorAll('input[name="lang"]')) input.addEventListener("change", () => speak(app, input.value));
document.getElementById("languages").hidden = false;
// links within the page must not overwrite the address of the view
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById(link.hash.slice(1))?.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth" });
  });
}
speak(null, lang());
document.documentElement.dataset.ready = "true";
