// Draws the page anew every two seconds, from the server's own drawing.  Without scripts it reloads.
"use strict";

const PARTS = ["head", "wrong", "tiles", "links", "ports", "drops", "cache", "handlers", "foot"];

async function draw() {
  if (!document.hidden) {
    try {
      const answer = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(answer.statusText);
      const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const id of PARTS) exchange(document.getElementById(id), drawn.getElementById(id));
      document.title = drawn.title;
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
  }
  setTimeout(draw, 2000);
}

// What was selected to be copied, and how far a table was scrolled, stays as it is.
function exchange(old, drawn) {
  const selection = getSelection();
  if (!selection.isCollapsed && old.contains(selection.anchorNode)) return;
  const scrolled = [...old.querySelectorAll(".wide")].map((table) => table.scrollLeft);
  old.replaceChildren(...drawn.childNodes);
  old.querySelectorAll(".wide").forEach((table, n) => (table.scrollLeft = scrolled[n] ?? 0));
}

setTimeout(draw, 2000);
