// The measured parts of a card: examples, histogram, effects on outputs, ablation, direction.

/** What comes before the edges: what the feature looks like and does. */
function cardTop(card) {
  return [examples(t("examples_top"), card.top, card), effects(card), ablation(card)];
}

/** What comes after them: the rest of the measurements. */
function cardRest(card) {
  return [
    examples(t("examples_bottom"), card.bottom, card), histogram(card), direction(card),
    DATA.cards_cut && el("p", { class: "note" }, t("cards_cut", DATA.cards_cut)),
    el("p", { class: "note" }, t("card_made", { n: whole(card.n) })),
  ];
}

/** The columns that the feature reads: what a standard deviation of each moves it by, what is usual, what groups have. */
function reads({ plain }, { reads: found }) {
  if (!found?.length) return null;
  const groups = (plain.cards?.groups ?? []).slice(0, 2).filter(({ columns }) => columns);
  const near = (value, spread) => {
    const digits = spread > 0 ? Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(spread)))) : 3;
    return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
  };
  const usual = ({ column, step, mean, std }) => [t("step", { step: near(step, step) }), t("usually", { mean: near(mean, std), std: near(std, std) }),
    ...groups.map(({ name, columns }) => t("in_group", { name: isolated(name), mean: near(columns[column]?.[0] ?? NaN, std) }))].join(" · ");
  return el("section", { class: "reads" }, el("h4", {}, t("reads"), el("span", { class: "tag" }, t("intervention"))),
    intervals(found.slice(0, 6).map((one) => ({ name: one.column, value: one.weight, hint: usual(one) }))),
    found.length > 6 && el("p", { class: "hint" }, t("strongest_of", { shown: 6, count: whole(found.length) })),
    el("p", { class: "note" }, t("reads_note")));
}

function examples(title, list, card) {
  if (!list?.length) return null;
  const pictures = list.every((one) => one.content?.kind === "image");
  return el("section", {}, el("h4", {}, title), el("ol", { class: pictures ? "examples pictures" : "examples" }, list.map((one) =>
    el("li", {}, content(one, card), el("p", { class: "hint" }, [
      quantity(one.value), one.time !== undefined && isolated(one.time), t("sample", { sample: one.sample }),
      one.position !== null && one.position !== undefined && t("position", { position: one.position }),
      one.target !== null && one.target !== undefined && t("target", { target: isolated(shortened(String(one.target), 30)) }),
      one.prediction !== null && one.prediction !== undefined && one.prediction !== one.target &&
        t("prediction", { prediction: isolated(shortened(String(one.prediction), 30)) }),
    ].filter(Boolean).join(" · "))))));
}

function content({ content: shown }, card) {
  if (!shown) return null;
  const kinds = { text: textExample, image: imageExample, table: tableExample, number: numberExample };
  return kinds[shown.kind]?.(shown, card) ?? null;
}

/** Tokens tinted by the feature's value at them; the one meant is underlined, and values are in the tooltips. */
function textExample({ tokens, values, at }) {
  const top = Math.max(...(values ?? []).map((value) => Math.abs(value ?? 0)), 1e-300);
  return el("p", { class: "tokens", dir: "auto" }, tokens.map((token, k) => {
    const value = values?.[k] ?? null;
    const node = el("span", { title: value === null ? null : quantity(value), class: k === at ? "at" : null }, token);
    const strength = Math.round((100 * Math.abs(value ?? 0)) / top);
    if (strength > 4) {
      node.style.backgroundColor = `color-mix(in srgb, ${value < 0 ? NEGATIVE : POSITIVE} ${Math.round(strength * 0.42)}%, transparent)`;
      if (value < 0) node.classList.add("below");
    }
    return node;
  }));
}

function imageExample({ png, width, height }) {
  return el("img", { src: `data:image/png;base64,${png}`, alt: t("image_of", { width, height }), width: 64, height: Math.round((64 * height) / width) });
}

/** The columns that the feature reads come first, then those that are farthest from what is usual. */
function tableExample({ columns, values, z }, { reads: found }) {
  const place = new Map((found ?? []).slice(0, 4).map(({ column }, k) => [column, k]));
  const rank = (k) => place.get(columns[k]) ?? 4;
  const order = columns.map((_, k) => k).sort((a, b) => rank(a) - rank(b) || Math.abs(z?.[b] ?? 0) - Math.abs(z?.[a] ?? 0)).slice(0, 8);
  return el("table", { class: "mini" }, el("tbody", {}, order.map((k) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, columns[k])),
    el("td", {}, typeof values[k] === "number" ? quantity(values[k]) : el("bdi", {}, String(values[k]))),
    el("td", { class: "hint" }, z?.[k] === null || z?.[k] === undefined ? "" : `z ${quantity(z[k])}`)))),
  columns.length > 8 && el("caption", {}, t("columns_cut", { shown: 8, count: whole(columns.length) })));
}

