import assert from "node:assert/strict";
import test from "node:test";
import { blocks, spans } from "./prose.ts";

test("a page as it is printed", () => {
  assert.deepEqual(blocks("HW1 name: a title\n\nWhat\n  One line\n  and another.\n\n  - a\n  - b\n    more\n\nNeeds\n  x"), [
    { kind: "paragraph", text: "HW1 name: a title" }, { kind: "heading", text: "What" }, { kind: "paragraph", text: "One line and another." }, { kind: "list", items: ["a", "b more"] },
    { kind: "heading", text: "Needs" }, { kind: "paragraph", text: "x" },
  ]);
});

test("a page as Markdown", () => {
  assert.deepEqual(blocks("# T\n\ntext `c`\n\n```\na  b\n```\nend"), [
    { kind: "heading", text: "T" }, { kind: "paragraph", text: "text `c`" }, { kind: "code", text: "a  b" }, { kind: "paragraph", text: "end" },
  ]);
  assert.deepEqual(blocks("```\nnever closed"), [{ kind: "code", text: "never closed" }]);
  assert.deepEqual(blocks(""), []);
});

test("spans", () => {
  assert.deepEqual(spans("a `b` **c** `"), [{ text: "a ", kind: "" }, { text: "b", kind: "code" }, { text: " ", kind: "" }, { text: "c", kind: "strong" }, { text: " `", kind: "" }]);
});
