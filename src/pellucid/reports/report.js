"use strict";
(() => {
  const { rows, models } = JSON.parse(document.getElementById("results").textContent);
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => [...document.querySelectorAll(selector)];
  const COLOURS = ["#1f9e8f", "#d1495b", "#4a7fc1", "#d99a2b", "#8e6bbf", "#6f8a3a", "#c46aa0", "#7a7a7a"];
  const colour = (name) => COLOURS[rows.findIndex((row) => row.name === name) % COLOURS.length];
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  // --- what a limit does ---------------------------------------------------------------------------------------

  function counts(model, limit) { // reject when score > limit
    const found = { escapes: 0, defectives: 0, rejects: 0, normals: 0 };
    model.scores.forEach((score, k) => {
      if (model.defective[k]) { found.defectives++; if (!(score > limit)) found.escapes++; }
      else { found.normals++; if (score > limit) found.rejects++; }
    });
    return found;
  }

  function wilson(count, total) { // 95 %
    const z = 1.959963984540054, p = count / total, spread = z * z / total;
    const middle = (p + spread / 2) / (1 + spread);
    const half = z * Math.sqrt(p * (1 - p) / total + spread / (4 * total)) / (1 + spread);
    return [count === 0 ? 0 : middle - half, count === total ? 1 : middle + half];
  }

  function cuts(model) { // one limit between every two neighbouring scores, the ends, and those that rules give
    const values = [...new Set(model.scores)].sort((a, b) => a - b);
    const between = values.slice(1).map((v, k) => (v + values[k]) / 2);
    const span = values.length > 1 ? values[values.length - 1] - values[0] : 1;
    const ends = values.length ? [values[0] - span / 50, values[values.length - 1] + span / 50] : [];
    const given = [model.limit, ...model.points.map((point) => point.limit)];
    return [...new Set([...ends, ...between, ...given])].sort((a, b) => a - b);
  }

  function curves(model) { // by falling limit, equal scores at once
    const order = model.scores.map((_, k) => k).sort((a, b) => model.scores[b] - model.scores[a]);
    const positives = model.defective.filter(Boolean).length, negatives = order.length - positives;
    const roc = { x: [0], y: [0] }, pr = { x: [0], y: [1] };
    let found = 0, wrong = 0;
    order.forEach((k, n) => {
      model.defective[k] ? found++ : wrong++;
      if (n + 1 < order.length && model.scores[order[n + 1]] === model.scores[k]) return;
      roc.x.push(wrong / negatives); roc.y.push(found / positives);
      pr.x.push(found / positives); pr.y.push(found / (found + wrong));
    });
    return positives && negatives ? { roc, pr } : null;
  }

  // --- charts --------------------------------------------------------------------------------------------------

  function layout(title, x, y, more = {}) {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim(), line = style.getPropertyValue("--line").trim();
    const axis = (text, own) => ({ title: { text }, gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, ...own });
    const { xaxis, yaxis, ...rest } = more;
    return {
      title: { text: title, font: { size: 15 } }, font: { color: ink, size: 12 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 50, r: 15, t: 40, b: 45 }, xaxis: axis(x, xaxis), yaxis: axis(y, yaxis), legend: { x: 1, xanchor: "right", y: 1, yanchor: "top", bgcolor: "rgba(0,0,0,0)" }, ...rest,
    };
  }
  const draw = (id, traces, shape) => Plotly.react(id, traces, shape, { displaylogo: false, responsive: true, displayModeBar: false });

  function shown() { return models[$("#model").value]; }
  function limit() { return cuts(shown())[$("#cut").value]; }

  function drawCurves() {
    const name = $("#model").value, at = counts(shown(), limit());
    const traces = { roc: [], pr: [] };
    for (const [key, model] of Object.entries(models)) {
      const curve = curves(model);
      if (!curve) continue;
      for (const kind of ["roc", "pr"]) {
        traces[kind].push({ ...curve[kind], name: key, mode: "lines", line: { color: colour(key), width: key === name ? 3 : 1.2, shape: kind === "pr" ? "vh" : "linear" }, opacity: key === name ? 1 : 0.6 });
      }
    }
    if (!traces.roc.length) { $("#roc").closest("figure").hidden = $("#pr").closest("figure").hidden = true; return; }
    const found = at.defectives - at.escapes, marker = { mode: "markers", marker: { size: 11, color: colour(name), line: { width: 2, color: "#fff" } }, showlegend: false, name: "limit" };
    traces.roc.push({ ...marker, x: [at.rejects / at.normals], y: [found / at.defectives] });
    if (found + at.rejects) traces.pr.push({ ...marker, x: [found / at.defectives], y: [found / (found + at.rejects)] });
    draw("roc", traces.roc, layout("ROC", "false-reject rate", "share of defects found", { showlegend: true, legend: { x: 1, xanchor: "right", y: 0.03, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" } }));
    draw("pr", traces.pr, layout("Precision and recall", "share of defects found", "rejects that are defective", { showlegend: false, yaxis: { rangemode: "tozero" } }));
  }

  function drawHistogram() {
    const model = shown(), style = getComputedStyle(document.documentElement);
    const low = Math.min(...model.scores, model.limit), high = Math.max(...model.scores, model.limit);
    const bins = { start: low, end: high + (high - low) / 40, size: (high - low || 1) / 40 };
    const of = (defective, name, colour) => ({ type: "histogram", name, x: model.scores.filter((_, k) => model.defective[k] === defective), xbins: bins, autobinx: false, marker: { color: colour }, opacity: 0.7 });
    const traces = [of(false, "good", style.getPropertyValue("--good").trim()), of(true, "defective", style.getPropertyValue("--bad").trim())];
    const line = { type: "line", x0: limit(), x1: limit(), yref: "paper", y0: 0, y1: 1, line: { color: style.getPropertyValue("--ink").trim(), width: 2 } };
    draw("histogram", traces, layout("Scores and the limit", "score", "images", { barmode: "overlay", shapes: [line], showlegend: true }));
  }

  function drawPareto() {
    const key = $("#cost").value, known = rows.filter((row) => row.image_auroc !== null);
    if (!known.length) { $("#costs").hidden = true; return; }
    const traces = known.map((row) => ({
      name: row.name, x: [row[key]], y: [row.image_auroc], mode: "markers+text", text: [row.name], textposition: "top center", cliponaxis: false,
      error_y: row.image_auroc_low === null ? undefined : { type: "data", symmetric: false, array: [row.image_auroc_high - row.image_auroc], arrayminus: [row.image_auroc - row.image_auroc_low], thickness: 1, color: colour(row.name) },
      marker: { size: 10 + 3 * Math.sqrt(row.model_mb), color: colour(row.name), opacity: row.pareto ? 0.9 : 0.35, symbol: row.recommended ? "star" : "circle" },
      hovertemplate: `${row.name}<br>AUROC ${row.image_auroc.toFixed(4)}<br>${row.ms_per_image_median.toFixed(1)} ms, ${row.model_mb.toFixed(1)} MB, ${row.fit_seconds.toFixed(1)} s<extra></extra>`,
    }));
    const lowest = Math.min(...known.map((row) => row.image_auroc_low ?? row.image_auroc)), room = Math.max(1 - lowest, 0.01);
    const title = $("#cost").selectedOptions[0].textContent;
    draw("pareto", traces, layout("Star: recommended; faint: beaten in everything", title, "image AUROC, 95 %", { showlegend: false, xaxis: { type: "log" }, yaxis: { range: [lowest - 0.08 * room, 1 + 0.15 * room] } }));
  }

  function recount() {
    const model = shown(), at = counts(model, limit()), rounded = Number(limit().toPrecision(6));
    const said = (title, count, total, words) => {
      if (!total) return `<div>${title}<b>none to count</b></div>`;
      const [low, high] = wilson(count, total);
      return `<div>${title}<b>${count} of ${total}</b>${percent(count / total)} ${words}, 95 %: ${percent(low)} to ${percent(high)}</div>`;
    };
    const own = limit() === model.limit ? " (the model's own)" : "";
    $("#counts").innerHTML = `<div>limit<b>${rounded}</b>reject when the score is higher${own}</div>`
      + said("escapes", at.escapes, at.defectives, "of defective images pass") + said("false rejects", at.rejects, at.normals, "of good images are rejected");
    $("#cut").setAttribute("aria-valuetext", `limit ${rounded}: ${at.escapes} escapes, ${at.rejects} false rejects`);
    drawHistogram(); drawCurves();
  }

  function move(value) { $("#cut").value = cuts(shown()).indexOf(value); recount(); }

  function selectModel() {
    const name = $("#model").value, model = shown();
    $("#cut").max = cuts(model).length - 1;
    $$(".of-model").forEach((part) => { part.hidden = part.dataset.model !== name; });
    $("#points").replaceChildren(...model.points.map((point) => {
      const button = document.createElement("button");
      button.type = "button"; button.textContent = point.rule; button.title = `chosen on ${point.chosen_on}`;
      button.addEventListener("click", () => move(point.limit));
      return button;
    }));
    move(model.limit);
  }

  // --- tables, pictures, theme ---------------------------------------------------------------------------------

  function sort(button) {
    const head = button.closest("th"), body = head.closest("table").tBodies[0], column = head.cellIndex;
    const before = head.getAttribute("aria-sort");
    const rising = before ? before === "descending" : button.dataset.less === "1" || column === 0;
    $$(".sortable th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => (column === 0 ? a.localeCompare(b) : a - b) * (rising ? 1 : -1);
    const [known, unknown] = [[...body.rows].filter((r) => value(r) !== ""), [...body.rows].filter((r) => value(r) === "")];
    body.append(...known.sort((a, b) => compare(value(a), value(b))), ...unknown);
  }

  function filter() {
    const wanted = Object.fromEntries($$("[data-filter]").map((select) => [select.dataset.filter, select.value]));
    const figures = $$(".gallery figure");
    figures.forEach((figure) => { figure.hidden = Object.entries(wanted).some(([key, value]) => value && figure.dataset[key] !== value); });
    $("#shown").textContent = `${figures.filter((figure) => !figure.hidden).length} pictures`;
  }

  function enlarge(button) {
    const dialog = $("#large"), image = button.querySelector("img");
    dialog.querySelector("img").src = image.src; dialog.querySelector("img").alt = image.alt;
    dialog.querySelector("p").textContent = button.closest("figure").querySelector("figcaption").textContent;
    dialog.showModal();
  }

  function theme(name) { document.documentElement.dataset.theme = name; redraw(); }
  function redraw() { recount(); drawPareto(); }
  const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark";

  $$(".sortable thead button").forEach((button) => button.addEventListener("click", () => sort(button)));
  $$("[data-filter]").forEach((select) => select.addEventListener("change", filter));
  $$(".zoom").forEach((button) => button.addEventListener("click", () => enlarge(button)));
  $("#large").addEventListener("click", (event) => { if (event.target.tagName !== "IMG") $("#large").close(); });
  $("#model").addEventListener("change", selectModel);
  $("#cut").addEventListener("input", recount);
  $("#reset").addEventListener("click", () => move(shown().limit));
  $("#cost").addEventListener("change", drawPareto);
  $("#theme").addEventListener("click", () => theme(dark() ? "light" : "dark"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let screen;
  addEventListener("beforeprint", () => { screen = document.documentElement.dataset.theme; theme("light"); });
  addEventListener("afterprint", () => { screen ? theme(screen) : (delete document.documentElement.dataset.theme, redraw()); });
  filter(); selectModel(); drawPareto();
})();
