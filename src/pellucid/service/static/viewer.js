// <pellucid-viewer>: a picture under its anomaly map with the outlines and boxes of its defects, zoomed to single pixels, and the
// defects as a list that is linked to the boxes. Attributes: picture, map, width, height, defects (JSON), ignored (JSON:
// those that do not count, with the reason), texts (JSON), scale (a picture of the map's colours, the limit in its middle).
const STYLE = `
  :host { display: block; width: 100% }
  .tools { display: flex; flex-wrap: wrap; gap: .4rem .8rem; align-items: center; padding: 0 0 .5rem; font-size: .9rem }
  button, input { font: inherit; color: inherit } .tools button { min-width: 2.2rem; min-height: 2.2rem }
  button { background: var(--ground); border: 1px solid var(--line); border-radius: 6px; cursor: pointer; padding: .1rem .6rem }
  :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
  label { display: flex; gap: .5rem; align-items: center; flex: 1; min-width: 200px } label input { flex: 1; min-width: 80px; accent-color: var(--accent) }
  .scale { display: inline-flex; gap: .35rem; align-items: center; direction: ltr; color: var(--soft) } .scale > span { position: relative; display: inline-flex; border: 1px solid var(--line) }
  .scale i { width: 2px; height: 15px; background: currentColor } .scale > span > i { position: absolute; left: calc(50% - 1px); top: -4px }
  .stage { position: relative; overflow: hidden; background: var(--line); border-radius: 6px; direction: ltr; touch-action: none; cursor: grab; width: 100%; margin: 0 auto }
  .glass { position: absolute; inset: 0; transform-origin: 0 0 } .glass > * { position: absolute; inset: 0; width: 100%; height: 100% }
  .pixels img { image-rendering: pixelated }
  svg { overflow: visible } path { fill: none; stroke: #ffd24a; stroke-width: calc(1px / var(--scale, 1)); vector-effect: non-scaling-stroke; pointer-events: none } rect { fill: transparent; stroke: #fff; stroke-width: calc(2px / var(--scale, 1)); vector-effect: non-scaling-stroke; cursor: pointer; filter: drop-shadow(0 0 1px #000) }
  path.ignored { stroke: #969696 } rect.ignored { stroke: #969696; stroke-width: calc(1px / var(--scale, 1)); cursor: default; filter: none }
  rect.chosen { stroke: #ffd24a; stroke-width: calc(4px / var(--scale, 1)) }
  ol { list-style: none; margin: .6rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .4rem }
  ol button { text-align: start; font-variant-numeric: tabular-nums; background: var(--ground) } ol button[aria-pressed=true] { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent) }
  small { color: var(--soft) }`;
const SVG = "http://www.w3.org/2000/svg";

function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function size({ length_mm, width_mm, length_px, width_px, box }) {
  if (length_mm != null) return `${length_mm.toFixed(2)} × ${width_mm.toFixed(2)} mm`;
  return length_px == null ? `${box[2]} × ${box[3]} px` : `${length_px.toFixed(1)} × ${width_px.toFixed(1)} px`;
}

function contrast(defect) {
  return `${defect.contrast < 0 ? "−" : "+"}${Math.abs(100 * defect.contrast).toFixed(0)} %`;
}

// Numbers in a page's own digits; texts here hold no digits but numbers.
function spelled(digits, text) {
  return digits ? text.replace(/(?<=\d)\.(?=\d)/g, "٫").replace(/\d/g, (digit) => digits[digit]).replace(/ %/g, "٪") : text;
}

class Viewer extends HTMLElement {
  static observedAttributes = ["picture"]; // all others change with it
  #scale = 1; #x = 0; #y = 0; #pointers = new Map(); #opacity = 1; #size = [1, 1];

