import assert from "node:assert/strict";
import test from "node:test";
import type { Row } from "../api/types.ts";
import { area, path } from "../ui/Spark.tsx";
import { matches, order, tally } from "./list.ts";

const row = (id: string, more: Partial<Row> = {}): Row => ({ id, name: id, pid: 1, up: true, findings: [], worst: null, trouble: 0, module: null, headroom_ratio: null, limit_kind: null, error: null, ...more }) as Row;

test("the filter takes every word, and words that must not be there", () => {
  const r = row("nats-server:2", { module: "github.com/nats-io/nats-server", worst: "critical", findings: [{ id: "HW1001", severity: "critical", title: "The container has a limit" }] });
  for (const [q, want] of [["", true], ["nats", true], ["NATS hw1001", true], ["critical", true], ["nats etcd", false], ["-nats", false], ["nats -etcd", true], ["ended", false], ["-", true], ["up", true]] as const) {
    assert.equal(matches(r, q), want, q);
  }
});

test("the order: the worst first, what is not known last", () => {
  const rows = [row("a", { trouble: 1, rss_bytes: 5 }), row("b", { trouble: 3, rss_bytes: null }), row("c", { trouble: 2, rss_bytes: 9 })];
  assert.deepEqual(order(rows, "trouble").map((r) => r.id), ["b", "c", "a"]);
  assert.deepEqual(order(rows, "rss").map((r) => r.id), ["c", "a", "b"]);
  assert.deepEqual(order(rows, "-rss").map((r) => r.id), ["a", "c", "b"]);
  assert.deepEqual(order(rows, "nonsense").map((r) => r.id), ["b", "c", "a"]);
  assert.deepEqual(order([row("x:10"), row("x:2")], "name").map((r) => r.id), ["x:2", "x:10"]);
});

test("the tally", () => {
  assert.deepEqual(tally([row("a", { worst: "critical" }), row("b", { up: false, worst: "info" }), row("c", { error: "no" })]), { critical: 1, warning: 0, info: 1, unread: 1, ended: 1, up: 2 });
});

test("small lines", () => {
  assert.equal(path([0, null, 2], 100, 20, 0, 2), "M0 20M100 0");
  assert.equal(area([null, 1, 2], 100, 20, 0, 2), "M50 10L100 0L100 20L50 20Z");
  assert.equal(area([null], 100, 20, 0, 1), "");
});
