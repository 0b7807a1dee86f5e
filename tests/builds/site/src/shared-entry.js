import { shout } from "./shared.js";

console.log(shout("built by rollup"));
