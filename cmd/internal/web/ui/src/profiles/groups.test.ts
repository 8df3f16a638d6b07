import { test } from "node:test";
import assert from "node:assert/strict";
import type { GoroutineGroup } from "../api/types.ts";
import { at, group, where } from "./groups.ts";

const g = (count: number, base: number, wait_reason: string, created: string, top: string, wait?: number): GoroutineGroup => ({
  count, base, growth: count - base, status: "waiting", wait_reason, wait_max_seconds: wait ?? null,
  created_by: created ? { func: created, file: "/src/a.go", line: 7 } : null,
  stack: [{ func: "runtime.gopark", file: "proc.go", line: 1 }, { func: top, file: "/src/b/c.go", line: 12 }],
});
const all = [
  g(10, 10, "chan receive", "main.start", "main.work", 5),
  g(500, 100, "select", "main.start", "main.loop", 60),
  g(3, 9, "select", "", "net/http.(*Server).Serve"),
];

test("groups add up, and those that grew come first", () => {
  const by = group(all, "reason", true);
  assert.deepEqual(by.map((x) => [x.title, x.count, x.base, x.growth, x.waitMax]), [["select", 503, 109, 394, 60], ["chan receive", 10, 10, 0, 5]]);
  const made = group(all, "created", true);
  assert.equal(made[0]!.title, "main.start");
  assert.equal(made[0]!.count, 510);
  assert.deepEqual(made[0]!.reasons, ["select", "chan receive"]);
  assert.equal(group(all, "stack", true).length, 3);
});

test("without a moment to compare with the number decides", () => {
  assert.deepEqual(group(all, "stack", false).map((x) => x.count), [500, 10, 3]);
});

test("a goroutine stands where the program called the runtime", () => {
  assert.equal(at(all[0]!)!.func, "main.work");
  assert.equal(where(at(all[0]!)), "c.go:12");
  assert.equal(at({ count: 1, status: "running" }), null);
});
