"use strict";
(() => {
  const root = document.documentElement;
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"],
    displayModeBar: innerWidth >= 640 };
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  // The colours of data (see plotly_charts.py) and their brighter twins on a dark page.
  const bright = { "#2563a8": "#6fa8ea", "#d97706": "#f0a13c", "#0f8a5f": "#3fc28f", "#9333a8": "#cf8be0",
    "#b45309": "#e0954f", "#c0392b": "#f0796b", "#9aa3ad": "#7f8a95",
    "#777777": "#c3cad1" };

  // The figure as it was written, with the theme's colours.
  const figureOf = (element) => {
    let text = element.source;
    if (isDark()) text = text.replace(/#[0-9a-f]{6}/g, (found) => bright[found] || found);
    const figure = JSON.parse(text);
    if (figure.layout.wide) element.style.minWidth = `${figure.layout.wide}px`;
    delete figure.layout.wide;
    const line = colour("--line");
    for (const name of ["xaxis", "yaxis"]) {
      Object.assign(figure.layout[name] ||= {}, { gridcolor: line, linecolor: line, tickcolor: line });
    }
    Object.assign(figure.layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--ink") }, uirevision: "kept" });
    return figure;
  };

  const draw = (element) => {
    if (element.source) return;
    const script = element.querySelector("script");
    element.source = script.textContent;
    script.remove();
    const figure = figureOf(element);
    Plotly.newPlot(element, figure.data, figure.layout, config);
  };

  const plots = [...document.querySelectorAll(".plot")];
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "600px" });
  for (const plot of plots) watcher.observe(plot);
  addEventListener("beforeprint", () => plots.forEach(draw));

  const repaint = () => {
    for (const plot of plots) {
      if (!plot.source) continue;
      const figure = figureOf(plot);
      Plotly.react(plot, figure.data, figure.layout, config);
    }
  };
  dark.addEventListener("change", repaint);
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    repaint();
  });

  // A filter is words that must all occur, or comparisons of a column: "adamw d_model>=128".
  const compare = { ">": (a, b) => a > b, "<": (a, b) => a < b, ">=": (a, b) => a >= b, "<=": (a, b) => a <= b,
    "=": (a, b) => a === b };
  const matches = (text, headings, cells) => text.toLowerCase().split(/\s+/).filter(Boolean).every((word) => {
    const found = word.match(/^(.+?)(>=|<=|=|>|<)(.+)$/);
    const column = found ? headings.indexOf(found[1]) : -1;
    if (column < 0) return cells.some((cell) => cell.includes(word));
    const [have, want] = [parseFloat(cells[column]), parseFloat(found[3])];
    if (found[2] === "=" && (isNaN(have) || isNaN(want))) return cells[column] === found[3];
    return compare[found[2]](have, want);
  });

  for (const box of document.querySelectorAll(".trials")) {
    const headings = [...box.querySelectorAll("th")].map((th) => th.textContent.toLowerCase());
    const body = box.querySelector("tbody");
    const rows = [...body.rows].map((row) => [row, [...row.cells].map((cell) => cell.textContent.toLowerCase())]);
    const [filter, state, count] = [".filter", ".state", ".count"].map((name) => box.querySelector(name));
    const apply = () => {
      let shown = 0;
      for (const [row, cells] of rows) {
        row.hidden = !((!state.value || row.dataset.state === state.value) && matches(filter.value, headings, cells));
        shown += !row.hidden;
      }
      count.textContent = shown;
    };
    filter.addEventListener("input", apply);
    state.addEventListener("change", apply);
    box.querySelectorAll("th").forEach((th, column) => th.addEventListener("click", () => {
      const down = th.dataset.order !== "down";
      th.dataset.order = down ? "down" : "up";
      const key = (cells) => { const n = parseFloat(cells[column]); return isNaN(n) ? cells[column] : n; };
      rows.sort(([, a], [, b]) => {
        const [x, y] = [key(a), key(b)];
        const order = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1;
        return down ? order : -order;
      });
      body.append(...rows.map(([row]) => row));
    }));
  }
})();
