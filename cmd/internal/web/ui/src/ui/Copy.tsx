import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";

/** copy puts text on the clipboard, also where the page has no secure context. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const t = document.createElement("textarea");
    t.value = text;
    t.className = "away";
    document.body.append(t);
    t.select();
    const done = document.execCommand("copy");
    t.remove();
    return done;
  }
}

/** Copy is a button that copies a text, and says that it did. */
export function Copy(props: { text: string | (() => string); label?: string; title?: string }): VNode {
  const [said, say] = useState("");
  useEffect(() => {
    if (!said) return;
    const t = setTimeout(() => say(""), 1600);
    return () => clearTimeout(t);
  }, [said]);
  const label = props.label ?? "Copy";
  return (
    <button type="button" class="quiet" title={props.title} aria-live="polite"
      onClick={() => copy(typeof props.text === "string" ? props.text : props.text()).then((ok) => say(ok ? "Copied" : "Not copied"))}>
      {said || label}
    </button>
  );
}
