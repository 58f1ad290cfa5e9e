/* Says whether a stack may have a name while it is typed. The words are in the page; without this, the name is
   checked when the form is sent. */

const PAUSE_MS = 300;
const LONGEST = 100;
const field = document.getElementById("params.name");
const state = document.getElementById("name-state");
let waiting = 0;
let asking = null;

function say(kind, host) {
  state.className = kind ? `name-state ${kind}` : "name-state";
  state.textContent = kind ? state.dataset[kind] : "";
  if (kind !== "free") return;
  const name = document.createElement("bdi");
  name.textContent = host || field.value;
  state.append(" ", name);
}

async function check(name) {
  asking?.abort();
  asking = new AbortController();
  const signal = asking.signal;
  try {
    const answer = await fetch(`/api/check/${encodeURIComponent(name)}`, { signal });
    if (answer.status === 404 && !/^[a-z0-9-]+$/.test(name)) say("malformed");
    else if (answer.ok) {
      const found = await answer.json();
      say(found.state in state.dataset ? found.state : "", found.host);
    } else say("");
  } catch {
    if (!signal.aborted) say(""); /* it is checked when the form is sent */
  }
}

function checkSoon() {
  clearTimeout(waiting);
  asking?.abort();
  const name = field.value.trim().slice(0, LONGEST);
  if (name) waiting = setTimeout(() => check(name), PAUSE_MS);
  else say("");
}

if (field) {
  field.addEventListener("input", checkSoon);
  if (field.value) checkSoon(); /* typed before this was loaded, or filled in by the browser or the page */
}
