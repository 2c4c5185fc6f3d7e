(() => {
  "use strict";
  const $ = (selector) => document.querySelector(selector), $$ = (selector) => [...document.querySelectorAll(selector)];
  const data = JSON.parse($("#data").textContent), L = window.leaflet;
  const [width, height] = data.size, [across, down] = data.mm_per_px ?? [1, 1], unit = data.mm_per_px ? "mm" : "px";
  const native = data.levels - 1; // the zoom at which a pixel of the image is one of the screen
  const COLOURS = ["#ff9f1c", "#2ec4ff", "#ff5db1", "#b8f34a", "#c79bff", "#ffe14d", "#5cffc9", "#ff7a5c"], GREY = "#b9c0c6", RED = "#e3002b";
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

  // --- the picture: mm from its first corner, y downwards ---------------------------------------------------------

  const crs = L.extend({}, L.CRS.Simple, {
    transformation: new L.Transformation(1 / across, 0, 1 / down, 0),
    scale: (zoom) => 2 ** (zoom - native),
    zoom: (scale) => native + Math.log2(scale),
  });
  const at = (x, y) => [y * down, x * across]; // from px
  const bounds = L.latLngBounds(at(0, 0), at(width, height));
  const map = L.map("map", {
    crs, minZoom: -1, maxZoom: native + 4, zoomSnap: 0.25, zoomDelta: 1, wheelPxPerZoomLevel: 90, preferCanvas: true,
    attributionControl: false, maxBounds: bounds.pad(0.5), zoomAnimation: !calm, fadeAnimation: !calm, inertia: !calm,
  });
  const Tiles = L.GridLayer.extend({
    createTile(where, done) {
      const tile = document.createElement("div"), image = document.createElement("img");
      tile.className = "tile"; image.alt = ""; image.draggable = false;
      image.onload = () => done(null, tile);
      image.onerror = () => done(new Error("no tile"), tile);
      image.src = `${data.tiles}/${where.z}/${where.x}_${where.y}.jpg`;
      tile.append(image);
      return tile;
    },
  });
  new Tiles({ bounds, minNativeZoom: 0, maxNativeZoom: native, tileSize: data.tile_px, noWrap: true }).addTo(map);
  map.fitBounds(bounds, { animate: false });
  function dressTiles() {
    const zoom = map.getZoom();
    $("#map").classList.toggle("enlarged", zoom > native);
    $("#map").classList.toggle("between", !Number.isInteger(zoom) && zoom < native);
  }
  map.on("zoomend", dressTiles); dressTiles();

  const Measure = L.Control.extend({
    options: { position: "bottomleft" },
    onAdd() { this.bar = document.createElement("div"); this.bar.className = "measure"; map.on("zoomend zoom", this.draw, this); this.draw(); return this.bar; },
    draw() {
      const each = across / 2 ** (map.getZoom() - native), most = each * 160; // mm or px of the image in a px of the screen
      const power = 10 ** Math.floor(Math.log10(most)), length = [5, 2, 1].find((n) => n * power <= most) * power;
      this.bar.style.width = `${length / each}px`;
      this.bar.textContent = `${Number(length.toPrecision(3))} ${unit}`;
    },
  });
  new Measure().addTo(map);

  function tellPlace(place) {
    const [x, y] = [place.lng, place.lat], digits = data.mm_per_px ? 2 : 0;
    const pixels = data.mm_per_px ? ` (pixel ${Math.floor(x / across)}, ${Math.floor(y / down)})` : "";
    $("#where").textContent = bounds.contains(place) ? `x ${x.toFixed(digits)}, y ${y.toFixed(digits)} ${unit}${pixels}` : "";
  }
  map.on("mousemove", (event) => tellPlace(event.latlng));
  map.on("moveend", () => tellPlace(map.getCenter()));

  // --- zones and defects ------------------------------------------------------------------------------------------

  const words = (text) => { const part = document.createElement("span"); part.textContent = text; return part; }; // names are text, never HTML
  const PANES = { "pane ok": "#3fae6a", "pane look": "#e0a72e", "pane reject": "#e5484d" };
  const zones = L.layerGroup(data.zones.map((zone) => {
    if (PANES[zone.of]) return L.polygon(zone.rings.map((ring) => ring.map(([x, y]) => at(x, y))), { color: PANES[zone.of], weight: 2, fill: false }).bindTooltip(words(`pane ${zone.name}`), { sticky: true });
    const style = zone.of === "rule" ? { color: "#4db5ff", weight: 1.5, dashArray: "6 4", fill: false } : { color: GREY, weight: 1, dashArray: "2 3", fillColor: "#000", fillOpacity: 0.35 };
    const shape = zone.of === "rule" ? L.polyline(zone.rings.map((ring) => [...ring, ring[0]].map(([x, y]) => at(x, y))), style) : L.polygon(zone.rings.map((ring) => ring.map(([x, y]) => at(x, y))), style);
    return shape.bindTooltip(words(zone.of === "rule" ? `zone ${zone.name}` : zone.name), { sticky: true });
  })).addTo(map);

  const kinds = [...new Set(data.defects.map((one) => one.kind))].sort();
  const colourOf = (one) => (one.ignored ? GREY : COLOURS[kinds.indexOf(one.kind) % COLOURS.length]);
  $$(".dot").forEach((dot) => { dot.style.background = COLOURS[kinds.indexOf(dot.dataset.kind) % COLOURS.length]; });
  const largest = Math.max(...data.defects.map((one) => one.size), 1e-9);
  const rows = new Map($$("#defects tbody tr").map((row) => [Number(row.dataset.number), row]));
  const boxOf = ({ box: [x, y, w, h] }) => L.latLngBounds(at(x, y), at(x + w, y + h));
  const layers = new Map(data.defects.map((one) => {
    const colour = colourOf(one), rings = one.outline.map((ring) => ring.map(([x, y]) => at(x + 0.5, y + 0.5)));
    const broke = one.broken.length > 0, line = { color: broke ? RED : colour, weight: broke ? 2 : 1.5, fillOpacity: 0 };
    const shape = rings.length ? L.polygon(rings, line) : L.rectangle(boxOf(one), line);
    const mark = L.circleMarker(boxOf(one).getCenter(), {
      radius: 6 + 8 * Math.sqrt(one.size / largest), color: broke ? RED : colour, weight: broke ? 4 : 2, fillColor: colour, fillOpacity: 0.15,
      dashArray: one.ignored ? "3 3" : null,
    });
    const title = broke ? `${one.title}; broke ${one.broken.join(", ")}` : one.ignored ? `${one.title}; ignored: ${one.ignored}` : one.title;
    for (const part of [shape, mark]) part.bindTooltip(words(title)).on("click", () => select(one.number, false));
    return [one.number, { shape, mark, box: boxOf(one) }];
  }));
  const shown = L.layerGroup().addTo(map);

  // A mark says where a defect is as long as it is smaller than the mark; then its outline does.
  function draw() {
    layers.forEach(({ shape, mark, box }, number) => {
      const size = map.latLngToLayerPoint(box.getSouthEast()).subtract(map.latLngToLayerPoint(box.getNorthWest()));
      const large = Math.max(Math.abs(size.x), Math.abs(size.y)) > 2.5 * mark.getRadius(), fits = !rows.get(number).hidden;
      for (const [part, on] of [[shape, fits], [mark, fits && !large]]) if (on !== shown.hasLayer(part)) (on ? shown.addLayer(part) : shown.removeLayer(part));
    });
  }
  map.on("zoomend", draw);
  const ring = L.rectangle(bounds, { color: "#fff", weight: 3, fill: false, interactive: false });
  const byNumber = new Map(data.defects.map((one) => [one.number, one]));

  function select(number, zoom = true) {
    const one = byNumber.get(number), row = rows.get(number);
    if (!one) return;
    rows.forEach((other) => other.removeAttribute("aria-current"));
    row.setAttribute("aria-current", "true");
    if (row.hidden) { resetFilters(); filter(); }
    row.scrollIntoView({ block: "nearest" });
    const box = boxOf(one);
    ring.setBounds(box.pad(0.6)).addTo(map);
    if (zoom) map.fitBounds(box.pad(1.5), { maxZoom: native + 1, animate: !calm, duration: 0.4 });
  }

  // --- the list ---------------------------------------------------------------------------------------------------

  function filter() {
    const wanted = new Set($$("input[name=kind]:checked").map((box) => box.value)), least = Number($("#least").value) || 0, which = $("#which").value;
    const fits = (one) => wanted.has(one.kind) && one.size >= least && (which === "all" || (which === "broken" ? one.broken.length > 0 : !one.ignored));
    let count = 0;
    data.defects.forEach((one) => {
      const fit = fits(one);
      rows.get(one.number).hidden = !fit;
      count += fit;
    });
    draw();
    $("#shown").textContent = `${count} of ${data.defects.length} shown`;
  }
  function resetFilters() {
    $$("input[name=kind]").forEach((box) => { box.checked = true; });
    $("#least").value = 0; $("#which").value = "all";
  }
  function order() {
    const by = { number: (a, b) => a.number - b.number, size: (a, b) => b.size - a.size }[$("#order").value];
    $("#defects tbody").append(...[...data.defects].sort(by).map((one) => rows.get(one.number)));
  }
  function step(row, way) {
    let next = row;
    do next = way > 0 ? next.nextElementSibling : next.previousElementSibling; while (next && next.hidden);
    if (next) { next.querySelector("button").focus({ preventScroll: true }); select(Number(next.dataset.number)); }
  }
  const fromAddress = () => { const found = /^#d(\d+)$/.exec(location.hash); if (found) select(Number(found[1])); };

  $("#defects").addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (row) select(Number(row.dataset.number));
  });
  $("#defects").addEventListener("keydown", (event) => {
    const row = event.target.closest("tbody tr"), way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (row && way) { event.preventDefault(); step(row, way); }
  });
  $$(".clauses .number").forEach((link) => link.addEventListener("click", (event) => { event.preventDefault(); select(Number(link.hash.slice(2))); }));
  $$("input[name=kind], #which").forEach((part) => part.addEventListener("change", filter));
  $("#least").addEventListener("input", filter);
  $("#order").addEventListener("change", order);
  $("#whole").addEventListener("click", () => map.fitBounds(bounds, { animate: !calm }));
  $("#native").addEventListener("click", () => map.setZoom(native, { animate: !calm }));
  $("#zones")?.addEventListener("change", (event) => (event.target.checked ? zones.addTo(map) : zones.remove()));
  const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark";
  $("#theme").addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; });
  addEventListener("hashchange", fromAddress);
  filter(); fromAddress();
  window.sheetMap = map;
})();
