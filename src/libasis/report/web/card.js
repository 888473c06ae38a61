// The panel "Feature": what is known of the selected feature, and the edges to walk along.

const FIRST_EDGES = 8; // edges listed before "show all"

function cardPanel(app) {
  const root = el("div", { class: "card" });
  let open = new Set(); // lists shown in full

  function build() {
    const { model } = app;
    const v = model.find(state.selected);
    if (v === undefined) {
      fill(root, el("p", { class: "empty" }, t(state.selected ? "card_absent" : "card_empty", { id: isolated(state.selected) })), keyHelp());
      return;
    }
    const card = model.card(v);
    fill(
      root,
      head(app, v),
      card && reads(model, card),
      labelForm(app, v),
      suggestions(app, v, card),
      card ? cardTop(card) : el("p", { class: "note" }, t(model.plain.cards ? "card_none" : "cards_none")),
      edgeLists(app, v, open, build),
      hypothesisForm(app, v),
      card && cardRest(card),
    );
  }

  return {
    root,
    build,
    /** The selected feature is called something else: only its heading changes, so that typing goes on undisturbed. */
    rename() {
      const v = app.model.find(state.selected);
      if (v !== undefined) root.querySelector("h3 bdi").textContent = nameOf(app, v);
    },
    /** Another feature is selected: its lists start short. */
    turn() {
      open = new Set();
      root.scrollTop = 0;
      build();
    },
  };
}

function nameOf({ model, notes }, v) {
  return notes.labelOf(v) || t("feature_number", { index: model.index[v] });
}

function head(app, v) {
  const { model } = app;
  const site = model.sites[model.site[v]];
  const id = model.id(v);
  const pinned = state.pinned.includes(id);
  return [
    el("div", { class: "row tools" },
      button(`← ${t("back")}`, back, { class: "quiet small", disabled: trail.length === 0, "data-key": "back" }),
      button(t(pinned ? "unpin" : "pin"), () => togglePin(id), { class: "quiet small", "aria-pressed": pinned ? "true" : "false", "data-key": "pin" }),
      button(t("close"), () => select(""), { class: "quiet small", "data-key": "close" })),
    el("h3", {}, el("bdi", {}, nameOf(app, v))),
    el("p", { class: "id" }, el("bdi", {}, id)),
    el("p", { class: "fact" }, t("importance_is", {
      value: quantity(model.importance[v]), share: percent(site.importance > 0 ? model.importance[v] / site.importance : 0),
    })),
    tieNote(model, v),
  ];
}

function tieNote(model, v) {
  const tie = model.tie(v);
  return tie && el("p", { class: "note" }, t(`tied_${tie[2]}`, { first: whole(tie[0]), last: whole(tie[1]) }));
}

/** Label, note and module, kept as they are typed in. */
function labelForm(app, v) {
  const { notes, model } = app;
  const id = model.id(v);
  const given = notes.labels.get(id) ?? { label: "", note: "" };
  const label = el("input", { type: "text", id: "label", "data-key": "label", autocomplete: "off", maxlength: 1000 });
  const note = el("textarea", { id: "note", rows: 2, "data-key": "note", maxlength: 100_000 });
  const module = el("input", { type: "text", id: "module", "data-key": "module", list: "modules", autocomplete: "off", maxlength: 1000 });
  label.value = given.label;
  note.value = given.note;
  module.value = notes.given.get(id) ?? "";
  const keep = () => app.noted(notes.setLabel(id, label.value.trim(), note.value.trim()), true);
  label.addEventListener("change", keep);
  note.addEventListener("change", keep);
  module.addEventListener("change", () => app.noted(notes.setModule([id], module.value.trim()), true));
  return el("form", { class: "labels", onsubmit: (event) => event.preventDefault() },
    el("div", {}, el("label", { for: "label" }, t("label")), label),
    el("div", {}, el("label", { for: "module" }, t("module")), module,
      el("datalist", { id: "modules" }, [...new Set(notes.given.values())].map((name) => el("option", { value: name })))),
    el("div", { class: "wide" }, el("label", { for: "note" }, t("note")), note));
}

