// The picture on the screen: a canvas of edges, a canvas of lit edges, and SVG with what can be pointed at and focused.

class Stage {
  /** @param makeScene makes the scene of a size from the state as it is */
  constructor(root, makeScene) {
    this.root = root;
    this.makeScene = makeScene;
    this.base = el("canvas", { class: "edges", "aria-hidden": "true" });
    this.glow = el("canvas", { class: "edges", "aria-hidden": "true" });
    this.svg = el("svg:svg", { class: "nodes", role: "group" });
    this.layers = el("div", { class: "layers" }, this.base, this.glow, this.svg);
    this.tip = el("div", { class: "tip", role: "status", hidden: true });
    root.append(this.layers, this.tip);
    this.moved = null; // the view while a gesture lasts
    this.hovered = null;
    this.drawn = () => {}; // called after each drawing
    new ResizeObserver(once(() => this.draw())).observe(root);
  }

  /** Draw everything anew. */
  draw() {
    const size = { width: this.root.clientWidth, height: this.root.clientHeight };
    if (!size.width || !size.height) return;
    const focus = this.svg.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.moved = null;
    this.layers.style.transform = "";
    this.scene = this.makeScene(size);
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    paintLinks(new CanvasSurface(this.base, size, this.ratio), this.scene.placed.links, this.scene.view, size);
    for (const [key, value] of Object.entries({ width: size.width, height: size.height })) this.svg.setAttribute(key, value);
    this.svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    this.svg.setAttribute("aria-label", t("graph_name"));
    this.svg.replaceChildren();
    this.hovered = null;
    this.lit = this.resting();
    const surface = new SvgSurface(this.svg);
    paintNodes(surface, this.scene, this.lit);
    this.elements = new Map(Array.from(this.svg.children, (node) => [node.dataset.key, node]));
    paintBands(surface, this.scene);
    this.#shine();
    this.#entrance();
    if (focus !== null) this.focus(focus);
    this.root.classList.toggle("zoomed", this.scene.view.zoom > this.scene.fit.zoom * 1.01);
    this.drawn();
  }

  /** What is lit while nothing is pointed at: the neighbourhood of the selected feature. */
  resting() {
    const item = state.selected ? this.scene.itemOf(state.selected) : null;
    return item ? this.scene.around(item) : null;
  }

  /** Light the neighbourhood of an item or a link, or what rests lit. */
  light(lit) {
    this.lit = lit ?? this.resting();
    for (const [key, node] of this.elements) {
      const item = this.scene.byKey.get(key);
      if (this.lit && !this.lit.items.has(item)) node.setAttribute("opacity", FADED);
      else node.removeAttribute("opacity");
      const wanted = showsLabel(item, this.scene, this.lit);
      const label = node.querySelector("text.label");
      if (!wanted && label) label.remove();
      if (wanted && !label) {
        const { view } = this.scene;
        paintLabel(new SvgSurface(node), item, { x: item.x * view.zoom + view.x, y: item.y * view.zoom + view.y }, this.scene);
      }
    }
    this.#shine();
  }

  #shine() {
    this.base.style.opacity = this.lit ? DIMMED : 1;
    const surface = new CanvasSurface(this.glow, this.scene.size, this.ratio);
    if (this.lit) paintLinks(surface, this.lit.links, this.scene.view, this.scene.size);
  }

  /** The one feature that the tab key reaches; the arrow keys go on from there. */
  #entrance() {
    const first = this.scene.itemOf(state.selected)?.key ?? this.scene.placed.items[0]?.key;
    const node = this.elements.get(first) ?? this.elements.values().next().value;
    node?.setAttribute("tabindex", 0);
  }

  focus(key) {
    const node = this.elements.get(key);
    if (!node) return;
    for (const other of this.svg.querySelectorAll('[tabindex="0"]')) other.setAttribute("tabindex", -1);
    node.setAttribute("tabindex", 0);
    node.focus({ preventScroll: true });
  }

  /** Show another view at once by moving the picture as it is; it is drawn anew when the gesture rests. */
  move(view) {
    this.moved = view;
    const { view: drawn } = this.scene;
    const scale = view.zoom / drawn.zoom;
    this.layers.style.transform = `translate(${view.x - drawn.x * scale}px, ${view.y - drawn.y * scale}px) scale(${scale})`;
    this.hideTip();
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.settle(), 140);
  }

  settle() {
    clearTimeout(this.pause);
    if (!this.moved) return;
    const view = this.scene.stateOf(this.moved);
    this.moved = null;
    change(view);
  }

  get view() {
    return this.moved ?? this.scene.view;
  }

  /** Zoom by a factor, the point of the stage staying where it is. */
  zoomAt(x, y, factor) {
    const { view } = this;
    const least = this.scene.fit.zoom * 0.7;
    const most = Math.max(24, this.scene.fit.zoom * 4);
    const zoom = Math.min(most, Math.max(least, view.zoom * factor));
    const scale = zoom / view.zoom;
    this.move({ zoom, x: x - (x - view.x) * scale, y: y - (y - view.y) * scale });
  }

  pan(dx, dy) {
    const { view } = this;
    this.move({ ...view, x: view.x + dx, y: view.y + dy });
  }

  showAll() {
    this.moved = null;
    if (state.zoom === 0) this.draw();
    else change({ zoom: 0, x: 0, y: 0 });
  }

  /** The item at a point of the stage: the nearest within reach. */
  itemAt(x, y) {
    const { zoom, x: dx, y: dy } = this.scene.view;
    let best = null;
    let least = Infinity;
    for (const item of this.scene.placed.items) {
      const distance = Math.hypot(item.x * zoom + dx - x, item.y * zoom + dy - y);
      if (distance < Math.min(least, radiusOf(item, zoom) + 6)) {
        best = item;
        least = distance;
      }
    }
    return best;
  }

  /** The link at a point of the stage: the nearest within five pixels, of near ones the strongest. */
  linkAt(x, y) {
    let best = null;
    for (const link of this.scene.placed.links) {
      const curve = curveOf(link, this.scene.view);
      if (x < curve[0] || x > curve[6]) continue;
      if (Math.abs(heightAt(curve, x) - y) <= 5) best = link;
    }
    return best;
  }

  showTip(text, x, y) {
    this.tip.textContent = text;
    this.tip.hidden = false;
    const left = Math.min(x + 14, this.root.clientWidth - this.tip.offsetWidth - 6);
    const below = y + 18 + this.tip.offsetHeight < this.root.clientHeight;
    this.tip.style.left = `${Math.max(6, left)}px`;
    this.tip.style.top = `${below ? y + 18 : y - this.tip.offsetHeight - 12}px`;
  }

  hideTip() {
    this.tip.hidden = true;
  }
}

/** The height of a link's curve over a point x between its ends: its x rises with the parameter, so bisect. */
function heightAt([x1, y1, h1, , h2, , x2, y2], x) {
  let [low, high] = [0, 1];
  for (let step = 0; step < 12; step++) {
    const p = (low + high) / 2;
    const q = 1 - p;
    if (q ** 3 * x1 + 3 * q * q * p * h1 + 3 * q * p * p * h2 + p ** 3 * x2 < x) low = p;
    else high = p;
  }
  const p = (low + high) / 2;
  return y1 + (y2 - y1) * (3 * p * p - 2 * p ** 3);
}
