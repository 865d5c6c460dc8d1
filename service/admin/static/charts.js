// Draws figure[data-chart="lines"] from the table in it: columns by number, the first one is x.
// The figures stay in the table for those who cannot see the curves; both are always the same.
"use strict";

(() => {
  const drawn = new Map();

  // light-dark() is resolved only where it is used: ask an element that uses it.
  function colour(name) {
    const probe = document.createElement("i");
    probe.className = "probe";
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  function read(figure, columns) {
    const series = [[], ...columns.map(() => [])];
    for (const row of figure.querySelectorAll("tbody tr")) {
      const cells = row.cells;
      series[0].push(Number(cells[0].dataset.value ?? cells[0].textContent));
      columns.forEach((column, i) => {
        const text = cells[column].dataset.value ?? cells[column].textContent;
        const value = parseFloat(text);
        series[i + 1].push(Number.isNaN(value) ? null : value);
      });
    }
    return series;
  }

  function options(plot, width, count) {
    const soft = colour("--soft");
    const line = colour("--line");
    const colours = (plot.dataset.colours || (count === 1 ? "3" : "1 2")).split(" ");
    const axis = { stroke: soft, font: "11px Inter, system-ui, sans-serif", ticks: { show: false }, gap: 6 };
    return {
      width,
      height: 190,
      padding: [10, 8, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 7 }, drag: { x: false, y: false }, y: false },
      scales: { x: { time: false }, y: plot.dataset.from ? { range: (u, low, high) => [Number(plot.dataset.from), Math.max(high, Number(plot.dataset.from) + 1e-6) * 1.06] } : {} },
      axes: [
        { ...axis, grid: { show: false }, size: 26, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000] },
        { ...axis, grid: { stroke: line, width: 1 }, size: 46 },
      ],
      series: [{}, ...[...Array(count).keys()].map((i) => ({ stroke: colour(`--plot-${colours[i] || i + 1}`), width: 2, points: { show: false }, spanGaps: true }))],
      hooks: { setCursor: [(u) => say(plot, u)] },
    };
  }

  // The values under the pointer, in the chart's key.
  function say(plot, u) {
    const keys = plot.parentElement.querySelectorAll(".key span");
    keys.forEach((key, i) => {
      const value = u.cursor.idx == null ? null : u.data[i + 1][u.cursor.idx];
      key.dataset.value = value == null ? "" : ` ${Number(value.toPrecision(4))}`;
    });
  }

  function draw(plot, anew) {
    const figure = plot.closest("figure");
    const columns = plot.dataset.columns.split(" ").map(Number);
    const data = read(figure, columns);
    const some = data[0].length > 1;
    figure.classList.toggle("drawn", some);
    let chart = drawn.get(plot);
    if (chart && (anew || !some)) {
      chart.destroy();
      drawn.delete(plot);
      chart = null;
    }
    if (!some || !plot.clientWidth) return;
    if (chart) {
      chart.setData(data);
    } else {
      chart = new uPlot(options(plot, plot.clientWidth, columns.length), data, plot);
      drawn.set(plot, chart);
      sizes.observe(plot);
    }
  }

  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const chart = drawn.get(target);
      if (chart && target.clientWidth && chart.width !== target.clientWidth) {
        chart.setSize({ width: target.clientWidth, height: 190 });
      }
    }
  });

  function all(anew) {
    for (const plot of [...drawn.keys()]) if (!plot.isConnected) drawn.delete(plot);
    document.querySelectorAll("figure[data-chart] .plot").forEach((plot) => draw(plot, anew));
  }

  document.addEventListener("lethe:part", (event) => {
    const figure = event.target.closest("figure[data-chart]");
    if (figure) {
      figure.hidden = !figure.querySelector("tbody tr");
      figure.querySelectorAll(".plot").forEach((plot) => draw(plot, false));
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all(true));
  document.addEventListener("htmx:load", () => all(false));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => all(false));
  else all(false);
})();
