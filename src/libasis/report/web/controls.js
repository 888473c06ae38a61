// The panel "View": what decides which edges and features are drawn.

const STEPS = 100; // places of a slider for each power of ten

function viewPanel(app) {
  const root = el("div", { class: "controls" });
  let parts = {};

  /** The panel anew, in the language and for the graph as they are. */
  function build() {
    const { model } = app;
    parts = {
      cut: cutChoice(model),
      strength: slider("strength", 0, STEPS * model.decades, marks(model)),
      most: slider("most", 0, 30),
      importance: slider("importance", 0, STEPS * 4),
      loners: el("input", { type: "checkbox", id: "loners", onchange: (event) => change({ loners: event.target.checked }) }),
      order: choice("order", ["crossings", "importance", "index", "module"]),
      focus: choice("focus", ["all", "pinned", "near", "paths"]),
      hops: el("input", {
        type: "number", id: "hops", min: 1, max: 9, onchange: (event) => change({ hops: Math.min(9, Math.max(1, Math.trunc(Number(event.target.value)) || 1)) }),
      }),
      from: ends("from"),
      to: ends("to"),
      focusNote: el("p", { class: "note", role: "status" }),
    };
    fill(
      root,
      el("fieldset", {}, el("legend", {}, t("edges")), parts.cut, parts.strength.root, parts.most.root),
      el("fieldset", {}, el("legend", {}, t("features")), parts.importance.root,
        el("label", { class: "check" }, parts.loners, t("loners"))),
      el("fieldset", {}, el("legend", {}, t("focus")), parts.focus,
        el("label", { class: "row", "data-for": "near" }, t("hops"), parts.hops),
        el("div", { class: "ends", "data-for": "paths" }, parts.from.root, parts.to.root), parts.focusNote),
      el("fieldset", {}, el("legend", {}, t("order")), parts.order),
      button(t("reset"), () => app.reset(), { class: "quiet", id: "reset" }),
    );
    update();
  }

  /** The values as the state has them. */
  function update() {
    const { model } = app;
    const cut = cutOf(model, state);
    for (const input of root.querySelectorAll('input[name="show"]')) input.checked = input.value === cut.kind;
    const byStrength = cut.kind === "strength";
    setSlider(parts.strength, placeOf(cut.least, model.decades), byStrength ? strengthText(cut.least) : "–");
    parts.strength.root.classList.toggle("idle", !byStrength);
    setSlider(parts.most, state.most || 0, state.most ? whole(state.most) : t("all"));
    setSlider(parts.importance, placeOf(state.importance, 4),
      state.importance > 0 ? percentOfTop(state.importance) : t("all"));
    parts.loners.checked = state.loners;
    for (const input of root.querySelectorAll('input[name="order"], input[name="focus"]')) input.checked = input.value === state[input.name];
    parts.hops.value = state.hops;
    for (const key of ["from", "to"]) if (document.activeElement !== parts[key].input) parts[key].input.value = state[key];
    for (const node of root.querySelectorAll("[data-for]")) node.hidden = node.dataset.for !== state.focus;
    parts.focusNote.textContent = focusNote(model);
  }

  return { root, build, update };
}

/** The radio buttons that say what decides which edges are drawn. */
function cutChoice(model) {
  const kinds = ["stable", "required"].filter((kind) => model.measured(kind));
  if (!kinds.length) return el("p", { class: "note" }, t("not_measured"));
  return el("div", { class: "choice", role: "radiogroup", "aria-label": t("edges") }, [...kinds, "strength"].map((kind) =>
    el("label", { title: t(`show_${kind}_hint`) }, el("input", {
      type: "radio", name: "show", value: kind, "data-key": `show-${kind}`, onchange: () => change({ show: kind }),
    }), t(`show_${kind}`))));
}

function choice(name, values) {
  return el("div", { class: "choice", role: "radiogroup", "aria-label": t(name) }, values.map((value) =>
    el("label", {}, el("input", { type: "radio", name, value, "data-key": `${name}-${value}`, onchange: () => change({ [name]: value }) }),
      t(`${name}_${value}`))));
}

