"use strict";
// The report's page: draws the charts, links them with the table of trials, copies, sorts, filters.
const Page = (() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const tip = document.getElementById("tip");
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  // -- filter: `optimizer == adamw and (d_model >= 128 or not pruned)`; a word alone must occur in the row

  const OPERATORS = { ">": (a, b) => a > b, "<": (a, b) => a < b, ">=": (a, b) => a >= b, "<=": (a, b) => a <= b,
    "=": (a, b) => a === b, "==": (a, b) => a === b, "!=": (a, b) => a !== b };
  const parse = (text, headings) => {
    const tokens = text.toLowerCase().match(/"[^"]*"|'[^']*'|[<>=!]=|[<>=()]|[^\s<>=!()]+/g) || [];
    const bare = (token) => token.replace(/^["']|["']$/g, "");
    const fail = (message) => { throw new Error(message); };
    const either = () => {
      const some = [both()];
      while (tokens[0] === "or") { tokens.shift(); some.push(both()); }
      return (cells) => some.some((test) => test(cells));
    };
    const both = () => {
      const every = [one()];
      while (tokens.length && tokens[0] !== "or" && tokens[0] !== ")") { if (tokens[0] === "and") tokens.shift(); every.push(one()); }
      return (cells) => every.every((test) => test(cells));
    };
    const one = () => {
      const token = tokens.shift() ?? fail("the expression is not complete");
      if (token === "not") { const test = one(); return (cells) => !test(cells); }
      if (token === "(") { const test = either(); if (tokens.shift() !== ")") fail("a ) is missing"); return test; }
      if (token === ")" || token in OPERATORS) fail(`a name is missing before ${token}`);
      if (!(tokens[0] in OPERATORS)) return (cells) => cells.some((cell) => cell.includes(bare(token)));
      const column = headings.indexOf(bare(token)), compare = OPERATORS[tokens.shift()];
      if (column < 0) fail(`there is no column ${bare(token)}`);
      const value = bare(tokens.shift() ?? fail("a value is missing")), want = Number(value);
      return (cells) => { const have = Number(cells[column]); return isNaN(have) || isNaN(want) ? compare(cells[column], value) : compare(have, want); };
    };
    if (!tokens.length) return () => true;
    const test = either();
    if (tokens.length) fail(`${tokens[0]} is not expected`);
    return test;
  };

  // -- a section: its plots, and its table of trials if it has one. `kept` is what a reader has set before.

  const section = (box, kept) => {
    const state = Object.assign({ text: "", state: "", pruned: false, brushes: {}, order: null }, kept);
    const plots = all(".plot", box).map((element) => ({ element, content: JSON.parse(element.querySelector("script").textContent), width: 0 }));
    const winner = box.dataset.winner === undefined ? null : Number(box.dataset.winner);
    const table = box.querySelector(".trials");
    let chosen = null; // numbers of the trials that the filter leaves; null: all

    const dim = (element) => {
      for (const mark of all("svg [data-t]", element)) mark.classList.toggle("off", chosen !== null && !chosen.has(mark.dataset.t));
    };
    const draw = (plot) => {
      const width = Math.max(Charts.least(plot.content), Math.floor(plot.element.parentElement.clientWidth));
      if (!width || (plot.width === width && !plot.stale)) return;
      const drawn = Charts.draw(plot.content, width, { pruned: state.pruned, winner, brushes: state.brushes, brush });
      const legend = document.createElement("p");
      legend.className = "legend";
      if (drawn.legend.length > 1 || drawn.legend[0]?.name === "misses a constraint")
        for (const one of drawn.legend) { const item = document.createElement("span"); item.append(Charts.swatch(one), one.name); legend.append(item); }
      plot.element.replaceChildren(...(legend.childNodes.length ? [legend] : []), drawn.svg);
      Object.assign(plot, { width, stale: false, hits: drawn.hits, svg: drawn.svg });
      dim(plot.element);
    };
    const redraw = () => { for (const plot of plots) { plot.stale = true; draw(plot); } };
    const brush = (axis, range) => {
      delete state.brushes[axis.name];
      if (range) state.brushes[axis.name] = range;
      if (!table) return;
      const quoted = (text) => /[\s<>=!()]/.test(text) ? `"${text}"` : text;
      const terms = plots.filter((p) => p.content.type === "Parallel").flatMap((p) => p.content.axes).filter((a) => state.brushes[a.name]).map((a) => {
        const [low, high] = state.brushes[a.name], name = quoted(a.name);
        if (a.words.length) {
          const some = a.words.filter((_, i) => { const h = a.words.length < 2 ? 0 : i / (a.words.length - 1); return h >= low - 0.02 && h <= high + 0.02; });
          return `(${(some.length ? some : ["–none–"]).map((w) => `${name} == ${quoted(w)}`).join(" or ")})`;
        }
        const at = (h) => a.log ? a.low * (a.high / a.low) ** h : a.low + h * (a.high - a.low);
        return `${name} >= ${+at(low).toPrecision(4)} and ${name} <= ${+at(high).toPrecision(4)}`;
      });
      table.querySelector(".filter").value = state.text = terms.join(" and ");
      apply();
    };

    // Trials under the pointer stand out in every chart and in the table.
    const point = (number) => { for (const mark of all(".hot", box)) mark.classList.remove("hot");
      if (number !== undefined && number !== null) for (const mark of all(`[data-t="${number}"]`, box)) mark.classList.add("hot"); };
    const nearest = (plot, event) => {
      const frame = plot.svg.getBoundingClientRect(), x = (event.clientX - frame.left) * plot.width / frame.width, y = (event.clientY - frame.top) * plot.width / frame.width;
      let best = null, least = 24;
      for (const hit of plot.hits) {
        if (chosen !== null && hit.trial !== undefined && !chosen.has(String(hit.trial))) continue;
        const away = hit.x0 === undefined ? Math.hypot(x - hit.x, y - hit.y) : Math.hypot(Math.max(hit.x0 - x, 0, x - hit.x1), Math.max(hit.y0 - y, 0, y - hit.y1));
        if (away < least) [best, least] = [hit, away];
      }
      return best;
    };
    for (const plot of plots) {
      plot.element.addEventListener("pointermove", (event) => {
        const hit = plot.svg && nearest(plot, event);
        tip.hidden = !hit;
        point(hit?.trial);
        if (!hit) return;
        tip.textContent = hit.text;
        tip.style.left = `${Math.max(4, Math.min(event.pageX + 14, scrollX + innerWidth - tip.offsetWidth - 8))}px`;
        tip.style.top = `${event.pageY + 16}px`;
      });
      plot.element.addEventListener("pointerleave", () => { tip.hidden = true; point(null); });
    }

    let apply = () => {};
    if (table) {
      const buttons = all("th button", table), headings = buttons.map((b) => b.textContent.toLowerCase()), body = table.querySelector("tbody");
      const rows = [...body.rows].map((row) => [row, [...row.cells].map((cell) => cell.textContent.toLowerCase())]);
      const [filter, only, count, wrong] = [".filter", ".state", ".count", ".wrong"].map((name) => table.querySelector(name));
      apply = () => {
        let test = null;
        try { test = parse(state.text, headings); wrong.textContent = ""; } catch (error) { wrong.textContent = error.message; }
        filter.setAttribute("aria-invalid", String(test === null));
        if (test === null) return;
        for (const [row, cells] of rows) row.hidden = !((!state.state || row.dataset.state === state.state) && test(cells));
        const left = rows.filter(([row]) => !row.hidden);
        count.textContent = left.length;
        chosen = left.length === rows.length ? null : new Set(left.map(([row]) => row.dataset.t));
        dim(box);
      };
      filter.addEventListener("input", () => { state.text = filter.value; if (Object.keys(state.brushes).length) { state.brushes = {}; redraw(); } apply(); });
      only.addEventListener("change", () => { state.state = only.value; apply(); });
      const sort = (column, up) => {
        state.order = [column, up];
        buttons.forEach((button, i) => button.closest("th").setAttribute("aria-sort", i !== column ? "none" : up ? "ascending" : "descending"));
        const key = (cells) => { const n = parseFloat(cells[column]); return isNaN(n) ? cells[column] : n; };
        rows.sort(([, a], [, b]) => {
          const [x, y] = [key(a), key(b)];
          const order = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1;
          return up ? order : -order;
        });
        body.append(...rows.map(([row]) => row));
      };
      buttons.forEach((button, column) => button.addEventListener("click", () => sort(column, !(state.order?.[0] === column && state.order[1]))));
      body.addEventListener("pointerover", (event) => point(event.target.closest("tr")?.dataset.t));
      body.addEventListener("pointerleave", () => point(null));
      filter.value = state.text;
      only.value = state.state;
      if (state.order) sort(...state.order);
      apply();
    }
    const toggle = box.querySelector(".pruned");
    if (toggle) {
      toggle.checked = state.pruned;
      toggle.addEventListener("change", () => { state.pruned = toggle.checked; redraw(); });
    }
    return { state, plots, draw };
  };

  // -- the whole page

  let sections = {};
  const each = (work) => { for (const one of Object.values(sections)) for (const plot of one.plots) work(one, plot); };
  const start = () => {
    const before = sections;
    sections = Object.fromEntries(all("main > section").map((box) => [box.id, section(box, before[box.id]?.state)]));
    each((one, plot) => one.draw(plot));
  };
  let waiting = 0;
  addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => each((one, plot) => one.draw(plot))); });

  const copied = async (text) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = document.createElement("textarea"); // where a browser keeps its clipboard from pages of files
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    await copied(button.dataset.text ?? button.closest("article").querySelector(button.dataset.of).textContent);
    const label = button.textContent;
    button.textContent = "copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  start();
  return { start };
})();
