// Two surfaces that take the same strokes: a canvas for the screen and PNG, SVG for nodes on the screen and for files.

const FONT = 'ui-sans-serif, system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "Hiragino Sans", "Yu Gothic UI", "Noto Sans JP", "Noto Sans CJK JP", sans-serif';

class CanvasSurface {
  constructor(canvas, size, ratio) {
    this.size = size;
    this.ratio = ratio;
    canvas.width = Math.round(size.width * ratio);
    canvas.height = Math.round(size.height * ratio);
    this.canvas = canvas;
    this.fade = 1;
    this.pen = canvas.getContext("2d");
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  /** Curves of one look: flat numbers, eight for each (start, two handles, end). */
  curves(points, { color, width, opacity, dash }) {
    const pen = this.pen;
    pen.strokeStyle = color;
    pen.lineWidth = width;
    pen.globalAlpha = opacity;
    pen.setLineDash(dash ?? []);
    pen.beginPath();
    for (let k = 0; k < points.length; k += 8) {
      pen.moveTo(points[k], points[k + 1]);
      pen.bezierCurveTo(points[k + 2], points[k + 3], points[k + 4], points[k + 5], points[k + 6], points[k + 7]);
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }

  /** A closed shape of points [x, y], or a circle where there is a radius. */
  shape({ points, x, y, radius }, { fill, stroke, width, opacity }) {
    const pen = this.pen;
    pen.beginPath();
    if (points) points.forEach(([px, py], k) => (k ? pen.lineTo(px, py) : pen.moveTo(px, py)));
    else pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.closePath();
    pen.globalAlpha = (opacity ?? 1) * this.fade;
    pen.setLineDash([]);
    if (fill) {
      pen.fillStyle = fill;
      pen.fill();
    }
    if (stroke) {
      pen.strokeStyle = stroke;
      pen.lineWidth = width;
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  text(x, y, text, { size, color, anchor, weight, halo }) {
    const pen = this.pen;
    pen.font = `${weight ?? 400} ${size}px ${FONT}`;
    pen.textAlign = { start: "left", middle: "center", end: "right" }[anchor ?? "start"];
    pen.globalAlpha = this.fade;
    if (halo) {
      pen.strokeStyle = halo;
      pen.lineWidth = 3;
      pen.lineJoin = "round";
      pen.strokeText(text, x, y);
    }
    pen.fillStyle = color;
    pen.fillText(text, x, y);
    pen.globalAlpha = 1;
  }

  /** Draw something as one layer of some opacity. */
  layer(opacity, draw) {
    const other = new CanvasSurface(document.createElement("canvas"), this.size, this.ratio);
    draw(other);
    this.pen.save();
    this.pen.setTransform(1, 0, 0, 1, 0, 0);
    this.pen.globalAlpha = opacity;
    this.pen.drawImage(other.canvas, 0, 0);
    this.pen.restore();
  }

  /** Draw one thing that a reader can point at; on a canvas it is only drawn. */
  thing(_, opacity, draw) {
    this.fade = opacity;
    draw(this);
    this.fade = 1;
  }
}

class SvgSurface {
  constructor(parent) {
    this.parent = parent;
  }

  curves(points, { color, width, opacity, dash }) {
    const round = (value) => Math.round(value * 100) / 100;
    let d = "";
    for (let k = 0; k < points.length; k += 8) {
      const p = Array.from(points.slice(k, k + 8), round);
      d += `M${p[0]} ${p[1]}C${p[2]} ${p[3]} ${p[4]} ${p[5]} ${p[6]} ${p[7]}`;
    }
    this.parent.append(el("svg:path", {
      d, fill: "none", stroke: color, "stroke-width": width, "stroke-opacity": opacity,
      "stroke-dasharray": dash ? dash.join(" ") : null,
    }));
  }

  shape({ points, x, y, radius }, { fill, stroke, width, opacity }) {
    const look = { fill: fill ?? "none", stroke: stroke ?? null, "stroke-width": stroke ? width : null, opacity };
    const r = (value) => Math.round(value * 100) / 100;
    this.parent.append(points
      ? el("svg:polygon", { points: points.map(([px, py]) => `${r(px)},${r(py)}`).join(" "), ...look })
      : el("svg:circle", { cx: r(x), cy: r(y), r: r(radius), ...look }));
  }

  text(x, y, text, { size, color, anchor, weight, halo }) {
    this.parent.append(el("svg:text", {
      class: halo ? "label" : null,
      x: Math.round(x * 100) / 100, y: Math.round(y * 100) / 100, fill: color, "font-size": size,
      "font-family": FONT, "font-weight": weight ?? 400, "text-anchor": anchor ?? "start", stroke: halo ?? null,
      "stroke-width": halo ? 3 : null, "stroke-linejoin": halo ? "round" : null, "paint-order": halo ? "stroke" : null,
    }, text));
  }

  layer(opacity, draw) {
    const group = el("svg:g", { opacity });
    this.parent.append(group);
    draw(new SvgSurface(group));
  }

  thing(attributes, opacity, draw) {
    const group = el("svg:g", { ...attributes, opacity: opacity < 1 ? opacity : null });
    this.parent.append(group);
    draw(new SvgSurface(group));
  }
}