/** A slider with its name, its value in words and, above it, marks that can be pressed. */
function slider(key, min, max, ticks = []) {
  const output = el("output", { for: `slide-${key}` });
  const input = el("input", {
    type: "range", id: `slide-${key}`, min, max, step: 1, "data-key": key,
    oninput: (event) => change(slid(key, Number(event.target.value), max / STEPS)),
  });
  const root = el("div", { class: "slider" },
    el("div", { class: "row" }, el("label", { for: `slide-${key}` }, t(`slide_${key}`)), output),
    ticks.length > 0 && el("div", { class: "marks" }, ticks), input);
  return { root, input, output };
}

/** The part of the state that a slider's place is. */
function slid(key, place, decades) {
  if (key === "most") return { most: place };
  const value = place > 0 ? 10 ** (place / STEPS - decades) : 0;
  return key === "strength" ? { strength: value, show: "strength" } : { importance: value };
}

/** The place of a fraction on a slider of so many powers of ten. */
function placeOf(fraction, decades) {
  return fraction > 0 ? Math.max(0, STEPS * (decades + Math.log10(fraction))) : 0;
}

function setSlider({ input, output }, place, text) {
  if (document.activeElement !== input || Math.abs(Number(input.value) - place) > 0.6) input.value = place;
  output.textContent = text;
  input.setAttribute("aria-valuetext", text);
}

/** Marks at the weakest edge that the ablation needs in each section measured; near ones share a mark. */
function marks(model) {
  const groups = [];
  for (const mark of model.marks().sort((p, q) => p.fraction - q.fraction)) {
    const place = placeOf(mark.fraction, model.decades) / (STEPS * model.decades);
    const last = groups[groups.length - 1];
    if (last && place - last.place < 0.07) last.marks.push(mark);
    else groups.push({ place, marks: [mark] });
  }
  return groups.map(({ place, marks: near }) => {
    const fraction = Math.min(...near.map((mark) => mark.fraction));
    near.sort((p, q) => p.at - q.at);
    const button_ = el("button", {
      type: "button", class: "mark", "data-key": `mark-${near[0].at}`, "data-fraction": fraction,
      title: near.map(({ at, kind, count, fraction: own }) =>
        t(`mark_${kind}`, { count: whole(count), section: sectionName(model, at), strength: percentOfTop(own) })).join("\n"),
      onclick: () => change({ show: "strength", strength: fraction * (1 - 1e-9) }),
    }, numbersOf(near.map(({ at }) => at + 1)));
    button_.style.left = `${100 * place}%`;
    return button_;
  });
}

/** Whole numbers, neighbours as ranges: 1–3·5. */
function numbersOf(numbers) {
  const ranges = [];
  for (const number of numbers) {
    const last = ranges[ranges.length - 1];
    if (last && number === last[1] + 1) last[1] = number;
    else ranges.push([number, number]);
  }
  const texts = ranges.map(([a, b]) => (a === b ? String(a) : b === a + 1 ? `${a}·${b}` : `${a}–${b}`));
  return texts.length > 3 ? `${texts[0]}…${numbers[numbers.length - 1]}` : texts.join("·");
}

function sectionName(model, at) {
  return `${model.sites[at].name} → ${model.sites[at + 1].name}`;
}

function strengthText(fraction) {
  return fraction > 0 ? percentOfTop(fraction) : t("all");
}

/** A fraction of the largest as a percentage with two digits that count. */
function percentOfTop(fraction) {
  return `≥ ${Number((100 * fraction).toPrecision(2))}%`;
}

/** A field for a feature's id, with the selected feature at hand. */
function ends(key) {
  const input = el("input", {
    type: "text", id: `path-${key}`, autocomplete: "off", spellcheck: "false", onchange: (event) => change({ [key]: event.target.value.trim() }),
  });
  const use = button(t("use_selected"), () => change({ [key]: state.selected }), { class: "quiet small", "data-key": `use-${key}` });
  return { root: el("div", {}, el("label", { for: `path-${key}` }, t(`path_${key}`)), el("div", { class: "row" }, input, use)), input };
}

/** What the reader must still do for the focus to mean something; empty where nothing. */
function focusNote(model) {
  const known = (id) => model.find(id) !== undefined;
  if (state.focus === "pinned" && !state.pinned.some(known)) return t("focus_pin_first");
  if (state.focus === "near" && ![state.selected, ...state.pinned].some(known)) return t("focus_select_first");
  if (state.focus === "paths" && !(known(state.from) && known(state.to))) return t("focus_ends_first");
  return "";
}
