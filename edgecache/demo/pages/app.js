"use strict";

// The browser's own cache is left out, or it would answer instead of the edge. With "no-store" a browser also
// asks every other cache to look again, unless the request says something else: max-stale asks for nothing.
const asking = { cache: "no-store", headers: { "Cache-Control": "max-stale" } };

async function ask(url, range, output) {
  const begun = performance.now();
  const response = await fetch(url, { ...asking, headers: { ...asking.headers, ...(range && { Range: range }) } });
  const text = await response.text();
  const took = Math.round(performance.now() - begun);
  const status = response.headers.get("Cache-Status") ?? "none: this answer did not come through a cache";
  const body = response.headers.get("Content-Type")?.includes("json") ? text.trim() : `${text.length} characters`;
  output.className = /;\s*hit/.test(status) ? "hit" : "miss";
  output.textContent =
    `${response.status} in ${took} ms\nCache-Status: ${status}\nAge: ${response.headers.get("Age") ?? "-"}\n${body}`;
}

function listen(url, output) {
  const source = new EventSource(url);
  return new Promise((done) => {
    source.onmessage = (event) => { output.textContent = event.data; };
    source.onerror = () => { source.close(); done(); };
  });
}

for (const card of document.querySelectorAll("article")) {
  const { url, range, stream } = card.dataset;
  const button = card.appendChild(document.createElement("button"));
  const output = card.appendChild(document.createElement("output"));
  button.textContent = stream ? "Listen" : "Ask";
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await (stream ? listen(stream, output) : ask(url, range, output));
    } catch (error) {
      output.className = "miss";
      output.textContent = `no answer: ${error.message}`;
    }
    button.disabled = false;
  });
}
