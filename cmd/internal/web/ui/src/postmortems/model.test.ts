import assert from "node:assert/strict";
import test from "node:test";
import { segments, where, words, type Composition } from "./model.ts";

const composition = (rows: [string, number][], unseen: number | null = null): Composition => ({
  time: "", before_kill_seconds: null, of: "cgroup", total_bytes: 0, limit_bytes: null, was_time: null, was_bytes: null, unseen_bytes: unseen,
  rows: rows.map(([memory, bytes]) => ({ memory, name: memory, bytes, was_bytes: null, how: "measured" })),
});

test("a bar is whole, and in order", () => {
  const s = segments(composition([["page-cache", 10], ["heap-live", 60], ["heap-garbage", 30]], 20));
  assert.deepEqual(s.map((x) => x.memory), ["heap-live", "heap-garbage", "page-cache", "after-last"]);
  assert.equal(s.reduce((n, x) => n + x.share, 0), 1);
});

test("what was never touched comes off what is Go's", () => {
  const s = segments(composition([["heap-live", 60], ["runtime", 4], ["heap-garbage", 30], ["not-resident", -10]]));
  assert.deepEqual(s.map((x) => [x.memory, x.bytes]), [["heap-live", 60], ["heap-garbage", 24]]);
});

test("nothing makes no bar", () => {
  assert.deepEqual(segments(composition([])), []);
  assert.deepEqual(segments(composition([["heap-live", 0]])), []);
});

test("names", () => {
  assert.equal(words("heap-live"), "heap live");
  assert.equal(where({ func: "main.f", file: "/a/b.go", line: 3 }), "main.f (b.go:3)");
  assert.equal(where({ func: "" }), "unknown");
});
