/* Keeps a page up to date. When the server announces a change, the page is fetched again and its
   parts marked with data-live are replaced. The browser parses the answer as a document, in which no
   script runs; text is never made into markup here. */

const PAUSE_MS = 2000;
const AGE_MS = 30000; /* how long ago something was changes by itself */
const SOON_MS = 1000; /* while a part marked with data-soon goes on */
const PRESS_MS = 10000; /* a press that lasts longer ended outside of the window */
const connection = document.getElementById("connection");
let version = document.documentElement.dataset.version;
let due = 0;
let soon = 0;
let asking = false;
let lost = false;
let stale = false; /* a change was announced, and is not shown yet */
let pressed = 0; /* when something was pressed that is not released yet */

function say(text) {
  if (connection && connection.textContent !== text) connection.textContent = text;
}

function fetchPage() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.responseType = "document";
    request.open("GET", location.href);
    request.setRequestHeader("Accept", "text/html");
    request.onload = () => (request.status === 200 ? resolve(request.response) : reject(request.status));
    request.onerror = reject;
    request.send();
  });
}

/* Where the keyboard is, so that it can stay there. */
function focusPath(part) {
  const active = document.activeElement;
  if (!active || !part.contains(active)) return null;
  return active.getAttribute("href") ? `a[href="${CSS.escape(active.getAttribute("href"))}"]` : active.id ? `#${CSS.escape(active.id)}` : null;
}

function replaceParts(fresh) {
  version = fresh.documentElement.dataset.version;
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (!next || next.isEqualNode(part)) continue;
    if (part.contains(document.getSelection()?.anchorNode ?? null) && !document.getSelection().isCollapsed) continue;
    const focus = focusPath(part);
    const scrolled = [...part.querySelectorAll(".frame")].map((frame) => frame.scrollLeft);
    const taken = document.importNode(next, true);
    part.replaceWith(taken);
    taken.querySelectorAll(".frame").forEach((frame, i) => (frame.scrollLeft = scrolled[i] ?? 0));
    if (focus) taken.querySelector(focus)?.focus({ preventScroll: true });
  }
}

async function renew() {
  if (asking || document.hidden) return;
  asking = true;
  stale = false;
  try {
    const fresh = await fetchPage();
    if (Date.now() - pressed < PRESS_MS) stale = true; /* a click is lost if what is pressed is replaced */
    else replaceParts(fresh);
    if (stale) renewSoon();
  } catch (status) {
    if (status === 401) location.reload();
    stale = true; /* what was announced before is not announced again once the connection is back */
  } finally {
    asking = false;
    renewWhileWorking();
  }
}

function renewWhileWorking() {
  clearTimeout(soon);
  if (document.querySelector("[data-soon]")) soon = setTimeout(renew, SOON_MS);
}

function renewSoon() {
  stale = true; /* also if what is being fetched now is too old */
  const now = Date.now();
  if (due > now) return;
  const wait = Math.max(0, due + PAUSE_MS - now);
  due = now + wait;
  setTimeout(renew, wait);
}

/* A hidden tab holds no connection: a browser has few for one site. */
let source = null;

function listen() {
  if (document.hidden) {
    source?.close();
    source = null;
    return;
  }
  if (source) return;
  source = new EventSource("/events");
  source.addEventListener("open", () => {
    if (lost) say(connection?.dataset.back ?? "");
    lost = false;
    if (stale) renewSoon();
  });
  source.addEventListener("changed", (event) => {
    if (event.lastEventId !== version) renewSoon();
  });
  source.addEventListener("error", () => {
    lost = true;
    say(connection?.dataset.lost ?? "");
    if (source?.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(listen, 10000);
    }
  });
}

document.addEventListener("pointerdown", () => (pressed = Date.now()));
for (const end of ["pointerup", "pointercancel"]) {
  document.addEventListener(end, () => setTimeout(() => (pressed = 0))); /* the click comes first */
}
document.addEventListener("visibilitychange", listen);
setInterval(renew, AGE_MS);
renewWhileWorking();
listen();