function numberExample({ values, names }) {
  const shown = values.slice(0, 12).map((value, k) => (names ? `${names[k]} ${quantity(value)}` : quantity(value)));
  return el("p", { class: "tokens" }, el("bdi", {}, shown.join(", ")), values.length > 12 && ` … ${t("more", { count: whole(values.length - 12) })}`);
}

/** Effects as bars from a common zero, with the interval as a line. */
function effects(card) {
  if (!card.effects?.length) return null;
  return el("section", {}, el("h4", {}, t("effects"), el("span", { class: "tag" }, t("intervention"))),
    intervals(card.effects.slice(0, 8).map(({ output, effect, low, high }) => ({ name: String(output), value: effect, low, high }))),
    card.effects.length > 8 && el("p", { class: "hint" }, t("strongest_of", { shown: 8, count: whole(card.effects.length) })),
    el("p", { class: "note" }, t("effects_note")));
}

/** The ablation of this feature alone, beside that of random directions. */
function ablation({ ablation: found }) {
  if (!found) return null;
  return el("section", {}, el("h4", {}, t("ablation"), el("span", { class: found.passed ? "tag good" : "tag" }, t(found.untested ? "untested" : found.passed ? "verified" : "not_verified"))),
    intervals([
      { name: t("without_it"), value: found.change, low: found.low, high: found.high },
      { name: t("without_random", { controls: whole(found.controls) }), value: found.control, low: found.control_low, high: found.control_high },
    ]),
    el("p", { class: "note" }, t("ablation_note", { metric: isolated(named("metric", found.metric)), base: quantity(found.base), without: quantity(found.without) })));
}

function direction({ direction: found }) {
  if (!found?.length) return null;
  return el("section", {}, el("h4", {}, t("direction")),
    intervals(found.slice(0, 8).map(({ coordinate, weight }) => ({ name: String(coordinate), value: weight }))),
    found.length > 8 && el("p", { class: "hint" }, t("strongest_of", { shown: 8, count: whole(found.length) })),
    el("p", { class: "note" }, t("direction_note")));
}

/** Rows of name, bar around a common zero with an interval, and number. Sign by side and colour. */
function intervals(rows) {
  const ends = rows.flatMap(({ value, low, high }) => [value, low ?? value, high ?? value]).filter(Number.isFinite);
  const low = Math.min(0, ...ends);
  const span = Math.max(0, ...ends) - low || 1;
  const x = (value) => 1 + (98 * (value - low)) / span;
  return el("table", { class: "intervals" }, el("tbody", {}, rows.flatMap(({ name, value, low: from, high: to, hint }) => [el("tr", {},
    el("th", { scope: "row" }, el("bdi", { title: name }, shortened(name, 24))),
    el("td", {}, el("svg:svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
      el("svg:rect", { x: Math.min(x(0), x(value)), y: 2, width: Math.max(0.4, Math.abs(x(value) - x(0))), height: 8, fill: value < 0 ? NEGATIVE : POSITIVE }),
      el("svg:line", { x1: x(0), x2: x(0), y1: 0, y2: 12, stroke: GREY, "stroke-width": 0.5 }),
      Number.isFinite(from) && Number.isFinite(to) && el("svg:line", { x1: x(from), x2: x(to), y1: 6, y2: 6, stroke: INK, "stroke-width": 1.6 }))),
    el("td", { class: "number" }, quantity(value), Number.isFinite(from) && Number.isFinite(to) &&
      el("span", { class: "hint" }, ` [${quantity(from)}, ${quantity(to)}]`))), hint && el("tr", {}, el("td", { colspan: 3, class: "hint" }, hint))])));
}

function histogram({ histogram: found, mean, std }) {
  if (!found?.counts?.length) return null;
  const top = Math.max(...found.counts, 1);
  const width = 100 / found.counts.length;
  const zero = (100 * (0 - found.low)) / (found.high - found.low || 1);
  return el("section", {}, el("h4", {}, t("histogram")),
    el("svg:svg", { class: "histogram", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": t("histogram_name", {
      low: quantity(found.low), high: quantity(found.high), mean: quantity(mean), std: quantity(std),
    }) }, found.counts.map((count, k) => el("svg:rect", { x: k * width, y: 40 - (40 * count) / top, width: width * 0.92, height: (40 * count) / top, fill: NODE })),
    zero > 0 && zero < 100 && el("svg:line", { x1: zero, x2: zero, y1: 0, y2: 40, stroke: ACCENT, "stroke-width": 0.6, "stroke-dasharray": "2 1.5" })),
    el("p", { class: "row hint" }, el("span", {}, quantity(found.low)), el("span", {}, t("mean_std", { mean: quantity(mean), std: quantity(std) })), el("span", {}, quantity(found.high))));
}
