import { test } from "node:test";
import assert from "node:assert/strict";
import { behind, facts, flat, hints, label, text } from "./status.ts";

test("values are written in the unit of their key", () => {
  assert.equal(text("rss_bytes", 1048576), "1.00 MiB");
  assert.equal(text("bytes_wal", 2048), "2.00 KiB");
  assert.equal(text("max_bytes", 0), "no bound");
  assert.equal(text("gomemlimit_bytes", 2 ** 63), "none");
  assert.equal(text("behind_ns", 15e9), "15.0 s");
  assert.equal(text("sent_total", 1234567), "1.23 M");
  assert.equal(text("ended", "0001-01-01T00:00:00Z"), "–");
  assert.equal(text("locked", true), "yes");
  assert.equal(label("bytes_total"), "Bytes");
  assert.equal(label("uptime_seconds"), "Uptime");
  assert.equal(label("rss_bytes"), "RSS");
  assert.equal(label("gc_cpu_ratio"), "GC CPU");
  assert.equal(label("max_bytes"), "Max bytes");
});

test("parts inside of parts are flat", () => {
  assert.deepEqual(flat({ a: 1, b: { c: 2, d: { e: 3 } }, f: [1] }), [["a", 1], ["b_c", 2], ["b_d_e", 3]]);
});

test("values that would be called the same are told apart", () => {
  assert.deepEqual(facts({ blocks: 2, blocks_bytes: 1024, series: 5 }), [["Blocks", "2"], ["Blocks bytes", "1.00 KiB"], ["Series", "5"]]);
});

test("what is wrong is said with what to do", () => {
  assert.deepEqual(hints({}, 0), []);
  assert.deepEqual(hints({ forward: [{ name: "m", behind_seconds: 15 }] }, 0), []);
  const h = hints({
    agent: { last_problem: "x", problem_at: "2026-01-01T00:00:00Z", samples: 1000, late_rounds: 50 }, discovery: { too_many: 3 },
    store: { dropped: { failed: 4, duplicate: 9 }, free_bytes: 1024 }, vault: { bytes: 99, max_bytes: 100 },
    forward: [{ name: "m", behind_ns: 9e11, last_error: "refused", dropped_total: 5 }, "odd", null],
  }, 2);
  assert.equal(h.length, 9);
  assert.ok(h.every((x) => x.text && x.todo));
  assert.equal(behind({ behind_ns: 2e9 }), 2);
});
