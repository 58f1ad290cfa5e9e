/* Shows the output of a run while it is written. The browser itself comes back after a lost connection
   and says how far it has read. Only the end of a long log is kept on the page. */

const LIMIT = 1500000;
const output = document.getElementById("output");
const state = document.getElementById("output-state");

class Pane {
  constructor(element) {
    this.element = element;
    this.size = 0;
    this.fresh = true;
  }

  add(text, note) {
    const element = this.element;
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    if (this.fresh) element.textContent = "";
    this.fresh = false;
    if (note) this.append(`\u2026 ${note}\n`);
    this.append(text);
    while (this.size > LIMIT && element.childNodes.length > 1) {
      this.size -= element.firstChild.data.length;
      element.firstChild.remove();
    }
    if (atEnd) element.scrollTop = element.scrollHeight;
  }

  append(text) {
    if (!text) return;
    this.element.append(document.createTextNode(text));
    this.size += text.length;
  }
}

if (output) {
  const panes = {
    stdout: new Pane(document.getElementById("stdout")),
    stderr: new Pane(document.getElementById("stderr")),
  };
  let source = null;
  let reached = "";
  let done = false;

  /* A hidden tab holds no connection: a browser has few for one site. */
  const follow = () => {
    if (done || document.hidden) {
      source?.close();
      source = null;
      return;
    }
    if (source) return;
    source = new EventSource(`${output.dataset.source}?from=${encodeURIComponent(reached)}`);
    source.addEventListener("open", () => (state.textContent = state.dataset.liveText));
    source.addEventListener("error", () => {
      state.textContent = state.dataset.lostText;
      /* By itself a browser comes back after a lost connection, and not after an answer such as 502. */
      if (source?.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(follow, 5000);
      }
    });
    source.addEventListener("output", (event) => {
      reached = event.lastEventId;
      const piece = JSON.parse(event.data);
      panes[piece.stream]?.add(piece.text, piece.skipped ? output.dataset.skipped : "");
    });
    source.addEventListener("end", (event) => {
      done = true;
      follow();
      state.textContent = state.dataset.endText;
      document.getElementById("output-source").textContent = JSON.parse(event.data).source;
    });
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}
