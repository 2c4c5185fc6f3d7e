// Search in pages that are opened from a disk. Browsers start no worker there, so a hidden frame does its work. The name
// is what the plugin `offline` looks for: without a file of this name it would load one from the network.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.loaded = new Promise((resolve) => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow;
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          inside.importScripts = (...scripts) => scripts.reduce((before, src) => before.then(() => load(inside, src)), Promise.resolve());
          resolve(load(inside, url).then(() => inside));
        };
      });
      const attach = () => document.body.append(this.frame);
      document.body ? attach() : addEventListener("DOMContentLoaded", attach);
    }

    postMessage(data) {
      this.loaded.then((inside) => inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };

  const load = (inside, src) =>
    new Promise((resolve, reject) => {
      const script = Object.assign(inside.document.createElement("script"), { src, onload: resolve, onerror: reject });
      inside.document.head.append(script);
    });
}
