import "./lazy-part.css";
import { shout } from "./shared.js";

export const greet = (name) => console.log(shout(name));
