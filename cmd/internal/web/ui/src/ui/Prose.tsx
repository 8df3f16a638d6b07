import type { VNode } from "preact";

/** Prose shows text in which what stands between backquotes is code. */
export function Prose(props: { text: string }): VNode {
  return <>{props.text.split("`").map((t, i, all) => (i % 2 === 1 && i < all.length - 1 ? <code key={i}>{t}</code> : t))}</>;
}
