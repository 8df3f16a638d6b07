import assert from "node:assert/strict";
import test from "node:test";
import { href, merge, parse } from "./router.ts";

test("addresses and back", () => {
  for (const [address, view, process] of [
    ["/", "fleet", undefined], ["/ui/", "fleet", undefined], ["/ui/fleet", "fleet", undefined], ["/ui/alerts", "alerts", undefined], ["/ui/nonsense", "fleet", undefined],
    ["/ui/process/nats-server", "process", "nats-server"], ["/ui/process/nats-server:2/whatif", "whatif", "nats-server:2"], ["/ui/process/a%3A2/findings", "findings", "a:2"],
    ["/ui/process/a/nonsense", "process", "a"], ["/ui/process/%zz", "process", "%zz"], ["/ui/process", "fleet", undefined], ["/ui/cycle", "fleet", undefined], ["/ui/findings", "findings", undefined],
  ] as const) {
    const r = parse(address, "?q=x");
    assert.equal(r.view, view, address);
    assert.equal(r.process, process, address);
    assert.equal(r.params.get("q"), "x");
  }
});

test("what href writes parse reads", () => {
  for (const [view, process] of [["fleet", undefined], ["process", "a:2"], ["cycle", "x/y?z"], ["findings", undefined], ["findings", "ä b"]] as const) {
    const u = new URL("http://x" + href(view, process, { from: "now-1h", to: "2026-11-21T10:00:00Z", none: null }));
    const r = parse(u.pathname, u.search);
    assert.deepEqual([r.view, r.process, r.params.get("from"), r.params.get("to"), r.params.has("none")], [view, process, "now-1h", "2026-11-21T10:00:00Z", false]);
  }
  assert.equal(href("process", "a:2", { at: "2026-11-21T10:00:00Z" }), "/ui/process/a:2?at=2026-11-21T10:00:00Z");
});

test("merge changes a copy", () => {
  const p = new URLSearchParams("a=1&b=2");
  assert.equal(merge(p, { a: null, c: 3 }).toString(), "b=2&c=3");
  assert.equal(p.toString(), "a=1&b=2");
});
