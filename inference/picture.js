// Draws the decoded path in XY and XYZ, and the sensors over time, on canvases. `content` is the data of the page.
"use strict";
const NEAR = 14; // pixels from a point at which its line is shown
const slider = document.getElementById("row"), now = document.getElementById("now"), tip = document.getElementById("tip");
const colour = (name) => getComputedStyle(document.body).getPropertyValue(name);

// The colour of a probability: between the two nearest colours of the scale, lighter on a dark page
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function shade(share) {
  const k = Math.max(1, content.scale.findIndex(([at]) => at >= share));
  const [[a, from], [b, to]] = [content.scale[k - 1], content.scale[k]];
  const part = (share - a) / (b - a), byte = (text, i) => parseInt(text.slice(1 + 2 * i, 3 + 2 * i), 16);
  const mixed = [0, 1, 2].map((i) => byte(from, i) + part * (byte(to, i) - byte(from, i)));
  return `rgb(${mixed.map((value) => (dark.matches ? value + 0.35 * (255 - value) : value)).join()})`;
}
let shades = [];

// A canvas in the pixels of the screen. Returns its context, width and height.
function prepared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const draw = canvas.getContext("2d");
  draw.scale(ratio, ratio);
  draw.font = "11px system-ui, sans-serif";
  return [draw, width, height];
}

function ticks(low, high, most) {
  const raw = (high - low) / most, base = 10 ** Math.floor(Math.log10(raw));
  const step = base * ([1, 2, 5, 10].find((m) => m * base >= raw) || 10);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, i) => +((first + i) * step).toFixed(6));
}

// The path from one direction. XY is seen from above and is moved by dragging, XYZ is turned.
class View {
  constructor(canvas, turns) {
    Object.assign(this, { canvas, turns });
    this.reset();
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      last = [event.offsetX, event.offsetY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", () => { last = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (last === null) return this.hover(event);
      const [dx, dy] = [event.offsetX - last[0], event.offsetY - last[1]];
      last = [event.offsetX, event.offsetY];
      if (turns) {
        this.around += dx / 150;
        this.above = Math.min(Math.PI / 2, Math.max(0, this.above + dy / 150));
      } else this.shift = [this.shift[0] + dx, this.shift[1] + dy];
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    canvas.addEventListener("dblclick", () => { this.reset(); this.draw(); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const by = Math.exp(-event.deltaY / 500), at = [event.offsetX - this.middle[0], event.offsetY - this.middle[1]];
      this.shift = this.shift.map((s, i) => at[i] - (at[i] - s) * by);
      this.zoom *= by;
      this.draw();
    }, { passive: false });
  }

  reset() {
    this.zoom = 1;
    this.shift = [0, 0];
    [this.around, this.above] = this.turns ? [-0.6, 0.6] : [0, Math.PI / 2];
  }

  turned([x, y, z]) {
    const [c, s] = [Math.cos(this.around), Math.sin(this.around)];
    return [x * c - y * s, (x * s + y * c) * Math.sin(this.above) + z * Math.cos(this.above)];
  }

  at(point) {
    const [u, v] = this.turned(point), [cu, cv] = this.centre;
    return [this.middle[0] + this.shift[0] + (u - cu) * this.scale, this.middle[1] + this.shift[1] - (v - cv) * this.scale];
  }

  fit(width, height) {
    const seen = [...content.path, ...(content.expected || [])].map((p) => this.turned(p));
    const [us, vs] = [seen.map((p) => p[0]), seen.map((p) => p[1])];
    const low = [Math.min(...us), Math.min(...vs)], high = [Math.max(...us), Math.max(...vs)];
    this.centre = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
    this.middle = [width / 2 + 16, height / 2 - 10];
    this.scale = this.zoom * Math.min((width - 80) / (high[0] - low[0] || 1), (height - 64) / (high[1] - low[1] || 1));
  }

  draw() {
    const [draw, width, height] = prepared(this.canvas);
    this.fit(width, height);
    if (this.turns) this.triad(draw, height); else this.axes(draw, width, height);
    const line = (points) => {
      draw.beginPath();
      points.forEach((point) => draw.lineTo(...this.at(point)));
      draw.stroke();
    };
    if (content.expected) {
      [draw.lineWidth, draw.strokeStyle, draw.globalAlpha] = [7, colour("--faint"), 0.5];
      line(content.expected);
      draw.globalAlpha = 1;
    }
    draw.lineWidth = 1.6;
    const places = content.path.map((point) => this.at(point));
    for (let i = 1; i < places.length; i++) {
      draw.strokeStyle = shades[i];
      draw.beginPath();
      draw.moveTo(...places[i - 1]);
      draw.lineTo(...places[i]);
      draw.stroke();
    }
    this.places = places;
    [draw.strokeStyle, draw.lineWidth] = [colour("--bad"), 2];
    for (const row of content.deviating) {
      if (content.rows[row][0] === null) continue;
      const [x, y] = this.at(content.rows[row]);
      draw.beginPath();
      for (const side of [1, -1]) { draw.moveTo(x - 4, y - 4 * side); draw.lineTo(x + 4, y + 4 * side); }
      draw.stroke();
    }
    const tool = content.rows[slider.value];
    if (tool[0] === null) return;
    [draw.strokeStyle, draw.lineWidth] = [colour("--ink"), 2];
    draw.beginPath();
    draw.arc(...this.at(tool), 7, 0, 7);
    draw.stroke();
  }

  axes(draw, width, height) {
    [draw.fillStyle, draw.strokeStyle, draw.lineWidth] = [colour("--soft"), colour("--grid"), 1];
    const value = (pixel, i) => this.centre[i] + (pixel - this.middle[i] - this.shift[i]) / this.scale * (i ? -1 : 1);
    const rule = (x0, y0, x1, y1) => { draw.beginPath(); draw.moveTo(x0, y0); draw.lineTo(x1, y1); draw.stroke(); };
    for (const x of ticks(value(40, 0), value(width, 0), width / 90)) {
      const px = this.middle[0] + this.shift[0] + (x - this.centre[0]) * this.scale;
      rule(px, 0, px, height - 30);
      if (px < width - 24) draw.fillText(x, px - 6, height - 16);
    }
    for (const y of ticks(value(height - 30, 1), value(0, 1), height / 60)) {
      const py = this.middle[1] + this.shift[1] - (y - this.centre[1]) * this.scale;
      rule(40, py, width, py);
      draw.fillText(y, 8, py + 4);
    }
    const unit = content.unit ? ` (${content.unit})` : "";
    draw.fillText(`X${unit}`, width - 14 - 5 * unit.length, height - 2);
    draw.fillText(`Y${unit}`, 8, 12);
  }

  triad(draw, height) {
    [draw.fillStyle, draw.strokeStyle, draw.lineWidth] = [colour("--soft"), colour("--soft"), 1];
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]].forEach((axis, i) => {
      const [u, v] = this.turned(axis);
      draw.beginPath();
      draw.moveTo(46, height - 46);
      draw.lineTo(46 + 26 * u, height - 46 - 26 * v);
      draw.stroke();
      draw.fillText("XYZ"[i], 42 + 36 * u, height - 42 - 36 * v);
    });
  }

  hover(event) {
    let nearest = -1, least = NEAR;
    this.places.forEach(([x, y], i) => {
      const away = Math.hypot(x - event.offsetX, y - event.offsetY);
      if (away < least) [nearest, least] = [i, away];
    });
    tip.hidden = nearest < 0;
    if (nearest < 0) return;
    tip.textContent = `${content.text[nearest]}   ${percent(content.sure[nearest])}`;
    [tip.style.left, tip.style.top] = [`${event.pageX + 14}px`, `${event.pageY + 14}px`];
  }
}

