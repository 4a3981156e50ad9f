"use strict";
(() => {
  const root = document.documentElement;
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // Colours of axes and text follow the page's theme; those of the data are the same in both.
  const themed = () => {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), tickcolor: colour("--line") };
    const found = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", "font.color": colour("--ink") };
    for (const name of ["xaxis", "yaxis"]) for (const key in axis) found[`${name}.${key}`] = axis[key];
    return found;
  };

  const draw = (element) => {
    if (element.dataset.drawn) return Promise.resolve();
    element.dataset.drawn = "yes";
    const source = element.querySelector("script");
    const figure = JSON.parse(source.textContent);
    source.remove();
    if (figure.layout.wide) element.style.minWidth = `${figure.layout.wide}px`;
    delete figure.layout.wide;
    for (const [path, value] of Object.entries(themed())) {
      const keys = path.split(".");
      let place = figure.layout;
      for (const key of keys.slice(0, -1)) place = place[key] = place[key] || {};
      place[keys.at(-1)] = value;
    }
    return Plotly.newPlot(element, figure.data, figure.layout, config);
  };

  const plots = [...document.querySelectorAll(".plot")];
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "600px" });
  for (const plot of plots) watcher.observe(plot);
  addEventListener("beforeprint", () => plots.forEach(draw));

  const repaint = () => { for (const plot of plots) if (plot.dataset.drawn) Plotly.relayout(plot, themed()); };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", repaint);
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
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
