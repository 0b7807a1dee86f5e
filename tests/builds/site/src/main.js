// One of each: style, picture, drawing, part loaded later, worker, WebAssembly.
import "./style.css";
import photo from "./photo.png";
import drawing from "./drawing.svg";

document.getElementById("photo").src = `${photo}#${drawing}`;
document.addEventListener("click", async () => (await import("./lazy-part.js")).greet(document.title));
new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
fetch(new URL("./add.wasm", import.meta.url)).then((response) => WebAssembly.instantiateStreaming(response));
