import { test } from "node:test";
import assert from "node:assert/strict";
import { chance, change, closest, efficient, fromPosition, none, off, percentage, plot, range, shown, size, sizeText, ticks, tidy, tidySize, toPosition, type Forecast, type Quantity } from "./model.ts";

const q = (v: number | null): Quantity => ({ estimate: v, low: v, high: v });
const f = (rss: number | null, gc: number, fails: string | null = null): Forecast => ({
  gogc_percent: 100, gomemlimit_bytes: 2 ** 63, container_limit_bytes: null, gomaxprocs: null, gc_cycles_per_second: q(1), gc_cpu_ratio: q(gc), gc_cpu_cores: q(0),
  assist_ratio: q(0), pause_ratio: q(0), heap_p50_bytes: q(0), heap_p90_bytes: q(0), heap_peak_bytes: q(0), rss_p50_bytes: q(0), rss_p90_bytes: q(0), rss_peak_bytes: q(rss),
  oom_probability: q(0), limiter_probability: q(0), notes: [], fails,
});

test("sizes are read as people write them, and written as the runtime reads them", () => {
  for (const [text, v] of [["512MiB", 2 ** 29], ["1.5 GiB", 1.5 * 2 ** 30], ["64Mi", 2 ** 26], ["4000000", 4e6], ["12B", 12], ["off", none], ["none", none]] as const) assert.equal(size(text), v, text);
  for (const text of ["", "x", "12 parsec", "-5MiB", "0", "512", "1e9", "99999999TiB"]) assert.equal(size(text), undefined, text);
  for (const v of [1, 1024, 1048576, 507510784, 2 ** 30, 3 * 2 ** 29]) assert.equal(size(sizeText(v)), v);
  assert.equal(sizeText(2 ** 63), "off");
  assert.equal(sizeText(none), "off");
});

test("GOGC is a number or off", () => {
  assert.equal(percentage("off"), off);
  assert.equal(percentage(" 200 "), 200);
  assert.equal(percentage("1.5"), undefined);
  assert.equal(percentage(""), undefined);
});

test("a slider keeps its value through a turn, and its ends hold", () => {
  const s = { low: 10, high: 1000, steps: 200 };
  for (let p = 0; p <= 200; p++) assert.equal(toPosition(s, fromPosition(s, p)), p);
  assert.equal(toPosition(s, 1), 0);
  assert.equal(toPosition(s, none), 200);
  assert.equal(tidy(1234), 1200);
  assert.equal(tidy(87.4), 87);
  assert.equal(tidySize(513.4 * 1048576), 512 * 1048576);
});

test("the front is what nothing beats in both", () => {
  const a = f(100, 0.3), b = f(200, 0.1), c = f(200, 0.2), d = f(300, 0.1), e = f(50, 0.01, "oom");
  assert.deepEqual(efficient([d, c, b, a, e, f(null, 0)]), [a, b]);
});

test("a plot holds what works, and says what it leaves out", () => {
  const p = plot([f(100e6, 0.1), f(200e6, 0.05), f(90e6, 0.9, "storm"), f(null, 0.1)], [f(400e6, 0.01)], 450e6);
  assert.equal(p.left, 2);
  assert.ok(p.x.high > 450e6 && p.x.low < 100e6 && p.y.high > 0.1 && p.y.high < 0.2);
  const empty = plot([], [], null);
  assert.ok(isFinite(empty.x.low) && isFinite(empty.x.high) && empty.y.high > 0);
});

test("ticks are round", () => {
  assert.deepEqual(ticks(0, 0.1, 5), [0, 0.02, 0.04, 0.06, 0.08, 0.1]);
  assert.ok(ticks(100 * 1048576, 500 * 1048576, 5, true).every((t) => t % 1048576 === 0));
  assert.deepEqual(ticks(1, 1, 5), []);
});

test("the closest point is found within reach only", () => {
  const at = (p: [number, number]): [number, number] => p;
  assert.deepEqual(closest([[0, 0], [10, 10]] as [number, number][], at, 8, 9, 20), [10, 10]);
  assert.equal(closest([[0, 0]] as [number, number][], at, 30, 0, 20), null);
});

test("a change is one only outside of the uncertainty", () => {
  const r = (estimate: number, low: number, high: number): Quantity => ({ estimate, low, high });
  assert.deepEqual(change(r(10, 9, 11), r(5, 4, 6)), { text: "−50.0%", better: true });
  assert.deepEqual(change(r(10, 9, 11), r(12, 10.5, 13)), { text: "within the uncertainty", better: null });
  assert.deepEqual(change(r(1, 1, 1), r(20, 18, 22)), { text: "×20", better: false });
  assert.deepEqual(change(r(5, 5, 5), r(5, 5, 5)), { text: "same", better: null });
  assert.deepEqual(change(q(null), q(1)), { text: "", better: null });
  assert.deepEqual(chance(r(0, 0, 0.2), r(0.5, 0, 1)), { text: "higher", better: false });
  assert.deepEqual(chance(q(0), q(0)), { text: "", better: null });
});

test("a range that rounds to one number is none", () => {
  assert.equal(shown(0.0001, "chance"), "< 0.1%");
  assert.equal(shown(null, "bytes"), "–");
  assert.equal(range({ estimate: 0, low: 0, high: 0.0004 }, "chance"), "");
  assert.equal(range({ estimate: 2, low: 1048576, high: 2097152 }, "bytes"), "1.00 MiB to 2.00 MiB");
});