  connectedCallback() { this.#build(); }
  attributeChangedCallback() { queueMicrotask(() => this.#build()); }

  #build() {
    if (!this.isConnected || !this.hasAttribute("picture")) return;
    const texts = JSON.parse(this.getAttribute("texts") || "{}");
    const defects = JSON.parse(this.getAttribute("defects") || "[]");
    const [width, height] = (this.#size = [Number(this.getAttribute("width")) || 1, Number(this.getAttribute("height")) || 1]);
    const root = this.shadowRoot || this.attachShadow({ mode: "open" });
    const button = (sign, label, act) => {
      const element = made("button", { type: "button", title: label, "aria-label": label }, sign);
      element.addEventListener("click", act);
      return element;
    };
    this.slider = made("input", { type: "range", min: 0, max: 100, value: this.#opacity * 100, "aria-label": texts.map });
    this.slider.addEventListener("input", () => this.#fade(this.slider.value / 100));
    this.slider.addEventListener("keydown", (e) => e.stopPropagation()); // arrows are its own
    const tools = made("div", { class: "tools" },
      button("−", texts.out, () => this.#zoom(1 / 1.5)), button("+", texts.in, () => this.#zoom(1.5)),
      button("1:1", texts.pixels, () => this.#pixels()), button("⤢", texts.fit, () => this.#fit()),
      made("label", {}, texts.map || "", this.slider));
    if (this.hasAttribute("scale")) tools.append(made("span", { class: "scale" },
      made("span", {}, made("img", { src: this.getAttribute("scale"), alt: "" }), made("i")), made("i"), texts.limit || ""));
    this.shown = made("img", { src: this.getAttribute("picture"), alt: texts.picture || "", draggable: "false" });
    this.heat = made("img", { src: this.getAttribute("map"), alt: "", draggable: "false" });
    const boxes = document.createElementNS(SVG, "svg");
    boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
    boxes.setAttribute("preserveAspectRatio", "none");
    this.glass = made("div", { class: "glass" }, this.shown, this.heat, boxes);
    this.stage = made("div", { class: "stage", tabindex: "0", role: "group", "aria-label": texts.stage || "" }, this.glass);
    this.stage.style.aspectRatio = `${width} / ${height}`;
    this.stage.style.maxWidth = `calc(${this.getAttribute("tall") || 56}vh * ${width / height})`;
    const framed = (defect) => {
      const [x, y, w, h] = defect.box;
      const rect = document.createElementNS(SVG, "rect");
      for (const [name, value] of Object.entries({ x, y, width: w, height: h })) rect.setAttribute(name, value);
      const path = document.createElementNS(SVG, "path"); // through the middles of pixels
      path.setAttribute("d", (defect.outline || []).map((polygon) => `M${polygon.map(([px, py]) => `${px + 0.5} ${py + 0.5}`).join("L")}Z`).join(""));
      boxes.append(path, rect);
      return { rect, path };
    };
    for (const one of JSON.parse(this.getAttribute("ignored") || "[]")) {
      const { rect, path } = framed(one), title = document.createElementNS(SVG, "title");
      for (const drawn of [rect, path]) drawn.classList.add("ignored");
      title.textContent = texts[one.reason] || one.reason;
      rect.append(title);
    }
    const list = made("ol");
    this.linked = defects.map((defect, k) => {
      const [x, y] = defect.box;
      const { rect } = framed(defect);
      rect.addEventListener("click", () => this.#choose(k, false));
      const item = made("button", { type: "button", "aria-pressed": "false" });
      item.innerHTML = spelled(texts.digits, `<b>${k + 1}</b> ${defect.kind ? `${(texts.kinds || {})[defect.kind] || ""} ` : ""}<bdi>${size(defect)}</bdi> <small>${defect.contrast == null ? "" : `<bdi>${contrast(defect)}</bdi> · `}<bdi>(${x}, ${y})</bdi> · <bdi>${defect.area_px} px²</bdi> · <bdi>${defect.peak.toPrecision(3)}</bdi></small>`);
      item.addEventListener("click", () => this.#choose(k, true));
      list.append(made("li", {}, item));
      return { rect, item, defect };
    });
    root.replaceChildren(made("style", {}, STYLE), tools, this.stage, list);
    this.#listen();
    this.#fade(this.#opacity);
    this.#fit();
  }

  #listen() {
    const stage = this.stage;
    stage.addEventListener("wheel", (e) => { e.preventDefault(); this.#zoom(Math.exp(-e.deltaY / 400), ...this.#at(e)); }, { passive: false });
    stage.addEventListener("dblclick", (e) => this.#zoom(2, ...this.#at(e)));
    stage.addEventListener("pointerdown", (e) => { this.#pointers.set(e.pointerId, [e.clientX, e.clientY]); if (e.target.tagName !== "rect") stage.setPointerCapture(e.pointerId); });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (e) => this.#pointers.delete(e.pointerId));
    stage.addEventListener("pointermove", (e) => this.#drag(e));
    stage.addEventListener("keydown", (e) => this.#key(e));
  }

  #at(event) {
    const frame = this.stage.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  #drag(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      this.#zoom(apart(now) / apart(before), ...this.#at({ clientX: (now[0] + other[0]) / 2, clientY: (now[1] + other[1]) / 2 }));
    } else this.#move(now[0] - before[0], now[1] - before[1]);
    this.#pointers.set(event.pointerId, now);
  }

  #key(event) {
    const step = 60;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key === "+" || event.key === "=") this.#zoom(1.5);
    else if (event.key === "-") this.#zoom(1 / 1.5);
    else if (event.key === "0") this.#fit();
    else if (event.key in moves && this.#scale > 1) this.#move(...moves[event.key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #zoom(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const scale = this.#allowed(this.#scale * factor);
    this.#x = x - ((x - this.#x) * scale) / this.#scale;
    this.#y = y - ((y - this.#y) * scale) / this.#scale;
    this.#scale = scale;
    this.#draw();
  }

  #unit() { return this.stage.clientWidth / this.#size[0] || 1; } // CSS pixels of one pixel of the picture, unzoomed
  #allowed(scale) { return Math.min(Math.max(scale, 1), Math.max(32 / this.#unit(), 1)); }
  #move(dx, dy) { this.#x += dx; this.#y += dy; this.#draw(); }
  #fit() { this.#scale = 1; this.#x = this.#y = 0; this.#draw(); }
  #pixels() { this.#zoom(Math.max(1, 8 / this.#unit()) / this.#scale); }
  #fade(opacity) { this.#opacity = opacity; this.heat.style.opacity = opacity; }

  #choose(index, zoom) {
    this.linked.forEach(({ rect, item }, k) => { rect.classList.toggle("chosen", k === index); item.setAttribute("aria-pressed", k === index); });
    const { defect, item } = this.linked[index];
    if (!zoom) return item.focus();
    const [x, y, w, h] = defect.box;
    const unit = this.#unit();
    this.#scale = this.#allowed(0.35 * Math.min(this.#size[0] / w, this.#size[1] / h));
    this.#x = this.stage.clientWidth / 2 - (x + w / 2) * unit * this.#scale;
    this.#y = this.stage.clientHeight / 2 - (y + h / 2) * unit * this.#scale;
    this.#draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    this.#x = Math.min(0, Math.max(this.#x, width * (1 - this.#scale)));
    this.#y = Math.min(0, Math.max(this.#y, height * (1 - this.#scale)));
    this.glass.style.transform = `translate(${this.#x}px, ${this.#y}px) scale(${this.#scale})`;
    this.glass.style.setProperty("--scale", this.#scale); // boxes keep their stroke
    this.glass.classList.toggle("pixels", this.#unit() * this.#scale >= 3);
  }
}
customElements.define("pellucid-viewer", Viewer);
