import { shout } from "./shared.js";

self.onmessage = (event) => self.postMessage(shout(String(event.data)));
