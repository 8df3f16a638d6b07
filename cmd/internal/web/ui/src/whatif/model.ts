// Settings as they are typed, slid and drawn; and a plot of what they cost. Pure.
import { bytes, count, percent, unknown, value } from "../ui/format.tsx";

/** An estimate, and the interval in which nine of ten outcomes lie. */
export interface Quantity { estimate: number | null; low: number | null; high: number | null }

/** What the twin says of one setting. */
export interface Forecast {
  gogc_percent: number; // -1 is off
  gomemlimit_bytes: number; // 2^63-1 is none
  container_limit_bytes: number | null;
  gomaxprocs: number | null;
  gc_cycles_per_second: Quantity;
  gc_cpu_ratio: Quantity;
  gc_cpu_cores: Quantity;
  assist_ratio: Quantity;
  pause_ratio: Quantity;
  heap_p50_bytes: Quantity;
  heap_p90_bytes: Quantity;
  heap_peak_bytes: Quantity;
  rss_p50_bytes: Quantity;
  rss_p90_bytes: Quantity;
  rss_peak_bytes: Quantity;
  oom_probability: Quantity;
  limiter_probability: Quantity;
  notes: string[] | null;
  now?: boolean;
  best?: boolean;
  efficient?: boolean;
  fails?: string | null; // oom, storm
}

export interface Parameter { name: string; value: Quantity; from: string }

export interface Prediction {
  go_version: string;
  span_seconds: number;
  predictions: Forecast[] | null;
  current?: Forecast | null;
  storm_floor_bytes?: Quantity | null;
  parameters?: Parameter[] | null;
  missing?: string[] | null;
  error?: string | null;
}

/** Settings that can be asked about; null leaves one as it is. */
export interface Settings { gogc: number | null; memlimit: number | null; limit: number | null }

export const off = -1; // GOGC=off
export const none = Infinity; // no GOMEMLIMIT, no limit

const units: Record<string, number> = { "": 1, b: 1, k: 1024, ki: 1024, kib: 1024, m: 1048576, mi: 1048576, mib: 1048576, g: 2 ** 30, gi: 2 ** 30, gib: 2 ** 30, t: 2 ** 40, ti: 2 ** 40, tib: 2 ** 40 };

/** size reads 512MiB, 1.5 GiB, 1000000, off; undefined is what cannot be read. */
export function size(text: string): number | undefined {
  const t = text.trim().toLowerCase();
  if (t === "off" || t === "none") return none;
  const m = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/.exec(t);
  const unit = m ? units[m[2]!] : undefined;
  if (!m || unit === undefined) return undefined;
  const v = Math.round(Number(m[1]) * unit);
  // A small number without a unit may be meant in any.
  return v >= (m[2] === "" ? 1048576 : 1) && v < 2 ** 53 ? v : undefined;
}

/** sizeText writes a size as GOMEMLIMIT takes it, exactly. */
export function sizeText(v: number): string {
  if (!isFinite(v) || v >= 2 ** 62) return "off";
  v = Math.round(v);
  for (const [unit, by] of [["GiB", 2 ** 30], ["MiB", 1048576], ["KiB", 1024]] as const) if (v % by === 0) return v / by + unit;
  return v + "B";
}

/** percentage reads GOGC: 100, off. */
export function percentage(text: string): number | undefined {
  const t = text.trim().toLowerCase();
  if (t === "off" || t === "-1") return off;
  return /^\d{1,6}$/.test(t) ? Number(t) : undefined;
}

export function percentageText(v: number): string {
  return v < 0 ? "off" : String(v);
}

/** A slider's positions are 0 to `steps`, the values between low and high rise by factors. */
export interface Slider { low: number; high: number; steps: number }

export function toPosition(s: Slider, v: number): number {
  if (!isFinite(v) || v >= s.high) return s.steps;
  if (v <= s.low) return 0;
  return Math.round((Math.log(v / s.low) / Math.log(s.high / s.low)) * s.steps);
}

export function fromPosition(s: Slider, p: number): number {
  return s.low * (s.high / s.low) ** (Math.max(0, Math.min(s.steps, p)) / s.steps);
}

/** tidy rounds to two digits, so that a slider stops at numbers that people would write. */
export function tidy(v: number): number {
  const by = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(v, 1))) - 1);
  return Math.round(v / by) * by;
}

/** tidySize rounds to whole MiB, coarser where it is large. */
export function tidySize(v: number): number {
  const mib = v / 1048576;
  const by = mib > 4096 ? 64 : mib > 512 ? 16 : mib > 64 ? 4 : 1;
  return Math.max(1, Math.round(mib / by)) * by * 1048576;
}

/** same reports whether two forecasts are of the same settings. */
export function same(a: Forecast, b: Forecast): boolean {
  return a.gogc_percent === b.gogc_percent && a.gomemlimit_bytes === b.gomemlimit_bytes && (a.container_limit_bytes ?? 0) === (b.container_limit_bytes ?? 0);
}

/** named writes settings as one would say them. */
export function named(f: Forecast): string {
  const limit = f.gomemlimit_bytes >= 2 ** 62 ? "" : ", GOMEMLIMIT " + bytes(f.gomemlimit_bytes);
  return "GOGC " + percentageText(f.gogc_percent) + limit;
}

