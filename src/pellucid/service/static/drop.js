// <pellucid-drop>: images dropped or chosen here are sent to POST /inspect, two at a time; each answer is an event
// "inspected" (detail: the number of the inspection), each refusal an event "refused" (detail: one sentence).
const AT_ONCE = 2;
const PATIENCE = 20; // times that a busy service is asked again

class Drop extends HTMLElement {
  #waiting = []; #sent = 0; #done = 0; #running = 0;

  connectedCallback() {
    if (this.input) return;
    const texts = JSON.parse(this.getAttribute("texts") || "{}");
    const style = document.createElement("style");
    style.textContent = `
      :host { display: block } label { display: block; border: 2px dashed var(--line); border-radius: 8px; padding: .7rem 1rem; text-align: center; cursor: pointer; position: relative }
      label.over, label:hover { border-color: var(--accent) } input { position: absolute; opacity: 0; inset: 0; width: 100%; cursor: pointer } label:focus-within { outline: 3px solid var(--accent); outline-offset: 2px } progress { width: 100%; accent-color: var(--accent) }`;
    this.label = document.createElement("label");
    this.input = Object.assign(document.createElement("input"), { type: "file", multiple: true, accept: ".png,.jpg,.jpeg,.bmp,.tif,.tiff" });
    this.bar = Object.assign(document.createElement("progress"), { hidden: true });
    this.label.append(texts.drop || "", this.input);
    this.attachShadow({ mode: "open" }).append(style, this.label, this.bar);
    this.input.addEventListener("change", () => { this.#take(this.input.files); this.input.value = ""; });
    for (const kind of ["dragover", "dragleave", "drop"]) this.label.addEventListener(kind, (e) => {
      e.preventDefault();
      this.label.classList.toggle("over", kind === "dragover");
      if (kind === "drop") this.#take(e.dataTransfer.files);
    });
  }

  #take(files) {
    this.#waiting.push(...files);
    this.#sent += files.length;
    while (this.#running < AT_ONCE && this.#waiting.length) this.#work();
    this.#count();
  }

  async #work() {
    this.#running++;
    while (this.#waiting.length) {
      const file = this.#waiting.shift();
      const said = await this.#send(file).catch(() => ({ detail: `${file.name}: ${JSON.parse(this.getAttribute("texts")).away}` }));
      const kind = "id" in said ? "inspected" : "refused";
      this.dispatchEvent(new CustomEvent(kind, { detail: said.id ?? said.detail }));
      this.#done++;
      this.#count();
    }
    this.#running--;
    if (!this.#running) { this.#sent = this.#done = 0; this.#count(); }
  }

  async #send(file) {
    const model = this.getAttribute("model");
    const form = new FormData();
    form.append("files", file);
    for (let asked = 0; ; asked++) {
      const answer = await fetch(`/inspect${model ? `?model=${encodeURIComponent(model)}` : ""}`, { method: "POST", body: form, headers: { "x-pellucid-page": "1" } });
      const said = await answer.json();
      if (answer.ok) return said.items[0];
      if (answer.status !== 429 || asked === PATIENCE) return said;
      await new Promise((go) => setTimeout(go, 1000 * Number(answer.headers.get("retry-after") || 1)));
    }
  }

  #count() {
    this.bar.hidden = !this.#sent;
    this.bar.max = this.#sent || 1;
    this.bar.value = this.#done;
  }
}
customElements.define("pellucid-drop", Drop);
