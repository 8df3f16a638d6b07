import assert from "node:assert/strict";
import test from "node:test";
import type { Cycle, Episode, Finding, LiveSample, Series } from "../api/types.ts";
import { bandsOf, chartOf, differences, extend, join, levelsOf } from "./data.ts";

const series = (time: number[], lines: Record<string, (number | null)[]>): Series => ({
  from: "", to: "", step_seconds: 1, time, heat: null, warnings: null,
  series: Object.entries(lines).map(([name, values]) => ({ name, label: name, unit: "bytes", values, min: null, max: null })),
});
const sample = (t: number, rss: number): LiveSample => ({ id: "p", time: new Date(t * 1000).toISOString(), rss_bytes: rss, heap_live_bytes: null, heap_goal_bytes: null, limit_bytes: null, goroutines: null, gc_cpu_ratio: null, cycles: [] });

test("the stream goes on where the answer ends", () => {
  const s = series([10, 11, 12], { rss_bytes: [1, 2, null], limit: [9, 9, null] });
  const got = extend(s, [sample(11, 5), sample(12, 6), sample(13, 7)], { rss_bytes: (x) => x.rss_bytes })!;
  assert.deepEqual(got.time, [10, 11, 12, 13]);
  assert.deepEqual(got.series[0]!.values, [1, 2, 6, 7]);
  assert.deepEqual(got.series[1]!.values, [9, 9, 9, 9]);
  assert.equal(extend(s, [sample(10, 5)], { rss_bytes: (x) => x.rss_bytes }), s);
  assert.equal(extend(null, [], {}), null);
});

test("cycles are joined once", () => {
  const c = (n: number) => ({ n, end: new Date(n * 1000).toISOString() }) as Cycle;
  assert.deepEqual(join([c(1), c(2)], [c(2), c(3)]).map((x) => x.n), [1, 2, 3]);
  assert.deepEqual(join([], [c(3)]).map((x) => x.n), [3]);
});

test("findings are drawn where they come from", () => {
  for (const [id, chart] of [["HW1001", "memory"], ["HW2003", "gc"], ["HW3001", "memory"], ["HW3002", "goroutines"], ["HW4003", "sched"], ["HW9001", null], ["HW1008", null]] as const) assert.equal(chartOf(id), chart, id);
  const finding = { id: "HW1001", severity: "critical", title: "t", evidence: [{ name: "container_limit_bytes", value: 5, unit: "bytes", source: "", text: "5 B" }, { name: "projected_peak_bytes", value: 6, unit: "bytes", source: "", text: "6 B" }] } as unknown as Finding;
  const e = { process: "p", id: "HW1001", severity: "critical", began: "1970-01-01T00:00:10Z", seen: "", ended: null, finding } as Episode;
  assert.deepEqual(levelsOf("memory", [e], null, 99_000), [{ value: 6, label: "projected peak 6 B", severity: "critical", from: 10, to: 99 }]);
  assert.deepEqual(levelsOf("memory", [{ ...e, ended: "1970-01-01T00:00:20Z" }], null, 99_000), []);
  assert.equal(levelsOf("memory", [{ ...e, ended: "1970-01-01T00:00:20Z" }], "HW1001", 99_000)[0]!.to, 20);
  assert.deepEqual(levelsOf("gc", [e], null, 99_000), []);
  assert.deepEqual(bandsOf("memory", [e], "HW1001", 99_000), [{ from: 10, to: 99, label: "t", severity: "critical", strong: true }]);
});

test("differences leave out what neither knows", () => {
  const none = { memory: null, gc: null, goroutines: null, cpu: null, sched: null, pressure: null, cycles: [], thinned: false };
  assert.deepEqual(differences(none, none), []);
  const got = differences({ ...none, memory: series([1], { rss_bytes: [4] }) }, none);
  assert.deepEqual(got.map((d) => [d.name, d.a, d.b]), [["RSS, mean", 4, null], ["RSS, highest", 4, null]]);
});
