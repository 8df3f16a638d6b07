// A flame graph or icicle on a canvas.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { VNode } from "preact";
import { growth, mix, plain, type Palette, type Scale } from "./colors.ts";
import { deepest, height, hit, rect, step, type Flame, type View } from "./flame.ts";
import { fit } from "./names.ts";
import { useWidth } from "../ui/width.ts";

export const rowHeight = 19;
const font = 12;
// A canvas that is higher than this is not drawn at all by some browsers.
const maxPixels = 16000;

export interface Props {
  flame: Flame;
  zoom: number;
  up: boolean;
  hits: Uint8Array | null; // what a search found
  scale: Scale; // of a difference's colours
  palette: Palette;
  picked: number; // -1: none
  label: string; // what the picture shows, for those who do not see it
  onPick: (i: number) => void;
  onZoom: (i: number) => void;
  onReset: () => void;
}

/** largest is the largest change that a node of the view has: it gets the full colour. */
export function largest(f: Flame): number {
  let most = 0;
  for (let i = 1; i < f.count; i++) most = Math.max(most, Math.abs(f.nodes[i]!.value - (f.nodes[i]!.base ?? 0)));
  return most;
}

function draw(ctx: CanvasRenderingContext2D, v: View, p: Props, most: number): void {
  const { flame: f, palette, hits } = p;
  const h = height(f, v);
  ctx.fillStyle = palette.ground;
  ctx.fillRect(0, 0, v.width, h);
  ctx.font = `${font}px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace`;
  ctx.textBaseline = "middle";
  const char = ctx.measureText("M").width;
  const one = (i: number): number => {
    const r = rect(f, v, i);
    if (!r || r.w < 0.4) return 0;
    const n = f.nodes[i]!;
    const found = hits !== null && hits[i] === 1;
    if (hits !== null && !found && !f.diff) ctx.fillStyle = palette.dim;
    else ctx.fillStyle = f.diff ? mix(palette, growth(n.value, n.base ?? 0, p.scale, most)) : plain(palette, n.name, i === 0);
    if (hits !== null && !found && f.diff) ctx.globalAlpha = 0.35;
    const gap = r.w > 3 ? 1 : 0;
    ctx.fillRect(r.x, r.y, r.w - gap, rowHeight - 1);
    ctx.globalAlpha = 1;
    if (found && r.w >= 1) {
      ctx.fillStyle = palette.match;
      ctx.fillRect(r.x, r.y + rowHeight - 4, r.w - gap, 3);
    }
    const chars = Math.floor((r.w - 8) / char);
    if (chars >= 3) {
      ctx.fillStyle = palette.text;
      ctx.fillText(i === 0 ? "all" : fit(n.name, chars), r.x + 4, r.y + rowHeight / 2);
    }
    return r.w;
  };
  for (let i = v.zoom; i >= 0; i = f.parent[i]!) if (i !== v.zoom) one(i);
  for (let i = v.zoom; i < f.end[v.zoom]!; ) {
    // Below what is too narrow to be seen all is.
    i = one(i) > 0 ? i + 1 : f.end[i]!;
  }
}

function outline(ctx: CanvasRenderingContext2D, v: View, p: Props, i: number, strong: boolean): void {
  const r = i < 0 || i >= p.flame.count ? null : rect(p.flame, v, i);
  if (!r) return;
  ctx.strokeStyle = p.palette.text;
  ctx.lineWidth = strong ? 2 : 1;
  const d = ctx.lineWidth / 2;
  ctx.strokeRect(r.x + d, r.y + d, Math.max(r.w - 1 - 2 * d, 1), rowHeight - 1 - 2 * d);
}

export function FlameCanvas(p: Props): VNode {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [box, width] = useWidth<HTMLDivElement>();
  const [hover, setHover] = useState(-1);
  const [focus, setFocus] = useState(false);
  // The picture without what is under the pointer, so that a move draws two lines only.
  const still = useRef<HTMLCanvasElement | null>(null);
  const v: View = { zoom: p.zoom, width, rowHeight, up: p.up };
  const h = (deepest(p.flame, p.zoom) + 1) * rowHeight;

  useLayoutEffect(() => {
    if (width === 0) return;
    const ratio = Math.min(window.devicePixelRatio || 1, maxPixels / h, maxPixels / width);
    const off = (still.current ??= document.createElement("canvas"));
    off.width = Math.round(width * ratio);
    off.height = Math.round(h * ratio);
    const ctx = off.getContext("2d");
    if (!ctx) return;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw(ctx, v, p, largest(p.flame));
    const c = canvas.current!;
    c.width = off.width;
    c.height = off.height;
    c.style.width = width + "px";
    c.style.height = h + "px";
  }, [width, h, p.flame, p.zoom, p.up, p.hits, p.scale, p.palette]);

  useLayoutEffect(() => {
    const c = canvas.current;
    const ctx = c?.getContext("2d");
    if (!c || !ctx || !still.current || width === 0 || still.current.width === 0) return;
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.drawImage(still.current, 0, 0);
    const ratio = c.width / width;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (hover !== p.picked) outline(ctx, v, p, hover, false);
    outline(ctx, v, p, p.picked, focus);
  });

  // Of another profile the node under the pointer is another one.
  useEffect(() => setHover(-1), [p.flame]);

  const at = (e: MouseEvent): number => {
    const r = canvas.current!.getBoundingClientRect();
    return hit(p.flame, v, e.clientX - r.left, e.clientY - r.top);
  };
  const move = (e: MouseEvent): void => {
    const i = at(e);
    if (i === hover) return;
    setHover(i);
    p.onPick(i);
  };
  const click = (e: MouseEvent): void => {
    const i = at(e);
    if (i < 0) return;
    p.onPick(i);
    p.onZoom(i);
  };
  const key = (e: KeyboardEvent): void => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const i = p.picked < 0 ? p.zoom : p.picked;
    const to = (n: number): void => {
      p.onPick(n);
      const r = rect(p.flame, v, n);
      if (!r || !canvas.current) return;
      const top = canvas.current.getBoundingClientRect().top + r.y;
      if (top < 120 || top + rowHeight > window.innerHeight - 8) window.scrollBy({ top: top - window.innerHeight / 2 });
    };
    switch (e.key) {
      case "ArrowLeft":
      case "ArrowRight":
        to(step(p.flame, v, i, e.key === "ArrowLeft" ? "left" : "right"));
        break;
      case "ArrowUp":
      case "ArrowDown":
        to(step(p.flame, v, i, (e.key === "ArrowUp") === p.up ? "child" : "parent"));
        break;
      case "Enter":
      case " ":
        p.onZoom(i);
        break;
      case "Escape":
        if (p.zoom === 0) return; // for the page
        p.onZoom(Math.max(p.flame.parent[p.zoom]!, 0));
        break;
      case "Home":
        p.onReset();
        break;
      default:
        return;
    }
    e.preventDefault();
    e.stopPropagation();
  };

  return (
    <div class="flame" ref={box}>
      <canvas
        ref={canvas} tabIndex={0} role="application" aria-roledescription="flame graph" aria-label={p.label}
        onMouseMove={move} onMouseLeave={() => { setHover(-1); }} onClick={click} onKeyDown={key}
        onFocus={() => setFocus(true)} onBlur={() => setFocus(false)}
        class={hover >= 0 ? "over" : ""}
      />
    </div>
  );
}
