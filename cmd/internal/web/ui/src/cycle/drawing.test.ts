import assert from "node:assert/strict";
import test from "node:test";
import type { Cycle } from "../api/types.ts";
import { heapOf, lanesOf } from "./drawing.ts";

const cycle: Cycle = {
  n: 1, end: "", pause_seconds: 0.003, sweep_termination_seconds: 0.001, mark_seconds: 0.01, mark_termination_seconds: 0.002, assist_cpu_seconds: 0.01, dedicated_cpu_seconds: 0.02, fractional_cpu_seconds: 0, idle_cpu_seconds: null,
  heap_start_bytes: 100, heap_end_bytes: 120, heap_marked_bytes: 50, heap_goal_bytes: 110, stack_scan_bytes: null, globals_scan_bytes: null, forced: false, procs: 4,
};

test("the heap of a cycle", () => {
  assert.deepEqual(heapOf(cycle), { start: 100, end: 120, marked: 50, freed: 70, goal: 110, top: 120 * 1.02 });
  assert.equal(heapOf({ ...cycle, heap_marked_bytes: null }), null);
  assert.equal(heapOf({ ...cycle, heap_goal_bytes: 2 ** 62 })!.goal, null);
  assert.equal(heapOf({ ...cycle, heap_marked_bytes: 500 })!.freed, 0);
});

test("the processors of a cycle", () => {
  const l = lanesOf(cycle)!;
  assert.deepEqual(l.layers.map((x) => [x.key, x.procs]), [["workers", 2], ["assist", 1], ["idle", 0]]);
  assert.ok(Math.abs(l.total - 0.013) < 1e-12);
  assert.equal(lanesOf({ ...cycle, mark_seconds: null }), null);
  assert.equal(lanesOf({ ...cycle, mark_seconds: 0 }), null);
});
