import { test } from "node:test";
import assert from "node:assert/strict";
import { axis, percentage, place, quantity, title, tone, type Metric } from "./model.ts";

const m = (ratio: number | null, low: number | null, high: number | null): Metric => ({
  variant: "v", name: "x", verdict: "IMPROVED", ratio, ci_low: low, ci_high: high, ci_level_ratio: 0.9, n: 6, role: "goal", design: "duet", margin_ratio: null,
  baseline: 1, value: 1, more_pairs: null, p: null, q: null, why: null, forecast: null,
});

test("1 lies in the middle, and what is far out at the edge", () => {
  const a = axis([m(0.5, 0.4, 0.6), m(1, 0.9, null)]);
  assert.equal(place(a, 1), 0.5);
  assert.ok(place(a, 0.4) > 0 && place(a, 0.4) < 0.1);
  assert.equal(place(a, 1e9), 1);
  assert.equal(place(a, 0), 0);
  assert.ok(axis([m(1e6, 1e5, 1e7)]).high <= Math.log(4));
  assert.ok(axis([]).high > 0);
});

test("metrics and their values are written for people", () => {
  assert.equal(title("gc_cpu_ratio"), "GC CPU");
  assert.equal(title("latency_p99_seconds"), "Latency p99");
  assert.equal(quantity(1048576, "rss_mean_bytes"), "1.00 MiB");
  assert.equal(quantity(null, "x"), "–");
  assert.equal(percentage(0.4287), "−57.1%");
  assert.equal(percentage(1), "±0%");
  assert.equal(percentage(25), "×25");
  assert.equal(tone("UNUSABLE"), "open");
});
