// Light or dark: as the system says, or as the reader chose here.
import { useEffect, useState } from "preact/hooks";

export type Choice = "system" | "light" | "dark";
const key = "heapwright.theme";
const heard = new Set<() => void>();
const system = matchMedia("(prefers-color-scheme: dark)");

export function choice(): Choice {
  try {
    const c = localStorage.getItem(key);
    return c === "light" || c === "dark" ? c : "system";
  } catch {
    return "system"; // storage is off
  }
}

export function isDark(): boolean {
  const c = choice();
  return c === "system" ? system.matches : c === "dark";
}

export function choose(c: Choice): void {
  try {
    if (c === "system") localStorage.removeItem(key);
    else localStorage.setItem(key, c);
  } catch { /* it lasts as long as the page */ }
  apply();
}

/** apply puts the choice on the page. */
export function apply(): void {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  for (const f of heard) f();
}
system.addEventListener("change", apply);

/** useTheme returns "dark" or "light"; canvases draw again when it changes. */
export function useTheme(): "dark" | "light" {
  const [dark, set] = useState(isDark);
  useEffect(() => {
    const f = () => set(isDark());
    heard.add(f);
    return () => { heard.delete(f); };
  }, []);
  return dark ? "dark" : "light";
}

/** color returns a colour of the style sheet, for a canvas: color("--live"). */
export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export const calm = matchMedia("(prefers-reduced-motion: reduce)");
