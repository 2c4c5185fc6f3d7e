"use strict";
(() => { // after charts.js
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
    const roc = [{ x: 0, y: 0 }], pr = [{ x: 0, y: 1 }];
    let found = 0, wrong = 0;
    order.forEach((k, n) => {
      model.defective[k] ? found++ : wrong++;
      if (n + 1 < order.length && model.scores[order[n + 1]] === model.scores[k]) return;
      roc.push({ x: wrong / negatives, y: found / positives });
      pr.push({ x: found / positives, y: found / (found + wrong) });
    });
    return positives && negatives ? { roc, pr } : null;
  }

  // --- charts --------------------------------------------------------------------------------------------------

  const BINS = 40; // of the histogram
  const SHARE = [-0.02, 1.02]; // an axis of shares, with room for the line at its ends

  function shown() { return models[$("#model").value]; }
  function limit() { return cuts(shown())[$("#cut").value]; }

  function drawCurves() {
    const chosen = $("#model").value, at = counts(shown(), limit()), lines = { roc: [], pr: [] };
    for (const [name, model] of Object.entries(models)) {
      const curve = curves(model), own = name === chosen;
      if (!curve) continue;
      const look = { name, colour: colour(name), width: own ? 3 : 1.2, opacity: own ? 1 : 0.6 };
      lines.roc.push({ ...look, kind: "line", points: curve.roc });
      lines.pr.push({ ...look, kind: "step", points: curve.pr });
    }
    if (!lines.roc.length) { $("#roc").closest("figure").hidden = $("#pr").closest("figure").hidden = true; return; }
    const found = at.defectives - at.escapes;
    const here = (x, y) => ({ kind: "marks", colour: colour(chosen), points: [{ x, y, radius: 6, tip: [`${chosen}, this limit`, `${at.escapes} escapes, ${at.rejects} false rejects`] }] });
    lines.roc.push(here(at.rejects / at.normals, found / at.defectives));
    if (found + at.rejects) lines.pr.push(here(found / at.defectives, found / (found + at.rejects)));
    const share = (label) => ({ label, range: SHARE });
    drawChart($("#roc"), { title: "ROC", x: share("false-reject rate"), y: share("share of defects found"), series: lines.roc, legend: true });
    drawChart($("#pr"), { title: "Precision and recall", x: share("share of defects found"), y: share("rejects that are defective"), series: lines.pr, legend: true });
  }

  function drawHistogram() {
    const model = shown(), low = Math.min(...model.scores, model.limit), high = Math.max(...model.scores, model.limit);
    const size = (high - low || 1) / BINS, bins = Array.from({ length: BINS + 1 }, () => ({ good: 0, defective: 0 }));
    model.scores.forEach((score, k) => bins[Math.floor((score - low) / size)][model.defective[k] ? "defective" : "good"]++);
    const bars = (name, colour) => ({
      name, colour, kind: "bars", opacity: 0.7,
      points: bins.map((bin, k) => {
        const x = low + k * size, to = x + size, tip = [`score ${short(x)} to ${short(to)}`, `${bin.good} good`, `${bin.defective} defective`];
        return { x, to, y: bin[name], tip: bin.good + bin.defective ? tip : [] };
      }).filter(({ tip }) => tip.length),
    });
    drawChart($("#histogram"), {
      title: "Scores and the limit", legend: true, rule: limit(), series: [bars("good", "var(--good)"), bars("defective", "var(--bad)")],
      x: { label: "score", range: [Math.min(low, limit()) - size, Math.max(high, limit()) + 2 * size] },
      y: { label: "images", range: [0, 1.05 * Math.max(1, ...bins.flatMap((bin) => [bin.good, bin.defective]))] },
    });
  }

  function drawPareto() {
    const key = $("#cost").value, known = rows.filter((row) => row.image_auroc !== null);
    if (!known.length) { $("#costs").hidden = true; return; }
    const series = known.map((row) => ({
      kind: "marks", colour: colour(row.name), opacity: row.pareto ? 0.9 : 0.35,
      points: [{
        x: row[key], y: row.image_auroc, low: row.image_auroc_low ?? undefined, high: row.image_auroc_high, star: row.recommended,
        radius: 5 + 1.5 * Math.sqrt(row.model_mb), label: row.name,
        tip: [row.name, `AUROC ${row.image_auroc.toFixed(4)}`, `${row.ms_per_image_median.toFixed(1)} ms, ${row.model_mb.toFixed(1)} MB, ${row.fit_seconds.toFixed(1)} s`],
      }],
    }));
    const lowest = Math.min(...known.map((row) => row.image_auroc_low ?? row.image_auroc)), room = Math.max(1 - lowest, 0.01);
    const costs = known.map((row) => row[key]), margin = Math.max((Math.max(...costs) / Math.min(...costs)) ** 0.12, 1.2);
    drawChart($("#pareto"), {
      title: "Star: recommended; faint: beaten in everything", series, height: 400,
      x: { label: $("#cost").selectedOptions[0].textContent, log: true, range: [Math.min(...costs) / margin, Math.max(...costs) * margin] },
      y: { label: "image AUROC, 95 %", range: [lowest - 0.08 * room, 1 + 0.15 * room] },
    });
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

  function theme(name) { document.documentElement.dataset.theme = name; }
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
  filter(); selectModel(); drawPareto();
})();
