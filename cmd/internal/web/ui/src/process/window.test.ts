import assert from "node:assert/strict";
import test from "node:test";
import { compareOf, windowOf } from "./window.ts";

const now = Date.UTC(2026, 10, 21, 22, 0, 0);
const of = (s: string) => windowOf(new URLSearchParams(s), now);

test("the stretch that is shown", () => {
  assert.deepEqual(of(""), { range: { from: "now-15m", to: "now" }, from: now - 9e5, to: now, live: true, at: null });
  assert.equal(of("from=now-1h").from, now - 36e5);
  assert.equal(of("from=2026-11-21T20:00:00Z&to=2026-11-21T21:00:00Z").live, false);
  assert.equal(of("from=nonsense&to=now").from, now - 9e5);
  assert.equal(of("from=now&to=now-1h").live, true);
});

test("the surroundings of a moment", () => {
  const w = of("at=2026-11-21T20:00:00Z");
  assert.equal(w.at, now - 72e5);
  assert.equal(w.from, now - 72e5 - 9e5);
  assert.equal(w.to, now - 72e5 + 6e5);
  assert.ok(of("at=2026-11-21T21:59:50Z").to >= now);
  assert.equal(of("at=x").at, null);
});

test("what it is compared with", () => {
  const w = of("from=now-1h&to=now");
  assert.deepEqual(compareOf(new URLSearchParams("with=-1d"), w, now), { from: w.from - 864e5, to: w.to - 864e5 });
  assert.deepEqual(compareOf(new URLSearchParams("with=2026-11-20T10:00:00Z"), w, now), { from: Date.UTC(2026, 10, 20, 10), to: Date.UTC(2026, 10, 20, 11) });
  assert.equal(compareOf(new URLSearchParams("with=x"), w, now), null);
  assert.equal(compareOf(new URLSearchParams(), w, now), null);
});
