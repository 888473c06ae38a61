// Search over id, label, note, site and module, also among what is not drawn.

const MOST_FOUND = 40;

function searchBox(app) {
  const results = el("ul", { class: "results", id: "found", hidden: true });
  const status = el("p", { class: "results-note", role: "status" });
  const input = el("input", {
    type: "search", id: "search", autocomplete: "off", spellcheck: "false", "aria-controls": "found",
    oninput: () => show(),
    onkeydown: (event) => {
      if (event.key === "Escape") clear();
      if (event.key === "Enter") results.querySelector("button")?.click();
      if (event.key === "ArrowDown") {
        event.preventDefault();
        results.querySelector("button")?.focus();
      }
    },
  });
  const root = el("div", { class: "search" }, el("label", { for: "search", class: "away" }), input, el("div", { class: "found" }, results, status));
  root.addEventListener("focusout", (event) => {
    if (!root.contains(event.relatedTarget)) hide();
  });
  root.addEventListener("keydown", (event) => {
    const here = event.target.closest("li");
    if (!here) return;
    if (event.key === "Escape") {
      clear();
      input.focus();
    }
    const next = { ArrowDown: here.nextElementSibling, ArrowUp: here.previousElementSibling }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      (next?.querySelector("button") ?? input).focus();
    }
  });

  function hide() {
    results.hidden = true;
    status.textContent = "";
  }

  function clear() {
    input.value = "";
    hide();
  }

  function show() {
    const found = matches(app.model, app.notes, input.value);
    results.hidden = found.length === 0;
    results.replaceChildren(...found.slice(0, MOST_FOUND).map((v) => hit(v)));
    if (!input.value.trim()) status.textContent = "";
    else if (!found.length) status.textContent = t("search_nothing");
    else status.textContent = t(found.length > MOST_FOUND ? "search_more" : "search_count", { count: whole(found.length), shown: MOST_FOUND });
  }

  function hit(v) {
    const drawn = app.shown.node[v];
    return el("li", {}, el("button", {
      type: "button",
      onclick: () => {
        clear();
        select(app.model.id(v));
        app.stage.focus(app.model.id(v));
      },
    }, el("bdi", { class: "id" }, app.model.id(v)), app.notes.labelOf(v) && el("bdi", { class: "name" }, app.notes.labelOf(v)),
    app.notes.moduleOf(v) && el("bdi", { class: "hint" }, app.notes.moduleOf(v)), !drawn && el("span", { class: "hint" }, t("not_drawn"))));
  }

  return {
    root,
    relabel() {
      root.querySelector("label").textContent = t("search");
      input.placeholder = t("search_placeholder");
      status.textContent = "";
    },
  };
}

/** The features whose id, label, note or module holds all the words typed; exact ids first, then by importance. */
function matches(model, notes, typed) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const found = [];
  for (let v = 0; v < model.n; v++) {
    const text = [model.id(v), notes.labelOf(v), notes.noteOf(v), notes.moduleOf(v) ?? ""].join("\n").toLowerCase();
    if (words.every((word) => text.includes(word))) found.push(v);
  }
  const exact = (v) => (model.id(v).toLowerCase() === typed.trim().toLowerCase() ? 0 : 1);
  return found.sort((a, b) => exact(a) - exact(b) || model.relative[b] - model.relative[a]);
}
