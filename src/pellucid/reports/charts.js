"use strict";
// Charts as SVG: lines, steps, bars and marks. Their colours are the page's variables, so a theme needs no redrawing.
//
// drawChart(place, chart) with chart = {
//   title, x: { label, range: [low, high], log }, y: the same, height (px), legend (bool), rule (a value of x),
//   series: [{ name, colour, kind: "line" | "step" | "bars" | "marks", points, width (px), opacity }]
// }. A point is { x, y } and may have a `tip` (lines of text); of bars `to`, where its bin ends; of marks `low`, `high`,
// `radius` (px), `star`, `label`.
const { drawChart, short } = (() => {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const CHARACTER_PX = 7, TOP_PX = 12, RIGHT_PX = 14, BOTTOM_PX = 46; // room around the plot
  const X_TICK_GAP_PX = 75, Y_TICK_GAP_PX = 45, HOVER_REACH_PX = 30;
  const drawn = new WeakMap(); // what each place shows, for the day its width changes
  const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    const { chart, width } = drawn.get(target);
    if (target.clientWidth && target.clientWidth !== width) drawChart(target, chart);
  }));

  function svg(name, attributes, ...children) {
    const made = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function html(name, className, ...children) {
    const made = document.createElement(name);
    made.className = className;
    made.append(...children);
    return made;
  }

  const short = (value) => String(Number(value.toPrecision(4)));

  function ticks({ range: [low, high], log }, count) {
    if (log) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        for (const factor of [1, 2, 5]) found.push(Number((factor * 10 ** power).toPrecision(12)));
      }
      const inside = found.filter((value) => value >= low && value <= high);
      if (inside.length > 1) return inside;
    }
    const rough = (high - low) / Math.max(count, 2), power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.85);
    const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12)));
  }

  function scale({ range: [low, high], log }, start, end) { // a value to its place in px
    const of = log ? Math.log10 : (value) => value;
    return (value) => start + (of(value) - of(low)) / (of(high) - of(low)) * (end - start);
  }

  // --- the parts of a chart ------------------------------------------------------------------------------------

  function axes(chart, box, toX, toY) {
    const parts = [];
    for (const value of box.xTicks) {
      parts.push(svg("line", { class: "grid", x1: toX(value), x2: toX(value), y1: box.top, y2: box.bottom }));
      parts.push(svg("text", { x: toX(value), y: box.bottom + 16, "text-anchor": "middle" }, String(value)));
    }
    for (const value of box.yTicks) {
      parts.push(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: toY(value), y2: toY(value) }));
      parts.push(svg("text", { x: box.left - 6, y: toY(value) + 4, "text-anchor": "end" }, String(value)));
    }
    const across = (box.left + box.right) / 2, down = (box.top + box.bottom) / 2;
    parts.push(svg("text", { x: across, y: box.bottom + 36, "text-anchor": "middle" }, chart.x.label));
    parts.push(svg("text", { transform: `translate(13 ${down}) rotate(-90)`, "text-anchor": "middle" }, chart.y.label));
    return parts;
  }

  function star(x, y, radius) {
    const corner = (k) => { const r = k % 2 ? radius / 2.3 : radius, a = Math.PI * (k / 5 - 0.5); return `${x + r * Math.cos(a)},${y + r * Math.sin(a)}`; };
    return svg("polygon", { points: Array.from({ length: 10 }, (_, k) => corner(k)).join(" ") });
  }

  function mark(point, x, y, box, toY) {
    const parts = [];
    if (point.low !== undefined) parts.push(svg("line", { class: "interval", x1: x, x2: x, y1: toY(point.low), y2: toY(point.high) }));
    parts.push(point.star ? star(x, y, point.radius * 1.3) : svg("circle", { cx: x, cy: y, r: point.radius }));
    if (point.label) {
      const half = point.label.length * CHARACTER_PX / 2;
      const anchor = x - half < box.left ? "start" : x + half > box.right ? "end" : "middle";
      parts.push(svg("text", { x, y: y - point.radius - 7, "text-anchor": anchor }, point.label));
    }
    return parts;
  }

  function path(points, toX, toY, steps) { // steps go up or down first, then across
    return points.map(({ x, y }, k) => (k === 0 ? `M${toX(x)} ${toY(y)}` : steps ? `V${toY(y)}H${toX(x)}` : `L${toX(x)} ${toY(y)}`)).join("");
  }

  function series({ kind, colour, points, width, opacity = 1 }, box, toX, toY) {
    const group = svg("g", { class: kind, opacity, style: `--colour: ${colour}` });
    if (kind === "line" || kind === "step") {
      group.append(svg("path", { d: path(points, toX, toY, kind === "step"), "stroke-width": width }));
    } else if (kind === "bars") {
      const bar = ({ x, to, y }) => svg("rect", { x: toX(x), width: Math.max(toX(to) - toX(x) - 0.5, 0.5), y: toY(y), height: toY(0) - toY(y) });
      group.append(...points.filter(({ y }) => y > 0).map(bar));
    } else {
      group.append(...points.flatMap((point) => mark(point, toX(point.x), toY(point.y), box, toY)));
    }
    return group;
  }

  // --- values under the pointer --------------------------------------------------------------------------------

  function targets(chart, toX, toY) { // every point with its place and what is said of it
    return chart.series.flatMap(({ name, points }) => points.map((point) => ({
      x: toX(point.to === undefined ? point.x : (point.x + point.to) / 2),
      y: toY(point.y),
      reach: point.to === undefined ? null : (toX(point.to) - toX(point.x)) / 2 + 0.5,
      tip: point.tip ?? [name, `${chart.x.label} ${short(point.x)}`, `${chart.y.label} ${short(point.y)}`],
    })));
  }

  function distance(target, x, y) { // bars are met anywhere above or below them
    if (target.reach !== null) return Math.abs(target.x - x) <= target.reach ? 0 : Infinity;
    return Math.hypot(target.x - x, target.y - y);
  }

  function follow(picture, chart, toX, toY) {
    const known = targets(chart, toX, toY), ring = svg("circle", { class: "ring", r: 6, visibility: "hidden" });
    const tip = html("div", "tip");
    tip.hidden = true;
    picture.append(ring);
    picture.addEventListener("pointermove", (event) => {
      const zoom = picture.viewBox.baseVal.width / picture.clientWidth;
      const near = known.reduce((best, target) => {
        const away = distance(target, event.offsetX * zoom, event.offsetY * zoom);
        return away < best.away ? { target, away } : best;
      }, { target: null, away: HOVER_REACH_PX });
      tip.hidden = near.target === null;
      ring.setAttribute("visibility", near.target === null || near.target.reach !== null ? "hidden" : "visible");
      if (near.target === null) return;
      const { x, y } = near.target, onRight = x > picture.viewBox.baseVal.width / 2;
      ring.setAttribute("cx", x); ring.setAttribute("cy", y);
      tip.replaceChildren(...near.target.tip.map((line) => html("div", "", line)));
      tip.style.left = `${x + (onRight ? -12 : 12)}px`; tip.style.top = `${y}px`;
      tip.style.transform = `translate(${onRight ? "-100%" : "0"}, -50%)`;
    });
    picture.addEventListener("pointerleave", () => { tip.hidden = true; ring.setAttribute("visibility", "hidden"); });
    return tip;
  }

  // --- a chart -------------------------------------------------------------------------------------------------

  function legend(chart) {
    const entry = ({ name, colour }) => {
      const swatch = html("i", "");
      swatch.style.background = colour;
      return html("span", "", swatch, name);
    };
    return html("div", "legend", ...chart.series.filter(({ name }) => name).map(entry));
  }

  function drawChart(place, chart) {
    const width = place.clientWidth, height = chart.height ?? 290;
    if (!drawn.has(place)) resized.observe(place);
    drawn.set(place, { chart, width });
    if (!width) return; // hidden
    const box = { top: TOP_PX, right: width - RIGHT_PX, bottom: height - BOTTOM_PX };
    box.yTicks = ticks(chart.y, (box.bottom - box.top) / Y_TICK_GAP_PX);
    box.left = 30 + CHARACTER_PX * Math.max(...box.yTicks.map((value) => String(value).length));
    box.xTicks = ticks(chart.x, (box.right - box.left) / X_TICK_GAP_PX);
    const toX = scale(chart.x, box.left, box.right), toY = scale(chart.y, box.bottom, box.top);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}` });
    picture.append(...axes(chart, box, toX, toY), ...chart.series.map((one) => series(one, box, toX, toY)));
    if (chart.rule !== undefined) picture.append(svg("line", { class: "rule", x1: toX(chart.rule), x2: toX(chart.rule), y1: box.top, y2: box.bottom }));
    const tip = follow(picture, chart, toX, toY);
    place.replaceChildren(html("div", "title", chart.title), html("div", "plot", picture, tip), ...(chart.legend ? [legend(chart)] : []));
  }

  return { drawChart, short };
})();