/** What statistics suggest: never a name until someone takes it over. */
function suggestions(app, v, card) {
  if (!card?.suggestions?.length) return null;
  return el("div", { class: "suggestions" },
    el("h4", {}, t("suggestions"), el("span", { class: "tag" }, t("association"))),
    el("ul", {}, card.suggestions.map((found) => el("li", {},
      el("span", {}, suggestionText(found, isolated(shortened(String(found.value), 60))), " ",
        el("span", { class: "hint" }, t("statistic", {
          statistic: named("statistic", found.statistic), effect: quantity(found.effect), n: whole(found.n),
          p: found.p === null || found.p === undefined ? "" : `, p ${found.p < 1e-300 ? "< 1e−300" : `= ${quantity(found.p)}`}`,
        }))),
      button(t("take_over"), () => {
        const id = app.model.id(v);
        app.noted(app.notes.setLabel(id, suggestionText(found, String(found.value)), app.notes.labels.get(id)?.note ?? ""));
      }, { class: "small", "data-key": `take-${found.kind}-${found.value}` })))));
}

/** A suggestion in words. A measure of rank below its middle, or a negative correlation, speaks of the low values. */
function suggestionText({ kind, statistic, effect }, value) {
  const name = t(`suggests_${kind}`, { value });
  return effect < (statistic === "AUC" ? 0.5 : 0) ? t("low_end", { name }) : name;
}

/** Edges in and out, positive and negative, each sorted, each a step to the other feature. */
function edgeLists(app, v, open, rebuild) {
  const { model, shown } = app;
  const lists = [
    ["in_positive", model.into[v], model.source, false], ["in_negative", model.into[v], model.source, true],
    ["out_positive", model.out[v], model.target, false], ["out_negative", model.out[v], model.target, true],
  ];
  return el("div", { class: "edge-lists" }, lists.map(([name, all, end, negative]) => {
    const edges = all.filter((e) => (model.signed[e] < 0) === negative);
    const drawn = edges.filter((e) => shown.edge[e]).length;
    const first = open.has(name) ? edges : edges.slice(0, FIRST_EDGES);
    const rest = edges.length - first.length;
    return el("section", { "aria-label": t(name) },
      el("h4", { class: negative ? "negative" : "positive" }, t(name), el("span", { class: "hint" }, edges.length
        ? t("drawn_of", { drawn: whole(drawn), count: whole(edges.length) }) : t("none"))),
      el("ul", {}, first.map((e) => edgeRow(app, e, end[e]))),
      rest > 0 && button(t("show_all", { count: whole(edges.length) }), () => {
        open.add(name);
        rebuild();
      }, { class: "quiet small", "data-key": `all-${name}` }));
  }));
}

function edgeRow(app, e, v) {
  const { model, notes, shown } = app;
  const bar = el("span", { class: model.signed[e] < 0 ? "bar negative" : "bar positive", "aria-hidden": "true" });
  bar.style.width = `${Math.max(1, 100 * Math.sqrt(model.fraction[e]))}%`;
  const label = notes.labelOf(v);
  return el("li", {}, el("button", {
    type: "button", class: shown.edge[e] ? "step" : "step away-from", "data-key": `step-${e}`,
    title: shown.edge[e] ? null : t("not_drawn"), onclick: () => select(model.id(v)),
  }, el("bdi", {}, label ? `${model.index[v]} · ${shortened(label, 28)}` : model.id(v)),
  el("span", { class: "amount" }, model.amount(e)), el("span", { class: "track" }, bar)));
}

function keyHelp() {
  return el("details", { class: "keys" }, el("summary", {}, t("keys")), el("dl", {}, ["arrows", "enter", "p", "zoom", "back", "escape"].flatMap((key) =>
    [el("dt", {}, t(`key_${key}`)), el("dd", {}, t(`key_${key}_does`))])));
}
