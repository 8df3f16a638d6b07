// A line so small that it has no axes.
import type { VNode } from "preact";
import type { Num } from "../api/types.ts";

/** path draws values into a box; a null is a gap. low and high are what its edges stand for. */
export function path(values: readonly Num[], w: number, h: number, low: number, high: number): string {
  const step = values.length > 1 ? w / (values.length - 1) : 0, range = high - low || 1;
  let d = "", pen = false;
  values.forEach((v, i) => {
    if (v === null) {
      pen = false;
      return;
    }
    const y = h - ((v - low) / range) * h;
    d += `${pen ? "L" : "M"}${+(i * step).toFixed(1)} ${+y.toFixed(1)}`;
    pen = true;
  });
  return d;
}

/** area closes a path to the floor, from the first value on; a gap in it counts as nothing. */
export function area(values: readonly Num[], w: number, h: number, low: number, high: number): string {
  const first = values.findIndex((v) => v !== null);
  if (first < 0) return "";
  const x = values.length > 1 ? (first * w) / (values.length - 1) : 0;
  return path(values.map((v, i) => (i < first ? null : v ?? low)), w, h, low, high) + `L${w} ${h}L${+x.toFixed(1)} ${h}Z`;
}

export function Spark(props: { values: readonly Num[]; label: string; tone?: string; floor?: number; top?: number; under?: readonly Num[] }): VNode | null {
  const known = props.values.filter((v) => v !== null);
  if (known.length < 2) return <span class="spark none" aria-hidden="true" />;
  const most = Math.max(...known, props.top ?? -Infinity);
  const low = props.floor ?? 0, high = most > low ? most : low + 1;
  return (
    <svg class={"spark " + (props.tone ?? "")} viewBox="0 -1 100 22" preserveAspectRatio="none" role="img" aria-label={props.label}>
      {props.under && <path class="under" d={area(props.under, 100, 20, low, high)} />}
      <path d={path(props.values, 100, 20, low, high)} />
    </svg>
  );
}
