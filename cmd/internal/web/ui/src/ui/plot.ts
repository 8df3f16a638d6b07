// The arithmetic of charts. Pure.
import type { Num } from "../api/types.ts";

/**
 * spread moves labels apart: it returns positions at least gap from each other,
 * within top and bottom as far as they fit, each as near to its own as that allows.
 */
export function spread(at: readonly number[], gap: number, top: number, bottom: number): number[] {
  const order = at.map((_, i) => i).sort((a, b) => at[a]! - at[b]! || a - b);
  const out = at.slice();
  let last = -Infinity;
  for (const i of order) {
    out[i] = Math.max(top, last + gap, Math.min(at[i]!, bottom));
    last = out[i];
  }
  let next = Math.max(bottom, top + gap * (at.length - 1)) + gap;
  for (const i of order.reverse()) {
    out[i] = Math.min(out[i]!, next - gap);
    next = out[i];
  }
  return out;
}

/** nearest returns the index of the value nearest to x in rising values, -1 when there is none. */
export function nearest(values: readonly number[], x: number): number {
  if (values.length === 0) return -1;
  let lo = 0, hi = values.length - 1;
  while (hi - lo > 1) {
    const mid = (lo + hi) >> 1;
    if (values[mid]! <= x) lo = mid;
    else hi = mid;
  }
  return Math.abs(values[lo]! - x) <= Math.abs(values[hi]! - x) ? lo : hi;
}

/** stacked returns each series with those before it added. A gap in all is a gap; in one it is nothing. */
export function stacked(series: readonly (readonly Num[])[]): Num[][] {
  const n = series[0]?.length ?? 0, sum: Num[] = Array<Num>(n).fill(null);
  return series.map((s) => {
    for (let i = 0; i < n; i++) {
      const v = s[i] ?? null;
      if (v !== null) sum[i] = (sum[i] ?? 0) + v;
    }
    return sum.slice();
  }).map((s) => s.map((v, i) => (v === null && sum[i] !== null ? 0 : v)));
}

export interface Stat { n: number; mean: Num; max: Num; last: Num }

export function stat(values: readonly Num[] | undefined): Stat {
  let n = 0, sum = 0, max = -Infinity, last: Num = null;
  for (const v of values ?? []) {
    if (v === null || !Number.isFinite(v)) continue;
    n++;
    sum += v;
    if (v > max) max = v;
    last = v;
  }
  return n ? { n, mean: sum / n, max, last } : { n: 0, mean: null, max: null, last: null };
}

/** quantile of values that need no order: the value below which a share q of them lies. */
export function quantile(values: readonly Num[], q: number): Num {
  const v = values.filter((x): x is number => x !== null && Number.isFinite(x)).sort((a, b) => a - b);
  if (v.length === 0) return null;
  const at = (v.length - 1) * q, i = Math.floor(at), f = at - i;
  return v[i]! + (i + 1 < v.length ? f * (v[i + 1]! - v[i]!) : 0);
}

/** thin keeps at most n values spread over all: the largest by weight of each stretch. */
export function thin<T>(items: readonly T[], n: number, weight: (x: T) => number): T[] {
  if (items.length <= n) return items.slice();
  const out: T[] = [];
  for (let i = 0; i < n; i++) {
    const a = Math.floor((i * items.length) / n), b = Math.floor(((i + 1) * items.length) / n);
    let best = items[a]!;
    for (let k = a + 1; k < b; k++) if (weight(items[k]!) > weight(best)) best = items[k]!;
    out.push(best);
  }
  return out;
}

/** binary steps for the axis of bytes: 1, 2, 4 and so on. */
export const byteSteps: number[] = Array.from({ length: 54 }, (_, i) => 2 ** i);
