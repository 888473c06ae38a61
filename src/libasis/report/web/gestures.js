// Pointer, wheel, touch and keys on the stage.

function gestures(stage) {
  const { root } = stage;
  const pointers = new Map();
  let start = null; // of a press: place, whether it has moved

  const place = (event) => {
    const box = root.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  root.addEventListener("wheel", (event) => {
    const { x, y } = place(event);
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1);
    const factor = 2 ** (-pixels * (event.ctrlKey ? 0.01 : 0.0025));
    // with everything in sight, scrolling on belongs to the page
    if (factor < 1 && !event.ctrlKey && stage.view.zoom <= stage.scene.fit.zoom * 1.001) return;
    event.preventDefault();
    stage.zoomAt(x, y, factor);
  }, { passive: false });

  root.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    pointers.set(event.pointerId, place(event));
    start = { ...place(event), moved: pointers.size > 1 };
    root.setPointerCapture(event.pointerId);
  });

  root.addEventListener("pointermove", (event) => {
    const now = place(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") hover(stage, now);
      return;
    }
    if (pointers.size === 1) {
      if (!start.moved && Math.hypot(now.x - start.x, now.y - start.y) < 4) return;
      start.moved = true;
      stage.pan(now.x - before.x, now.y - before.y);
    } else {
      start.moved = true;
      pinch(stage, [...pointers.values()], [...pointers].map(([id, at]) => (id === event.pointerId ? now : at)));
    }
    pointers.set(event.pointerId, now);
  });

  const release = (event, click) => {
    if (!pointers.delete(event.pointerId) || pointers.size) return;
    if (click && start && !start.moved) press(stage, start);
    else stage.settle();
    start = null;
  };
  root.addEventListener("pointerup", (event) => release(event, true));
  root.addEventListener("pointercancel", (event) => release(event, false));
  root.addEventListener("pointerleave", () => {
    stage.hovered = null;
    stage.hideTip();
    if (stage.scene && !stage.moved) stage.light(null);
  });
  root.addEventListener("dblclick", (event) => {
    const { x, y } = place(event);
    if (!stage.itemAt(x, y)) stage.zoomAt(x, y, event.shiftKey ? 0.5 : 2);
  });
  root.addEventListener("focusin", (event) => {
    const item = stage.scene?.byKey.get(event.target.dataset?.key);
    if (item && event.target.matches(":focus-visible")) stage.light(stage.scene.around(item));
  });
  root.addEventListener("keydown", (event) => keys(stage, event));
}

function pinch(stage, [a, b], [c, d]) {
  const spread = (p, q) => Math.hypot(p.x - q.x, p.y - q.y);
  const centre = { x: (c.x + d.x) / 2, y: (c.y + d.y) / 2 };
  stage.pan(centre.x - (a.x + b.x) / 2, centre.y - (a.y + b.y) / 2);
  stage.zoomAt(centre.x, centre.y, spread(c, d) / Math.max(1, spread(a, b)));
}

function hover(stage, { x, y }) {
  if (stage.moved || !stage.scene) return;
  const item = stage.itemAt(x, y);
  const link = item ? null : stage.linkAt(x, y);
  const found = item ?? link;
  stage.root.classList.toggle("pointing", found !== null);
  if (found !== stage.hovered) {
    stage.hovered = found;
    stage.light(item ? stage.scene.around(item) : link ? stage.scene.along(link) : null);
  }
  if (found) stage.showTip(item ? stage.scene.title(item) : stage.scene.linkTitle(link), x, y);
  else stage.hideTip();
}

/** A click: an item is selected or, being a collapsed module, opened; a link selects its target; else nothing is. */
function press(stage, { x, y }) {
  const item = stage.itemAt(x, y);
  const link = item ? null : stage.linkAt(x, y);
  if (item) activate(stage, item);
  else if (link) activate(stage, link.b);
  else select("");
}

function activate(stage, item) {
  if (item.group) change({ collapsed: state.collapsed.filter((name) => name !== item.module) });
  else select(stage.scene.model.id(item.v));
}

/** Keys on a focused feature: arrows walk, the others do what the help says. */
function keys(stage, event) {
  const item = stage.scene?.byKey.get(event.target.dataset?.key);
  const middle = { x: stage.root.clientWidth / 2, y: stage.root.clientHeight / 2 };
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    "+": () => stage.zoomAt(middle.x, middle.y, 1.4),
    "=": () => stage.zoomAt(middle.x, middle.y, 1.4),
    "-": () => stage.zoomAt(middle.x, middle.y, 1 / 1.4),
    0: () => stage.showAll(),
    Escape: () => select(""),
    Backspace: () => back(),
  };
  if (item) {
    Object.assign(actions, {
      Enter: () => activate(stage, item),
      " ": () => activate(stage, item),
      p: () => item.members.forEach((v) => togglePin(stage.scene.model.id(v))),
      ArrowUp: () => step(stage, item, -1),
      ArrowDown: () => step(stage, item, 1),
      ArrowLeft: () => follow(stage, item, "b", "a"),
      ArrowRight: () => follow(stage, item, "a", "b"),
    });
  }
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}

function step(stage, item, by) {
  const column = stage.scene.placed.columns[item.column];
  const next = column[column.indexOf(item) + by];
  if (next) bring(stage, next);
}

/** Walk along the strongest link drawn from or to an item. */
function follow(stage, item, here, there) {
  const links = stage.scene.linksOf.get(item).filter((link) => link[here] === item);
  if (links.length) bring(stage, links[links.length - 1][there]);
}

/** Focus an item, moving the picture where it is out of sight. */
function bring(stage, item) {
  const { view, size } = stage.scene;
  const x = item.x * view.zoom + view.x;
  const y = item.y * view.zoom + view.y;
  const dx = x < 20 ? 60 - x : x > size.width - 20 ? size.width - 60 - x : 0;
  const dy = y < HEAD ? HEAD + 40 - y : y > size.height - FOOT ? size.height - FOOT - 40 - y : 0;
  if (dx || dy) {
    stage.pan(dx, dy);
    stage.settle();
  }
  stage.focus(item.key);
}
