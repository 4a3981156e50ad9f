"use strict";
// Draws charts (charts.py) as SVG: draw(plot, width, options) returns the picture, its legend, and its marks for
// pointers. Colours are classes, so that another theme or a printer needs no new drawing.
const Charts = (() => {
  const LETTER = 6.3, TICK = 11; // width of a letter and height of a line of tick labels, in pixels
  const { STATES, GREY, MINOR, MARKS } = JSON.parse(document.getElementById("names").textContent); // palette.py
  const DASHES = ["", "6 4", "2 3", "8 3 2 3"];
  const colourOf = (name, place) => GREY.includes(name) ? "faint" : STATES[name] || `s${place % 5}`;
  const rampOf = (shade) => `r${Math.min(7, Math.max(0, Math.floor(shade * 8)))}`;

  const make = (name, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes || {}))
      if (value !== undefined && value !== null && value !== "") node.setAttribute(key, typeof value === "number" ? +value.toFixed(1) : value);
    node.append(...children);
    return node;
  };
  const pick = (list, i) => !list || !list.length ? undefined : list.length === 1 ? list[0] : list[i];
  const short = (text, most) => text.length <= most ? text : `${text.slice(0, most / 2)}…${text.slice(1 - most / 2)}`;
  const number = (v) => v === 0 ? "0" : Math.abs(v) < 1e-3 || Math.abs(v) >= 1e6 ? v.toExponential(2).replace(/\.?0+e/, "e")
    : String(+v.toPrecision(5));
  const finite = (values) => values.filter((v) => typeof v === "number" && isFinite(v));

  // -- axes

  const linear = (low, high, from, to, most) => {
    const rough = (high - low) / Math.max(1, most), power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((m) => m * power >= rough * 0.999) * power, ticks = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) ticks.push(+v.toPrecision(12));
    return { at: (v) => from + (v - low) / (high - low) * (to - from), ticks: ticks.map((v) => [v, number(v)]) };
  };
  const logarithmic = (low, high, from, to) => {
    const ends = [Math.log10(low), Math.log10(high)], ticks = [];
    const steps = ends[1] - ends[0] < 2.5 ? [1, 2, 5] : [1];
    for (let k = Math.floor(ends[0]); k <= ends[1]; k++)
      for (const m of steps) { const v = m * 10 ** k; if (v >= low * 0.999 && v <= high * 1.001) ticks.push([v, number(v)]); }
    return { at: (v) => from + (Math.log10(v) - ends[0]) / (ends[1] - ends[0]) * (to - from), ticks };
  };
  const words = (names, from, to) => {
    const step = (to - from) / names.length;
    return { at: (w) => from + (names.indexOf(String(w)) + 0.5) * step, ticks: names.map((w) => [w, short(w, 16)]), step };
  };
  // The ends of an axis around `values`, with a margin.
  const around = (values, log) => {
    const some = finite(values).filter((v) => !log || v > 0);
    if (!some.length) return [log ? 1 : 0, log ? 10 : 1];
    let low = some.reduce((a, b) => Math.min(a, b)), high = some.reduce((a, b) => Math.max(a, b));
    if (log) { const pad = low === high ? 2 : (high / low) ** 0.04; return [low / pad, high * pad]; }
    const pad = low === high ? Math.abs(low) * 0.05 || 0.5 : (high - low) * 0.04;
    return [low - pad, high + pad];
  };
  // The ticks that leave room for each other.
  const thinned = (ticks, at, size) => {
    let end = -Infinity;
    return ticks.filter(([v, text]) => {
      const half = size(text) / 2, place = at(v);
      if (Math.abs(place - end) < half + 4 && end !== -Infinity && place - half < end + 4) return false;
      end = place + half;
      return true;
    });
  };

  // Axes with grid and names in a picture; `x` and `y` are {values, log, words, name}. Returns the scales.
  const axes = (svg, width, height, x, y, square) => {
    const yAxis = (from, to) => y.words ? words(y.words, from, to)
      : y.log ? logarithmic(...around(y.values, true), from, to)
      : linear(...(square ? [-0.02, 1.02] : around(y.values)), from, to, 6);
    const labels = yAxis(0, 1).ticks.map(([, text]) => text.length);
    const left = 24 + Math.min(120, LETTER * Math.max(2, ...labels)), right = width - 14, top = 10;
    const slanted = x.words && x.words.some((w) => short(w, 16).length * LETTER > (right - left) / x.words.length - 6);
    const bottom = height - (slanted ? 38 + 3.6 * Math.min(16, Math.max(...x.words.map((w) => w.length))) : 40);
    const xs = x.words ? words(x.words, left, right) : x.log ? logarithmic(...around(x.values, true), left, right)
      : linear(...(square ? [-0.02, 1.02] : around(x.values)), left, right, Math.min(8, (right - left) / 60));
    const ys = yAxis(bottom, top);
    if (x.whole) xs.ticks = xs.ticks.filter(([v]) => Number.isInteger(v));
    const grid = make("g", { class: "grid" }), text = make("g", { class: "ticks" });
    for (const [v, label] of slanted ? xs.ticks : thinned(xs.ticks, xs.at, (t) => t.length * LETTER)) {
      const at = xs.at(v);
      grid.append(make("path", { d: `M${at} ${top}V${bottom}` }));
      text.append(make("text", slanted ? { transform: `translate(${at + 4} ${bottom + 12}) rotate(-30)`, "text-anchor": "end" }
        : { x: at, y: bottom + 15, "text-anchor": "middle" }, label));
    }
    for (const [v, label] of ys.ticks) {
      grid.append(make("path", { d: `M${left} ${ys.at(v)}H${right}` }));
      text.append(make("text", { x: left - 6, y: ys.at(v) + 4, "text-anchor": "end" }, label));
    }
    text.append(make("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle", class: "name" }, x.name));
    text.append(make("text", { transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle", class: "name" },
      short(y.name, 40)));
    svg.append(grid, text);
    return { xs, ys, left, right, top, bottom };
  };

  // -- marks

  const STAR = "M0-8L2.1-2.6L7.6-2.5L3.3 1.1L4.9 6.5L0 3.4L-4.9 6.5L-3.3 1.1L-7.6-2.5L-2.1-2.6Z";
  const SHAPES = ["M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z", "M0-5L5 0L0 5L-5 0Z", "M-3.8-3.8H3.8V3.8H-3.8Z", "M0-5L5 4H-5Z", "M0-1.4L3.4-4.8L4.8-3.4L1.4 0L4.8 3.4L3.4 4.8L0 1.4L-3.4 4.8L-4.8 3.4L-1.4 0L-4.8-3.4L-3.4-4.8Z"];
  const symbol = (series, place, colour) => {
    if (series.name === "winner") return { d: STAR, class: `${colour} star` };
    if (series.mode === "faint") return { d: SHAPES[0], class: `${colour} ring` };
    return { d: SHAPES[MARKS[series.name] ?? place % 5], class: `${colour} dot` };
  };

  const draw = (plot, width, options) => {
    const svg = make("svg", { class: "chart" }), found = { svg, hits: [], legend: [] };
    const height = makers[plot.type](plot, width, svg, found, options || {});
    for (const [key, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, width, height })) svg.setAttribute(key, value);
    return found;
  };

  const panel = (plot, width, svg, found, options) => {
    const finished = plot.series.some((s) => !MINOR.includes(s.name));
    const series = plot.series.filter((s) => options.pruned || !finished || !MINOR.includes(s.name));
    const xs = series.flatMap((s) => s.x), ys = series.flatMap((s) => s.y);
    const height = plot.equal ? Math.min(460, width) : plot.words.length > 4 ? 320 : 290;
    const x = { values: xs, log: plot.logx, words: plot.words.length && plot.words, name: plot.x,
      whole: xs.every((v) => Number.isInteger(v)) }, y = { values: ys, log: plot.logy, name: plot.y };
    if (plot.equal) even(x, y, width, height);
    const box = axes(svg, width, height, x, y, plot.square);
    if (plot.square)
      svg.append(make("path", { d: `M${box.xs.at(0)} ${box.ys.at(0)}L${box.xs.at(1)} ${box.ys.at(1)}`, class: "faint line", "stroke-dasharray": "2 4" }));
    const places = {};
    for (const one of series) {
      const fresh = !(one.name in places), place = places[one.name] ??= Object.keys(places).length;
      const colour = colourOf(one.name, place), line = one.mode.endsWith("line") || one.mode === "step";
      const many = one.name in STATES || GREY.includes(one.name), dash = MARKS[one.name] === 4 ? "2 3" : many ? "" : DASHES[place % 4];
      const points = one.x.map((v, i) => [box.xs.at(v), typeof one.y[i] === "number" ? box.ys.at(one.y[i]) : null, i]);
      const mark = symbol(one, place, colour);
      if (fresh) found.legend.push({ name: one.name, ...(line ? { line: true, class: `${colour} line ${one.mode === "faint line" ? "thin" : ""}`, dash } : mark) });
      if (line) {
        let d = "", pen = false;
        for (const [px, py] of points) {
          if (py === null) { pen = false; continue; }
          d += !pen ? `M${px.toFixed(1)} ${py.toFixed(1)}` : one.mode === "step" ? `H${px.toFixed(1)}V${py.toFixed(1)}` : `L${px.toFixed(1)} ${py.toFixed(1)}`;
          pen = true;
        }
        const kind = one.name === "winner" || one.name === "best so far" ? "strong" : one.mode === "faint line" ? "thin" : "";
        svg.append(make("path", { d, class: `${colour} line ${kind}`, "stroke-dasharray": dash, "data-t": pick(one.trials, 0) }));
      }
      const dots = line ? one.mode === "line" && !many && points.length <= 20 || points.length === 1 : true;
      for (const [px, py, i] of points) {
        if (py === null) continue;
        const trial = pick(one.trials, i);
        if (dots) {
          const shaded = one.shade.length ? { ...mark, class: `${rampOf(pick(one.shade, i))} dot edged` } : mark;
          svg.append(make("path", { ...shaded, transform: `translate(${px.toFixed(1)} ${py.toFixed(1)})`, "data-t": trial }));
        }
        const told = pick(one.text, i) ?? one.name;
        found.hits.push({ x: px, y: py, trial, text: `${told}\n${plot.x} ${typeof one.x[i] === "number" ? number(one.x[i]) : one.x[i]}, ${plot.y} ${number(one.y[i])}` });
      }
    }
    return height;
  };

  // Makes a unit equally long on both axes, by widening the shorter one.
  const even = (x, y, width, height) => {
    const [[x0, x1], [y0, y1]] = [around(x.values), around(y.values)], room = [width - 70, height - 50];
    const unit = Math.max((x1 - x0) / room[0], (y1 - y0) / room[1]);
    x.values = [(x0 + x1 - unit * room[0]) / 2, (x0 + x1 + unit * room[0]) / 2];
    y.values = [(y0 + y1 - unit * room[1]) / 2, (y0 + y1 + unit * room[1]) / 2];
  };

  const bars = (plot, width, svg, found) => {
    const groups = Object.entries(plot.groups), dots = Object.keys(plot.low).length > 0;
    const longest = Math.max(0, ...plot.labels.map((l) => l.length));
    const above = longest > 18 && longest * LETTER > width * 0.45; // labels stand above their bars
    const thick = dots ? 13 : groups.length > 1 ? 9 : 14, row = thick * groups.length + (above ? 24 : 8);
    const left = above ? 12 : 14 + LETTER * longest, right = width - 22, top = 6, bottom = top + row * plot.labels.length;
    const values = [0, ...groups.flatMap(([name, v]) => [...v, ...(plot.low[name] || []), ...(plot.high[name] || [])])];
    const xs = linear(...around(values), left, right, Math.min(7, (right - left) / 60));
    const grid = make("g", { class: "grid" }), text = make("g", { class: "ticks" });
    for (const [v, label] of thinned(xs.ticks, xs.at, (t) => t.length * LETTER)) {
      grid.append(make("path", { d: `M${xs.at(v)} ${top}V${bottom}`, class: v === 0 ? "zero" : "" }));
      text.append(make("text", { x: xs.at(v), y: bottom + 15, "text-anchor": "middle" }, label));
    }
    text.append(make("text", { x: (left + right) / 2, y: bottom + 32, "text-anchor": "middle", class: "name" }, plot.x));
    svg.append(grid, text);
    plot.labels.forEach((label, i) => {
      const y = top + i * row;
      text.append(make("text", above ? { x: left, y: y + 13 } : { x: left - 6, y: y + row / 2 + 4, "text-anchor": "end" },
        above ? short(label, Math.floor((width - 20) / LETTER)) : label));
      groups.forEach(([name, all], g) => {
        const v = all[i], colour = colourOf(name, g), at = y + (above ? 19 : 4) + g * thick, middle = at + thick / 2 - 1;
        if (typeof v !== "number") return;
        const [low, high] = [plot.low[name]?.[i] ?? v, plot.high[name]?.[i] ?? v];
        if (dots) {
          svg.append(make("path", { d: `M${xs.at(low)} ${middle}H${xs.at(high)}M${xs.at(low)} ${middle - 4}v8M${xs.at(high)} ${middle - 4}v8`, class: `${colour} line` }));
          svg.append(make("path", { d: SHAPES[g % 4], class: `${colour} dot`, transform: `translate(${xs.at(v)} ${middle})` }));
        } else svg.append(make("rect", { x: Math.min(xs.at(0), xs.at(v)), y: at, width: Math.abs(xs.at(v) - xs.at(0)), height: thick - 1, class: `${colour} area` }));
        const range = dots && low !== high ? ` [${number(low)}, ${number(high)}]` : "";
        found.hits.push({ x0: Math.min(xs.at(0), xs.at(low)), x1: Math.max(xs.at(0), xs.at(high)), y0: at, y1: at + thick, x: xs.at(v), y: middle,
          text: `${label}${name ? `, ${name}` : ""}: ${number(v)}${range}` });
      });
    });
    if (groups.length > 1) groups.forEach(([name], g) => found.legend.push({ name, d: dots ? SHAPES[g % 4] : SHAPES[2], class: `${colourOf(name, g)} dot` }));
    return bottom + 38;
  };

  const parallel = (plot, width, svg, found, options) => {
    const count = plot.axes.length, left = 44, right = width - 44, top = 62, bottom = 300, height = 326;
    const at = (j) => count < 2 ? width / 2 : left + j * (right - left) / (count - 1), up = (h) => bottom - h * (bottom - top);
    plot.heights.forEach((heights, i) => {
      let d = "", pen = false;
      heights.forEach((h, j) => {
        if (h === null) { pen = false; return; }
        d += `${pen ? "L" : "M"}${at(j).toFixed(1)} ${up(h).toFixed(1)}`;
        pen = true;
        found.hits.push({ x: at(j), y: up(h), trial: plot.trials[i], text: `${plot.text[i]}\n${plot.axes[j].name} ${plot.values[i][j]}` });
      });
      const winner = plot.trials[i] === options.winner;
      svg.append(make("path", { d, "data-t": plot.trials[i], class: `line ${winner ? "s1 strong" : rampOf(plot.shade[i])}` }));
    });
    const text = make("g", { class: "ticks" }), room = Math.floor(2 * (right - left) / Math.max(1, count - 1) / LETTER) - 1;
    const end = (v, j) => plot.axes[j].words.length ? short(plot.axes[j].words.at(v ? -1 : 0), Math.min(12, Math.max(6, room >> 1))) : number(v ? plot.axes[j].high : plot.axes[j].low);
    plot.axes.forEach((axis, j) => {
      const anchor = j === 0 ? "start" : j === count - 1 ? "end" : "middle", x = j === 0 ? at(0) - 40 : j === count - 1 ? at(j) + 40 : at(j);
      svg.append(make("path", { d: `M${at(j)} ${top}V${bottom}`, class: "axis" }));
      text.append(make("text", { x, y: j % 2 ? 28 : 13, "text-anchor": anchor, class: "name" }, make("title", {}, axis.name), short(axis.name, Math.max(8, room))));
      text.append(make("text", { x: at(j), y: top - 8, "text-anchor": "middle" }, end(1, j)), make("text", { x: at(j), y: bottom + 18, "text-anchor": "middle" }, end(0, j)));
      const range = make("rect", { x: at(j) - 8, width: 16, y: top, height: 0, class: "brush" });
      const touch = make("rect", { x: at(j) - 16, width: 32, y: top - 4, height: bottom - top + 8, class: "touch" });
      let begun = null;
      const high = (event) => { const r = svg.getBoundingClientRect(); return Math.min(1, Math.max(0, (bottom - (event.clientY - r.top) * height / r.height) / (bottom - top))); };
      const show = (low, hi) => { range.setAttribute("y", up(hi)); range.setAttribute("height", Math.max(0, up(low) - up(hi))); };
      const known = options.brushes?.[axis.name];
      if (known) show(...known);
      touch.addEventListener("pointerdown", (event) => { begun = high(event); touch.setPointerCapture(event.pointerId); });
      touch.addEventListener("pointermove", (event) => { if (begun !== null) { const h = high(event); show(Math.min(begun, h), Math.max(begun, h)); } });
      touch.addEventListener("pointerup", (event) => {
        const ends = [begun, high(event)].sort((a, b) => a - b), wide = ends[1] - ends[0] > 0.02;
        begun = null;
        if (!wide) show(0, 0);
        options.brush?.(axis, wide ? ends : null);
      });
      svg.append(range, touch);
    });
    svg.append(text);
    found.legend = plot.ends.map((name, i) => ({ name: i ? name : `${plot.axes.at(-1).name} ${name}`, line: true, class: `r${i ? 7 : 0} line strong` }));
    if (plot.trials.includes(options.winner)) found.legend.push({ name: "winner", line: true, class: "s1 line strong" });
    return height;
  };

  const spans = (plot, width, svg, found) => {
    const row = 26, longest = Math.max(...plot.lanes.map((l) => l.length)), left = 14 + LETTER * Math.min(24, longest), right = width - 14;
    const bottom = 6 + row * plot.lanes.length, ends = plot.start.map((s, i) => s + plot.length[i]);
    const xs = linear(0, Math.max(1e-6, ...ends), left, right, Math.min(8, (right - left) / 60));
    const text = make("g", { class: "ticks" }), kinds = [...new Set(plot.kind)];
    for (const [v, label] of thinned(xs.ticks, xs.at, (t) => t.length * LETTER)) {
      svg.append(make("g", { class: "grid" }, make("path", { d: `M${xs.at(v)} 6V${bottom}` })));
      text.append(make("text", { x: xs.at(v), y: bottom + 15, "text-anchor": "middle" }, label));
    }
    plot.lanes.forEach((lane, i) => text.append(make("text", { x: left - 6, y: 6 + row * i + row / 2 + 4, "text-anchor": "end" }, short(lane, 24))));
    text.append(make("text", { x: (left + right) / 2, y: bottom + 32, "text-anchor": "middle", class: "name" }, "minutes"));
    plot.start.forEach((start, i) => {
      const box = { x: xs.at(start), y: 8 + row * plot.lane[i], width: Math.max(1, xs.at(ends[i]) - xs.at(start) - 0.6), height: row - 5 };
      svg.append(make("rect", { ...box, class: `${colourOf(plot.kind[i], 0)} area`, "data-t": pick(plot.trials, i) }));
      found.hits.push({ x0: box.x, x1: box.x + box.width, y0: box.y, y1: box.y + box.height, x: box.x + box.width / 2, y: box.y, trial: pick(plot.trials, i), text: plot.text[i] });
    });
    svg.append(text);
    found.legend = kinds.map((name) => ({ name, d: SHAPES[2], class: `${colourOf(name, 0)} dot` }));
    return bottom + 38;
  };

  const surface = (plot, width, svg, found) => {
    const box = axes(svg, width, 300, { values: plot.xs, log: plot.logx, words: plot.x_words.length && plot.x_words, name: plot.x },
      { values: plot.ys, log: plot.logy, words: plot.y_words.length && plot.y_words, name: plot.y });
    const place = (scale, names, v) => scale.at(names.length ? names[v] : v);
    const px = plot.xs.map((v) => place(box.xs, plot.x_words, v)), py = plot.ys.map((v) => place(box.ys, plot.y_words, v));
    const edges = (at, low, high) => at.map((v, i) => [i ? (at[i - 1] + v) / 2 : low, i < at.length - 1 ? (v + at[i + 1]) / 2 : high]);
    const all = finite(plot.z.flat()), low = Math.min(...all), high = Math.max(...all), up = !plot.minimize;
    const [ex, ey] = [edges(px, box.left, box.right), edges(py, box.bottom, box.top)];
    plot.z.forEach((line, j) => line.forEach((z, i) => {
      const share = high > low ? (z - low) / (high - low) : 0.5, cell = { x: ex[i][0], y: ey[j][1], width: ex[i][1] - ex[i][0] + 0.5, height: ey[j][0] - ey[j][1] + 0.5 };
      svg.append(make("rect", { ...cell, class: `${rampOf(up ? share : 1 - share)} area` }));
    }));
    plot.points.x.forEach((x, i) => {
      const [cx, cy] = [place(box.xs, plot.x_words, x), place(box.ys, plot.y_words, plot.points.y[i])];
      svg.append(make("path", { d: SHAPES[0], class: "over", transform: `translate(${cx.toFixed(1)} ${cy.toFixed(1)})`, "data-t": pick(plot.points.trials, i) }));
      found.hits.push({ x: cx, y: cy, trial: pick(plot.points.trials, i), text: pick(plot.points.text, i) });
    });
    found.legend = [up ? low : high, up ? high : low].map((v, i) => ({ name: `${plot.value} ${number(v)}`, d: SHAPES[2], class: `r${i ? 7 : 0} dot edged` }));
    return 300;
  };

  const matrix = (plot, width, svg, found) => {
    const left = 34 + LETTER * Math.min(16, Math.max(...plot.rows.map((r) => r.length))), row = 24, top = 6;
    const step = Math.min(64, (width - left - 10) / plot.columns.length), bottom = top + row * plot.rows.length;
    const text = make("g", { class: "ticks" });
    plot.rows.forEach((name, i) => text.append(make("text", { x: left - 6, y: top + row * (i + 0.5) + 4, "text-anchor": "end" }, short(name, 16))));
    plot.columns.forEach((name, j) => text.append(make("text", { transform: `translate(${left + step * (j + 0.5) + 4} ${bottom + 12}) rotate(-40)`, "text-anchor": "end" }, short(name, 14))));
    plot.counts.forEach((line, i) => {
      const total = Math.max(1, line.reduce((a, b) => a + b, 0));
      line.forEach((n, j) => {
        const cell = { x: left + step * j, y: top + row * i, width: step - 1, height: row - 1 }, share = n / total;
        svg.append(make("rect", { ...cell, class: n ? `${rampOf(share * 0.999)} area` : "empty" }));
        if (n && step > 18) svg.append(make("text", { x: cell.x + step / 2, y: cell.y + 15, "text-anchor": "middle", class: share > 0.5 ? "on" : "in" }, String(n)));
        if (n) found.hits.push({ x0: cell.x, x1: cell.x + step, y0: cell.y, y1: cell.y + row, x: cell.x + step / 2, y: cell.y, text: `${plot.rows[i]} → ${plot.columns[j]}: ${n} (${(100 * share).toFixed(1)} %)` });
      });
    });
    const deep = bottom + 18 + 4.2 * Math.min(14, Math.max(...plot.columns.map((c) => c.length)));
    text.append(make("text", { x: left + step * plot.columns.length / 2, y: deep + 12, "text-anchor": "middle", class: "name" }, plot.x));
    text.append(make("text", { transform: `translate(11 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle", class: "name" }, plot.y));
    svg.append(text);
    return deep + 20;
  };

  const makers = { Panel: panel, Bars: bars, Parallel: parallel, Spans: spans, Heatmap: surface, Matrix: matrix };

  // The smallest width of a plot; a narrower page scrolls.
  const least = (plot) => plot.type === "Parallel" ? 90 + 52 * plot.axes.length : plot.type === "Matrix" ? 120 + 26 * plot.columns.length : 0;
  const swatch = (one) => make("svg", { viewBox: "-12 -8 24 16", width: 24, height: 16, class: "chart" },
    make("path", { d: one.line ? "M-11 0H11" : one.d, class: one.class, "stroke-dasharray": one.dash }));
  return { draw, least, swatch, SHAPES };
})();
