// The document of an experiment, and where its intervals lie in a picture. Pure.
import { bytes, count, percent, seconds, unknown } from "../ui/format.tsx";
import type { Num } from "../api/types.ts";

export interface Metric {
  variant: string; name: string; verdict: string; ratio: Num; ci_low: Num; ci_high: Num; ci_level_ratio: Num; n: number;
  role: "goal" | "guard" | "exploratory"; design: string; margin_ratio: Num; baseline: Num; value: Num; more_pairs: Num; p: Num; q: Num; why: string | null;
  forecast: { ratio: Num; low: Num; high: Num } | null;
}
export interface Comparison { variant: string; verdict: string; reasons: string[]; eliminated: string | null; same_program: boolean }
export interface Variant { name: string; settings: string[]; go_version: string | null; binary_sha256: string | null; binary_bytes: Num; pareto: boolean }
export interface Result {
  verdict: string; reasons: string[]; name: string; file: string | null; started: string | null; ended: string | null; ended_how: string | null; ended_text: string | null;
  pairs: number; blocks: number; rate_per_second: Num; host_grade: string | null;
  machine: { cpu: string | null; cores: Num; memory_bytes: Num; kernel: string | null; cgroup: string | null };
  variants: Variant[]; comparisons: Comparison[]; metrics: Metric[]; dropped: string[]; warnings: string[];
}

/** quantity writes a value of a metric: its name ends with the unit. */
export function quantity(v: Num, name: string): string {
  if (v === null) return unknown;
  if (/_bytes$/.test(name)) return bytes(v);
  if (/_ratio$/.test(name)) return percent(v);
  if (/_seconds(_per_[a-z]+)?$/.test(name)) return seconds(v);
  if (/_bytes_per_request$/.test(name)) return bytes(v);
  return count(v);
}

/** title writes a metric's name for people. */
export function title(name: string): string {
  return name.replace(/_(bytes|seconds|ratio)$/, "").replaceAll("_", " ").replace(/\bgc\b/g, "GC").replace(/\bcpu\b/g, "CPU").replace(/\brss\b/g, "RSS").replace(/\bstw\b/g, "STW").replace(/^./, (c) => c.toUpperCase());
}

/** percentage writes a ratio to the baseline as a change: +12.3%. */
export function percentage(ratio: Num): string {
  if (ratio === null) return unknown;
  const d = ratio - 1;
  if (ratio >= 10) return "×" + count(ratio);
  return Math.abs(d) < 0.00005 ? "±0%" : (d > 0 ? "+" : "−") + percent(Math.abs(d));
}

/** An Axis maps ratios to shares of a width; 1 is in it, and what is far out is at the edge. */
export interface Axis { low: number; high: number }

/** axis holds the intervals of all metrics, but none so wide that it hides the others. */
export function axis(metrics: readonly Metric[]): Axis {
  let most = 0.05;
  for (const m of metrics) for (const r of [m.ci_low, m.ci_high, m.ratio]) if (r !== null && r > 0) most = Math.max(most, Math.abs(Math.log(r)));
  most = Math.min(most * 1.05, Math.log(4));
  return { low: -most, high: most };
}

export function place(a: Axis, ratio: number): number {
  const v = ratio > 0 ? Math.log(ratio) : a.low;
  return Math.max(0, Math.min(1, (v - a.low) / (a.high - a.low)));
}

/** tone is what a verdict means. */
export function tone(verdict: string | null | undefined): "good" | "bad" | "open" {
  switch (verdict) {
    case "PASS": case "IMPROVED": case "NON-INFERIOR": case "EQUIVALENT": return "good";
    case "FAIL": case "REGRESSED": return "bad";
  }
  return "open";
}

/** mark is the verdict's sign, for those who do not see its colour. */
export function mark(verdict: string | null | undefined): string {
  return { good: "✓", bad: "✗", open: "?" }[tone(verdict)];
}
