// "What is this?": a button and what it opens, in plain words.
import type { ComponentChildren, VNode } from "preact";
import { useId, useRef } from "preact/hooks";

/** place puts a popover below its button, within the window. */
function place(pop: HTMLElement, button: HTMLElement): void {
  const b = button.getBoundingClientRect(), margin = 8;
  const w = pop.offsetWidth, h = pop.offsetHeight;
  const x = Math.max(margin, Math.min(b.right - w, innerWidth - w - margin));
  const y = b.bottom + 6 + h > innerHeight - margin ? Math.max(margin, b.top - h - 6) : b.bottom + 6;
  pop.style.left = `${x}px`;
  pop.style.top = `${y}px`;
}

/** Pop is a button that opens a small page over the others; Escape and a click elsewhere close it. */
export function Pop(props: { label: ComponentChildren; title: string; kind?: string; children: ComponentChildren }): VNode {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  return (
    <>
      <button ref={button} type="button" class={props.kind ?? "quiet"} popovertarget={id} aria-label={props.title} title={props.title}>{props.label}</button>
      <div id={id} popover="auto" class="pop" onToggle={(e) => {
        const t = e as unknown as ToggleEvent;
        if (t.newState === "open" && button.current) place(t.currentTarget as HTMLElement, button.current);
      }}>{props.children}</div>
    </>
  );
}

/** What a chart or a number is, what is good and what is bad. */
export interface About { what: ComponentChildren; good?: ComponentChildren; bad?: ComponentChildren; source?: ComponentChildren }

export function Help(props: { of: string; about: About }): VNode {
  const { what, good, bad, source } = props.about;
  return (
    <Pop label="?" kind="round" title={`What is this? ${props.of}`}>
      <h3>{props.of}</h3>
      <p>{what}</p>
      {good && <p><b class="good">Good:</b> {good}</p>}
      {bad && <p><b class="bad">Bad:</b> {bad}</p>}
      {source && <p class="note">{source}</p>}
    </Pop>
  );
}