/** estimate is a quantity's number; null is unknown. */
export function estimate(q: Quantity | null | undefined): number | null {
  return q && q.estimate !== null && isFinite(q.estimate) ? q.estimate : null;
}

/** shown writes one number of a quantity. */
export function shown(v: number | null, unit: string): string {
  if (v === null) return unknown;
  if (unit === "chance") return v < 0.001 ? "< 0.1%" : percent(v);
  return value(v, unit);
}

/** range writes the interval of a quantity. */
export function range(q: Quantity, unit: string): string {
  const low = shown(q.low, unit), high = shown(q.high, unit);
  return q.low === null || q.high === null || low === high ? "" : low + " to " + high;
}

/** change says how much an estimate changes, when the intervals do not overlap. */
export function change(a: Quantity, b: Quantity): { text: string; better: boolean | null } {
  if (a.estimate === null || b.estimate === null || a.low === null || a.high === null || b.low === null || b.high === null) return { text: "", better: null };
  if (a.estimate === b.estimate) return { text: "same", better: null };
  if (a.low <= b.high && b.low <= a.high) return { text: "within the uncertainty", better: null };
  if (a.estimate === 0) return { text: "from none", better: b.estimate < a.estimate };
  const r = b.estimate / a.estimate;
  return { text: r >= 10 ? "×" + count(r) : (r > 1 ? "+" : "−") + percent(Math.abs(r - 1)), better: r < 1 };
}

/** chance compares probabilities: their intervals are too wide to ask for more than which is higher. */
export function chance(a: Quantity, b: Quantity): { text: string; better: boolean | null } {
  const d = (b.estimate ?? 0) - (a.estimate ?? 0);
  return Math.abs(d) < 0.001 ? { text: "", better: null } : { text: d > 0 ? "higher" : "lower", better: d < 0 };
}

/** ticks are round values between two, about n of them; in binary units when asked. */
export function ticks(low: number, high: number, n: number, binary = false): number[] {
  let unit = 1;
  if (binary) while (high / unit >= 2048) unit *= 1024;
  const raw = (high - low) / unit / n;
  if (!(raw > 0) || !isFinite(raw)) return [];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 2.5, 5].find((f) => raw <= f * power) ?? 10) * power;
  const out: number[] = [];
  for (let i = Math.ceil(low / unit / step); i * step * unit <= high * (1 + 1e-9) && out.length < 40; i++) out.push(i * step * unit);
  return out;
}

/** A Plot is where points lie: memory to the right, GC CPU up, in shares of the picture. */
export interface Plot {
  x: { low: number; high: number };
  y: { low: number; high: number };
  points: Forecast[]; // those that are on it
  left: number; // how many are not
  front: Forecast[]; // none is better in one, and as good in the other; by memory
}

function plottable(f: Forecast): boolean {
  return estimate(f.rss_peak_bytes) !== null && estimate(f.gc_cpu_ratio) !== null;
}

/** efficient are the points than which none is better in one and as good in the other. */
export function efficient(points: readonly Forecast[]): Forecast[] {
  const order = points.filter((f) => plottable(f) && !f.fails)
    .sort((a, b) => a.rss_peak_bytes.estimate! - b.rss_peak_bytes.estimate! || a.gc_cpu_ratio.estimate! - b.gc_cpu_ratio.estimate!);
  let least = Infinity;
  return order.filter((f) => {
    if (f.gc_cpu_ratio.estimate! >= least) return false;
    least = f.gc_cpu_ratio.estimate!;
    return true;
  });
}

/** plot scales the picture to what works, and to those points that must be seen. */
export function plot(points: readonly Forecast[], seen: readonly Forecast[], limit: number | null): Plot {
  const able = points.filter(plottable);
  let base = [...able.filter((f) => !f.fails), ...seen.filter(plottable)];
  if (base.length === 0) base = able;
  const xs = base.map((f) => f.rss_peak_bytes.estimate!);
  const ys = base.map((f) => f.gc_cpu_ratio.estimate!);
  let [low, high] = [Math.min(...xs, Infinity), Math.max(...xs, 0)];
  if (!isFinite(low)) low = 0;
  const near = Math.max(high - low, high / 2);
  if (limit !== null && isFinite(limit) && limit < high + near) [low, high] = [Math.min(low, limit), Math.max(high, limit)];
  const pad = Math.max((high - low) * 0.06, high * 0.02, 1);
  const x = { low: Math.max(low - pad, 0), high: high + pad };
  const y = { low: 0, high: Math.max(Math.max(...ys, 0) * 1.08, 0.001) };
  const on = able.filter((f) => f.rss_peak_bytes.estimate! >= x.low && f.rss_peak_bytes.estimate! <= x.high && f.gc_cpu_ratio.estimate! <= y.high);
  return { x, y, points: on, left: points.length - on.length, front: efficient(points) };
}

/** closest returns the point nearest to a place of the picture, within a distance; all in pixels. */
export function closest<T>(points: readonly T[], at: (p: T) => [number, number], x: number, y: number, within: number): T | null {
  let best: T | null = null;
  let least = within * within;
  for (const p of points) {
    const [px, py] = at(p);
    const d = (px - x) ** 2 + (py - y) ** 2;
    if (d <= least) [best, least] = [p, d];
  }
  return best;
}
