import { test } from "node:test";
import assert from "node:assert/strict";
import { amount, relative, signed } from "./amount.ts";

test("values are written in the unit of the profile", () => {
  assert.equal(amount(1048576, "bytes"), "1.00 MiB");
  assert.equal(amount(12.6, "objects"), "13");
  assert.equal(amount(0.25, "seconds"), "250 ms");
});

test("changes have their sign, and say what is new and what is gone", () => {
  assert.equal(signed(0, "bytes"), "±0");
  assert.equal(signed(-2048, "bytes"), "−2.00 KiB");
  assert.equal(relative(15, 10), "+50.0%");
  assert.equal(relative(5, 10), "−50.0%");
  assert.equal(relative(5, 0), "new");
  assert.equal(relative(0, 5), "gone");
  assert.equal(relative(0, 0), "");
  assert.equal(relative(5, 5), "");
  assert.equal(relative(200, 10), "×20");
});
