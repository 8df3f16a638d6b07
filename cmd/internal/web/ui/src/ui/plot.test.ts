import assert from "node:assert/strict";
import test from "node:test";
import { nearest, quantile, spread, stacked, stat, thin } from "./plot.ts";

test("labels are moved apart, stay in the box and in order", () => {
  assert.deepEqual(spread([10, 50, 90], 15, 0, 100), [10, 50, 90]);
  assert.deepEqual(spread([50, 50, 50], 15, 0, 100), [50, 65, 80]);
  assert.deepEqual(spread([99, 98], 15, 0, 100), [100, 85]);
  assert.deepEqual(spread([-500, 500], 15, 0, 100), [0, 100]);
  for (let seed = 1; seed < 200; seed++) {
    const ys = Array.from({ length: 1 + (seed % 7) }, (_, i) => ((seed * 7919 * (i + 3)) % 260) - 30);
    const got = spread(ys, 14, 0, 200), order = ys.map((_, i) => i).sort((a, b) => ys[a]! - ys[b]! || a - b);
    order.forEach((i, k) => {
      assert.ok(got[i]! >= -1e-9 && got[i]! <= 200 + 1e-9, `${ys} -> ${got}`);
      if (k) assert.ok(got[i]! - got[order[k - 1]!]! >= 14 - 1e-9, `${ys} -> ${got}`);
    });
  }
  assert.deepEqual(spread([], 15, 0, 100), []);
});

test("nearest", () => {
  assert.equal(nearest([], 3), -1);
  const v = [1, 2, 4, 8];
  for (const [x, want] of [[-5, 0], [1.4, 0], [1.6, 1], [3.1, 2], [7, 3], [100, 3]] as const) assert.equal(nearest(v, x), want);
});

test("stacks", () => {
  assert.deepEqual(stacked([[1, null, null], [2, 3, null]]), [[1, 0, null], [3, 3, null]]);
  assert.deepEqual(stacked([]), []);
});

test("statistics leave out what is not known", () => {
  assert.deepEqual(stat([1, null, 3]), { n: 2, mean: 2, max: 3, last: 3 });
  assert.deepEqual(stat([null]), { n: 0, mean: null, max: null, last: null });
  assert.equal(quantile([null, 4, 2], 0.5), 3);
  assert.equal(quantile([], 0.5), null);
  assert.equal(quantile([7], 0.99), 7);
});

test("thinning keeps the extremes and the order", () => {
  const items = Array.from({ length: 1000 }, (_, i) => ({ i, w: i === 517 ? 99 : i % 7 }));
  const got = thin(items, 50, (x) => x.w);
  assert.equal(got.length, 50);
  assert.ok(got.some((x) => x.i === 517));
  assert.ok(got.every((x, k) => k === 0 || x.i > got[k - 1]!.i));
  assert.equal(thin(items, 5000, (x) => x.w).length, 1000);
});
