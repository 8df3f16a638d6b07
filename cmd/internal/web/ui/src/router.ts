// The address is the state: what is shown, and how, is in it and nowhere else, so
// that a link shows another person the same.
import { useEffect, useState } from "preact/hooks";

export const views = ["fleet", "process", "cycle", "findings", "profiles", "whatif", "oom", "experiments", "alerts", "agent"] as const;
export type ViewName = (typeof views)[number];
// The views of one process: /ui/process/ID/VIEW.
export const ofProcess: readonly ViewName[] = ["process", "cycle", "findings", "profiles", "whatif"];

export interface Route { view: ViewName; process?: string; params: URLSearchParams }

/** parse reads an address. What it does not know is the fleet. */
export function parse(path: string, search: string): Route {
  const params = new URLSearchParams(search);
  const parts = path.split("/").filter(Boolean);
  if (parts[0] !== "ui") return { view: "fleet", params };
  if (parts[1] === "process" && parts[2]) {
    let process = parts[2];
    try {
      process = decodeURIComponent(process);
    } catch { /* not an escape: the name as it stands */ }
    const sub = (parts[3] ?? "process") as ViewName;
    return { view: ofProcess.includes(sub) ? sub : "process", process, params };
  }
  const view = (parts[1] ?? "fleet") as ViewName;
  if (!views.includes(view) || view === "process" || view === "cycle") return { view: "fleet", params };
  return { view, params };
}

export type Patch = Record<string, string | number | null | undefined>;

/** merge returns parameters with some set, and those that are null taken away. */
export function merge(params: URLSearchParams, patch: Patch): URLSearchParams {
  const p = new URLSearchParams(params);
  for (const [k, v] of Object.entries(patch)) {
    if (v === null || v === undefined || v === "") p.delete(k);
    else p.set(k, String(v));
  }
  return p;
}

/** href returns the address of a view. */
export function href(view: ViewName, process?: string, params?: URLSearchParams | Patch): string {
  const p = params instanceof URLSearchParams ? params : merge(new URLSearchParams(), params ?? {});
  let path = "/ui/" + view;
  if (process !== undefined) path = "/ui/process/" + encodeURIComponent(process).replaceAll("%3A", ":") + (view === "process" ? "" : "/" + view);
  // Colons, commas and plus signs of times are readable as they are.
  const q = p.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
  return path + (q ? "?" + q : "");
}

const heard = new Set<() => void>();

export function current(): Route {
  return parse(location.pathname, location.search);
}

/** go shows another address; replace leaves no step to go back to. */
export function go(address: string, replace = false): void {
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  for (const f of heard) f();
}

/** setParams changes parameters of the address that is shown. */
export function setParams(patch: Patch, replace = true): void {
  const r = current();
  go(href(r.view, r.process, merge(r.params, patch)), replace);
}

/** useRoute returns the route, and draws again when it changes. */
export function useRoute(): Route {
  const [route, set] = useState(current);
  useEffect(() => {
    const change = () => set(current());
    heard.add(change);
    window.addEventListener("popstate", change);
    return () => {
      heard.delete(change);
      window.removeEventListener("popstate", change);
    };
  }, []);
  return route;
}

/** follow makes links within the pages change the address without loading again. */
export function follow(e: MouseEvent): void {
  if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  const a = (e.target as Element | null)?.closest?.("a");
  if (!a || a.target || a.hasAttribute("download") || a.origin !== location.origin) return;
  if (a.pathname !== "/" && !a.pathname.startsWith("/ui")) return;
  if (a.hash && a.pathname === location.pathname) return;
  e.preventDefault();
  go(a.pathname + a.search);
  if (!a.dataset.stay) window.scrollTo(0, 0);
}
