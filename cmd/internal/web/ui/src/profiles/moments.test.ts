import { test } from "node:test";
import assert from "node:assert/strict";
import type { Snapshot } from "../api/types.ts";
import { has, pick, typeOf, types } from "./moments.ts";

const snap = (key: string, minute: number, kinds: string[] = ["heap", "goroutines"]): Snapshot => ({
  key, time: new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString(), reason: "periodic", bytes: 1, goroutines: 1, heap_in_use_bytes: 1, kinds,
});
const list = [snap("a", 0), snap("b", 5), snap("c", 10)];
const at = (text: string | null): string | undefined => pick(list, text, (t) => Date.parse(t))?.key;

test("an address names a snapshot by key or by moment", () => {
  assert.equal(at(null), "c");
  assert.equal(at("latest"), "c");
  assert.equal(at("b"), "b");
  assert.equal(at("2026-01-01T00:07:00Z"), "b");
  assert.equal(at("2025-01-01T00:00:00Z"), "a");
  assert.equal(at("nonsense"), "c");
  assert.equal(pick([], "a", () => NaN), null);
});

test("a snapshot has the types whose kind it holds, and each type says what it lacks", () => {
  assert.ok(has(list[0]!, typeOf("alloc_space")) && !has(list[0]!, typeOf("mutex")) && !has(null, typeOf("heap")));
  assert.equal(typeOf("unheard of").id, "inuse_space");
  assert.ok(types.every((t) => t.what !== "" && t.missing !== ""));
});
