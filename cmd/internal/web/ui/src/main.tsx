import { render } from "preact";
import "./style.css";
import { App } from "./App.tsx";
import { apply } from "./ui/theme.ts";

apply();
const root = document.getElementById("app");
if (root) render(<App />, root);
