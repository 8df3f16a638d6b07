import assert from "node:assert/strict";
import test from "node:test";
import { ago, byteRate, bytes, count, gogc, gomemlimit, moment, percent, readRange, seconds, span, stamp, value } from "./format.tsx";

const now = Date.UTC(2026, 10, 21, 22, 0, 0);

test("numbers as people read them", () => {
  for (const [got, want] of [
    [bytes(0), "0 B"], [bytes(1023), "1.00 KiB"], [bytes(512 << 20), "512 MiB"], [bytes(1.5 * 2 ** 30), "1.50 GiB"], [bytes(-2048), "−2.00 KiB"], [bytes(null), "–"], [bytes(NaN), "–"],
    [bytes(2 ** 70), "1048576 PiB"], [count(1234567), "1.23 M"], [count(7351), "7,351"], [count(0.5), "0.50"], [count(2e9), "2.00 G"], [percent(0.3141), "31.4%"], [percent(1), "100%"], [percent(0), "0%"], [percent(0.00001), "0.001%"], [percent(1e-9), "<0.001%"],
    [seconds(0), "0 s"], [seconds(0.00009), "90.0 µs"], [seconds(1.5e-9), "1.50 ns"], [seconds(59.94), "59.9 s"], [seconds(60), "1 min"], [seconds(3720), "1 h 2 min"], [seconds(90061), "1 d 1 h"], [seconds(-61), "−1 min 1 s"],
    [byteRate(1 << 20), "1.00 MiB/s"], [value(1, "cores"), "1.00 core"], [value(0.5, "ratio"), "50.0%"], [value(3, "per_second"), "3/s"], [value(null, "bytes"), "–"],
    [gogc(-1), "off"], [gogc(100), "100"], [gomemlimit(9223372036854775807), "none"], [gomemlimit(2 ** 28), "256 MiB"],
  ] as const) assert.equal(got, want);
});

test("how long ago", () => {
  assert.equal(ago(now - 500, now), "now");
  assert.equal(ago(now - 42_000, now), "42 s ago");
  assert.equal(ago(now - 3 * 3600_000 - 60_000, now), "3 h ago");
  assert.equal(ago("nonsense", now), "–");
});

test("moments", () => {
  assert.equal(moment("now", now), now);
  assert.equal(moment("now-15m", now), now - 900_000);
  assert.equal(moment("now - 1.5h", now), now - 5_400_000);
  assert.equal(moment("1763762400", now), 1763762400_000);
  assert.equal(moment("2026-11-21T21:00:00Z", now), now - 3600_000);
  assert.ok(Number.isNaN(moment("yesterday", now)));
  assert.equal(stamp(now), "2026-11-21T22:00:00Z");
  assert.equal(stamp(now + 12), "2026-11-21T22:00:00.012Z");
});

test("ranges", () => {
  assert.equal(span({ from: "now", to: "now-1h" }, now), null);
  assert.deepEqual(span({ from: "now-1h", to: "now" }, now), { from: now - 3600_000, to: now });
});

test("ranges that are pasted", () => {
  const z = (h: number) => `2026-11-21T${String(h).padStart(2, "0")}:00:00Z`;
  for (const [text, from, to] of [
    [`${z(10)} - ${z(11)}`, z(10), z(11)], [`${z(10)} to ${z(11)}`, z(10), z(11)], [`${z(10)}/${z(11)}`, z(10), z(11)], [`${z(10)}\n${z(11)}`, z(10), z(11)], [`${z(10)} ${z(11)}`, z(10), z(11)],
    ["30m", "now-30m", "now"], ["now-2h - now-1h", "now-2h", "now-1h"], ["now-2h now", "now-2h", "now"], [`http://x/ui/process/a?from=now-6h&to=now`, "now-6h", "now"],
    ["2026-11-21 10:00 - 11:30", "2026-11-21 10:00", "2026-11-21T11:30"],
  ] as const) assert.deepEqual(readRange(text, now), { from, to }, text);
  for (const text of ["", "hello", "now - now-1h", `${z(11)} - ${z(10)}`, "%", "?from=%zz&to=now"]) assert.equal(readRange(text, now), null, text);
});
