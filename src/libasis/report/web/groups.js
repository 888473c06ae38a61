// The panel "Modules": groups of features with a look of their own, which can be collapsed; suggested groups.

function groupsPanel(app) {
  const root = el("div", { class: "groups" });

  function build() {
    const { notes, model } = app;
    const names = notes.modules;
    fill(
      root,
      el("p", { class: "note" }, t(notes.preview ? "groups_preview" : names.length ? "groups_note" : "groups_empty")),
      el("ul", { class: "legend-list" }, names.map((name, k) => row(app, name, k))),
      !notes.preview && el("form", { class: "row", onsubmit: (event) => groupPinned(app, event) },
        el("label", { for: "new-module", class: "away" }, t("new_module")),
        el("input", { type: "text", id: "new-module", "data-key": "new-module", placeholder: t("new_module"), autocomplete: "off" }),
        el("button", { type: "submit", disabled: state.pinned.length === 0 }, t("group_pinned", { count: whole(state.pinned.length) }))),
      suggested(app, model),
      labelFile(app),
    );
  }

  return { root, build };
}

function row(app, name, number) {
  const { notes, model } = app;
  const members = notes.members(name);
  const collapsed = state.collapsed.includes(name);
  const stability = notes.preview ? model.plain.groups.stability[number] : null;
  return el("li", {}, swatch(number),
    el("span", { class: "name" }, el("bdi", {}, name), el("span", { class: "hint" },
      ` ${t("group_size", { count: whole(members.length) })}`, stability !== null && stability !== undefined && ` · ${t("stability", { value: quantity(stability) })}`)),
    button(t(collapsed ? "expand" : "collapse"), () => change({
      collapsed: collapsed ? state.collapsed.filter((other) => other !== name) : [...state.collapsed, name],
    }), { class: "small", "aria-pressed": collapsed ? "true" : "false", "data-key": `collapse-${name}` }),
    notes.preview
      ? button(t("accept"), () => accept(app, [number]), { class: "small", "data-key": `accept-${number}` })
      : button(t("dissolve"), () => {
        change({ collapsed: state.collapsed.filter((other) => other !== name) });
        app.noted(notes.rename(name, ""));
      }, { class: "quiet small", "data-key": `dissolve-${name}` }));
}

function swatch(number) {
  const { color, shape } = moduleLook(number);
  return el("svg:svg", { class: "swatch", viewBox: "-9 -9 18 18", "aria-hidden": "true" },
    el("svg:polygon", { points: outline(shape, 0, 0, 5.6).points.map((point) => point.join(",")).join(" "), fill: color }));
}

function groupPinned(app, event) {
  event.preventDefault();
  const name = event.target.querySelector("input").value.trim();
  if (name && state.pinned.length) app.noted(app.notes.setModule(state.pinned, name));
}

/** The groups that the community search found: shown first, taken over only when asked for. */
function suggested(app, model) {
  const { groups } = model.plain;
  if (!groups?.modular) return el("p", { class: "note" }, t(groups ? "groups_by_chance" : "groups_none"));
  return el("div", { class: "row" },
    button(t(state.suggested ? "groups_hide" : "groups_show", { count: whole(groups.stability.length) }),
      () => change({ suggested: !state.suggested, collapsed: [] }), { "aria-pressed": state.suggested ? "true" : "false", "data-key": "suggested" }),
    state.suggested && button(t("accept_all"), () => accept(app, groups.stability.map((_, k) => k)), { "data-key": "accept-all" }));
}

function accept(app, numbers) {
  const { model, notes } = app;
  let stored = true;
  for (const number of numbers) {
    const ids = Array.from({ length: model.n }, (_, v) => v).filter((v) => model.plain.groups.group[v] === number).map((v) => model.id(v));
    stored = notes.setModule(ids, t("group_name", { number: number + 1 }));
  }
  change({ suggested: false, collapsed: [] });
  app.noted(stored);
}

/** Export and import of labels and modules. */
function labelFile(app) {
  const message = el("p", { class: "note", role: "status", id: "import-message" });
  const input = el("input", {
    type: "file", id: "import", accept: ".json,application/json", class: "away", tabindex: -1,
    onchange: async () => {
      try {
        const text = await input.files[0].text();
        const taken = app.notes.importText(text);
        app.noted(true);
        app.say(t("imported", { labels: whole(taken.labels), modules: whole(taken.modules) }));
      } catch (error) {
        app.say(error.message);
      }
      input.value = "";
    },
  });
  return el("div", { class: "label-file" }, el("h4", {}, t("label_file")), el("div", { class: "row" },
    button(t("export_labels"), () => save(app.fileName("labels.json"), JSON.stringify(app.notes.toPlain(), null, 1), "application/json"), { id: "export-labels" }),
    button(t("import_labels"), () => input.click(), { id: "import-labels" }),
    el("label", { for: "import", class: "away" }, t("import_labels")), input), message,
  el("p", { class: "note" }, t("labels_where")));
}