// The sensors: this recording over the known one, a strip for each channel; last the probability of each row
const time = document.getElementById("time"), LEFT = 120;
time.style.height = `${76 * (content.traces.length + 1) + 30}px`;
const seconds = content.seconds, [first, last] = [seconds[0], seconds[seconds.length - 1]];

function drawTime() {
  const [draw, width, height] = prepared(time), x = (s) => LEFT + (width - LEFT - 10) * (s - first) / (last - first || 1);
  const strips = [...content.traces, ["probability", content.probability, null]], high = (height - 30) / strips.length;
  if (content.deviating.length) {
    [draw.fillStyle, draw.globalAlpha] = [colour("--bad"), 0.15];
    const [from, to] = [content.deviating[0], content.deviating[content.deviating.length - 1]].map((row) => x(seconds[row]));
    draw.fillRect(from, 0, Math.max(1, to - from), height - 30);
    draw.globalAlpha = 1;
  }
  strips.forEach(([name, own, other], k) => {
    const known = [...own, ...(other || [])].filter((v) => v !== null), share = other === null;
    const [low, top] = share ? [0, 1] : [Math.min(...known), Math.max(...known)];
    const y = (v) => high * (k + 1) - 6 - (high - 12) * (v - low) / (top - low || 1);
    for (const [values, ink, thick] of [[other, "--faint", 1], [own, share ? "--good" : "--own", 1.3]]) {
      if (values === null) continue;
      [draw.strokeStyle, draw.lineWidth] = [colour(ink), thick];
      draw.beginPath();
      let down = false;
      values.forEach((v, i) => {
        if (v !== null) draw[down ? "lineTo" : "moveTo"](x(seconds[i]), y(v));
        down = v !== null;
      });
      draw.stroke();
    }
    draw.fillStyle = colour("--soft");
    draw.fillText(name, 4, high * (k + 0.5) + 4, LEFT - 10);
  });
  draw.fillStyle = draw.strokeStyle = colour("--soft");
  for (const s of ticks(first, last, (width - LEFT) / 90)) draw.fillText(s, x(s) - 6, height - 12);
  draw.fillText("seconds", 4, height - 12);
  [draw.strokeStyle, draw.lineWidth] = [colour("--ink"), 1];
  draw.beginPath();
  draw.moveTo(x(seconds[slider.value]), 0);
  draw.lineTo(x(seconds[slider.value]), height - 30);
  draw.stroke();
}

function pick(event) {
  if (!event.buttons) return;
  const at = first + (event.offsetX - LEFT) / (time.clientWidth - LEFT - 10) * (last - first);
  const row = seconds.findIndex((s) => s >= at);
  slider.value = row < 0 ? seconds.length - 1 : row;
  show();
}

const percent = (share) => `${(100 * share).toFixed(0)} %`;
const views = [new View(document.getElementById("flat"), false), new View(document.getElementById("solid"), true)];
function show() {
  shades = content.sure.map(shade);
  views.forEach((view) => view.draw());
  drawTime();
  const row = slider.value;
  now.textContent = `row ${row}   ${seconds[row].toFixed(1)} s   ${content.lines[row]}   ${percent(content.probability[row])}`;
}
for (const name of ["pointerdown", "pointermove"]) time.addEventListener(name, pick);
slider.addEventListener("input", show);
window.addEventListener("resize", show);
dark.addEventListener("change", show);
slider.max = content.rows.length - 1;
slider.value = Math.floor(content.rows.length / 3);
show();
