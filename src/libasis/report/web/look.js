// Which features and edges are drawn, and why the others are not. Nothing here touches the page.

/** What decides which edges are drawn: a count of the ablation, or a least strength over the section's largest. */
function cutOf(model, choice) {
  const best = model.measured("stable") ? "stable" : model.measured("required") ? "required" : "strength";
  const wanted = choice.show || best;
  return {
    kind: wanted !== "strength" && !model.measured(wanted) ? "strength" : wanted,
    least: choice.strength >= 0 ? choice.strength : model.firstStrength,
  };
}

/** Whether an edge passes the cut, whatever becomes of its ends. A section that was not measured goes by strength. */
function passesCut(model, cut, e) {
  const needed = cut.kind === "strength" ? null : model.sections[model.section[e]].needed[cut.kind];
  return needed ? model.rank[e] < needed.held : model.fraction[e] >= cut.least;
}

/**
 * The features and edges drawn.
 *
 * @returns node, edge: 1 where drawn; hidden: edges that exist but are not drawn, by reason
 */
function look(model, choice) {
  const edge = new Uint8Array(model.m);
  const cut = cutOf(model, choice);
  const always = new Set([choice.selected, choice.pinned].flat().map((id) => model.find(id)));
  const important = Uint8Array.from({ length: model.n }, (_, v) =>
    model.relative[v] >= choice.importance || always.has(v) ? 1 : 0);
  const hidden = { weak: 0, beyond: 0, unimportant: 0, focus: 0, absent: model.edgesTotal - model.m };
  for (let e = 0; e < model.m; e++) {
    if (!passesCut(model, cut, e)) hidden.weak++;
    else if (choice.most && model.rankIn[e] >= choice.most) hidden.beyond++;
    else if (!important[model.source[e]] || !important[model.target[e]]) hidden.unimportant++;
    else edge[e] = 1;
  }
  const focus = focused(model, choice, edge);
  if (focus) {
    for (let e = 0; e < model.m; e++) {
      if (edge[e] && !(focus.has(model.source[e]) && focus.has(model.target[e]))) {
        edge[e] = 0;
        hidden.focus++;
      }
    }
  }
  const linked = new Uint8Array(model.n);
  for (let e = 0; e < model.m; e++) if (edge[e]) linked[model.source[e]] = linked[model.target[e]] = 1;
  const node = Uint8Array.from({ length: model.n }, (_, v) =>
    important[v] && (!focus || focus.has(v)) && (linked[v] || choice.loners || always.has(v)) ? 1 : 0);
  const count = (flags) => flags.reduce((sum, flag) => sum + flag, 0);
  return { node, edge, linked, hidden, nodes: count(node), edges: count(edge) };
}

/** The features that the focus leaves, or null where it leaves all. */
function focused(model, choice, edge) {
  if (choice.focus === "pinned") return new Set(choice.pinned.map((id) => model.find(id)).filter((v) => v !== undefined));
  if (choice.focus === "near") {
    const centre = [choice.selected, ...choice.pinned].map((id) => model.find(id)).filter((v) => v !== undefined);
    return centre.length ? within(model, centre, choice.hops, edge) : null;
  }
  if (choice.focus === "paths") {
    const [a, b] = [model.find(choice.from), model.find(choice.to)];
    return a === undefined || b === undefined ? null : between(model, a, b, edge);
  }
  return null;
}

/** Features at most so many drawn edges away, in either direction. */
function within(model, centre, hops, edge) {
  const found = new Set(centre);
  let rim = centre;
  for (let step = 0; step < hops; step++) {
    const next = [];
    for (const v of rim) {
      for (const [edges, end] of [[model.out[v], model.target], [model.into[v], model.source]]) {
        for (const e of edges) {
          if (edge[e] && !found.has(end[e])) {
            found.add(end[e]);
            next.push(end[e]);
          }
        }
      }
    }
    rim = next;
  }
  return found;
}

/** Features on some path of drawn edges from a to b, the way the model computes; a and b themselves always. */
function between(model, a, b, edge) {
  const reach = (start, edges, end) => {
    const found = new Set([start]);
    const stack = [start];
    while (stack.length) {
      for (const e of edges[stack.pop()]) {
        if (edge[e] && !found.has(end[e])) {
          found.add(end[e]);
          stack.push(end[e]);
        }
      }
    }
    return found;
  };
  const after = reach(a, model.out, model.target);
  const before = reach(b, model.into, model.source);
  return new Set([a, b, ...[...after].filter((v) => before.has(v))]);
}
