// A claim about the selected feature and the pinned ones beside it, as a table of the settings that libasis tests.

/** What was stated so far; kept as long as the page is open. */
const stated = [];

const tomlText = (text) => JSON.stringify(text).replace(/\u007f/g, "\\u007f"); // a basic string of TOML is one of JSON

function tomlOf({ name, site, features, metric, direction, delta, group }) {
  return [
    "[[hypotheses]]",
    name && `name = ${tomlText(name)}`,
    `site = ${tomlText(site)}`,
    `features = [${features.join(", ")}]`,
    `metric = ${tomlText(metric)}`,
    `direction = ${tomlText(direction)}`,
    delta !== null && `delta = ${delta}`,
    group && `group = ${tomlText(group)}`,
  ].filter(Boolean).join("\n");
}

function hypothesesText() {
  return `# ${t("hypothesis_file")}\n\n${stated.map(tomlOf).join("\n\n")}\n`;
}

/** The selected feature and the pinned ones of the same site. */
function claimed(model, v) {
  const pinned = state.pinned.map((id) => model.find(id)).filter((u) => u !== undefined && model.site[u] === model.site[v]);
  return [...new Set([v, ...pinned])].map((u) => model.index[u]).sort((a, b) => a - b);
}

function field(key, control) {
  control.id = `hypothesis-${key}`;
  control.dataset.key = control.id;
  return el("div", {}, el("label", { for: control.id }, t(`hypothesis_${key}`)), control);
}

function hypothesisForm(app, v) {
  const { model } = app;
  if (model.site[v] === model.sites.length - 1) return null; // what the model says is what is scored
  const site = model.sites[model.site[v]].name;
  const features = claimed(model, v);
  const name = el("input", { type: "text", autocomplete: "off", maxlength: 200 });
  const metric = el("input", { type: "text", autocomplete: "off", maxlength: 200, value: "accuracy" });
  const direction = el("select", {}, ["decrease", "increase", "any"].map((side) => el("option", { value: side }, t(`hypothesis_${side}`))));
  const delta = el("input", { type: "number", min: "0", step: "any", inputmode: "decimal", placeholder: "0.02" });
  const group = el("input", { type: "text", autocomplete: "off", maxlength: 200, placeholder: "target == 3" });
  const said = el("p", { class: "note wide", role: "status" }, stated.length ? t("hypothesis_count", { count: whole(stated.length) }) : "");
  const add = () => {
    const size = Number(delta.value);
    if (delta.value !== "" && !(size > 0 && Number.isFinite(size))) {
      fill(said, t("hypothesis_no_delta"));
      return;
    }
    stated.push({
      name: name.value.trim(), site, features, metric: metric.value.trim() || "accuracy", direction: direction.value,
      delta: delta.value === "" ? null : size, group: group.value.trim(),
    });
    fill(said, t("hypothesis_count", { count: whole(stated.length) }));
    download.disabled = false;
  };
  const download = button(t("hypothesis_save"), () => save("hypotheses.toml", hypothesesText(), "application/toml"), {
    class: "small", id: "hypothesis-save", "data-key": "hypothesis-save", disabled: !stated.length,
  });
  return el("details", { class: "hypothesis" }, el("summary", {}, t("hypothesis")),
    el("form", { class: "labels", onsubmit: (event) => event.preventDefault() },
      el("p", { class: "note wide" }, t("hypothesis_about", { site: isolated(site), features: features.join(", ") })),
      field("name", name), field("metric", metric), field("direction", direction), field("delta", delta), field("group", group),
      el("div", { class: "row wide" }, button(t("hypothesis_add"), add, { class: "small", id: "hypothesis-add", "data-key": "hypothesis-add" }), download),
      said));
}
