// Keys. A view says which it knows; nothing is taken from a field that is typed into.
import { useEffect, useRef } from "preact/hooks";

export interface Key { key: string; does: string; run: (e: KeyboardEvent) => void }

const known: Key[][] = [];

export function allKeys(): Key[] {
  return known.flat();
}

function typing(t: EventTarget | null): boolean {
  return t instanceof HTMLElement && (t.isContentEditable || t instanceof HTMLTextAreaElement || t instanceof HTMLSelectElement
    || (t instanceof HTMLInputElement && !["range", "checkbox", "radio", "button"].includes(t.type)));
}

/** useKeys listens for keys while the component is there; they are listed under "?". */
export function useKeys(keys: Key[]): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    const mine: Key[] = latest.current.map((k, i) => ({ ...k, run: (e) => latest.current[i]?.run(e) }));
    known.push(mine);
    const down = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented) return;
      if (typing(e.target) && e.key !== "Escape") return;
      if (e.key === "Enter" && e.target instanceof Element && e.target.closest("a,button,summary")) return;
      const k = latest.current.find((x) => x.key === e.key);
      if (!k) return;
      if (k.key !== "Escape") e.preventDefault();
      k.run(e);
    };
    window.addEventListener("keydown", down);
    return () => {
      window.removeEventListener("keydown", down);
      known.splice(known.indexOf(mine), 1);
    };
  }, [keys.length]);
}
