import { test } from "node:test";
import assert from "node:assert/strict";
import { deepest, find, functions, height, hit, invert, layout, matcher, path, rect, search, step, within, type ProfileNode, type View } from "./flame.ts";
import { fit, fromRuntime, short, split } from "./names.ts";
import { dark, growth, light, mix, plain } from "./colors.ts";

const node = (name: string, value: number, children: ProfileNode[] = [], base?: number): ProfileNode => ({ name, value, base, children });

// main holds 100: a 60 (of it b 50, of that a again 20), c 30, and 10 itself.
const tree = node("root", 100, [node("c", 30), node("a", 60, [node("b", 50, [node("a", 20)])])]);

/** random makes a tree whose values add up. */
function random(seed: number, nodes: number): ProfileNode {
  let s = seed >>> 0;
  const next = (): number => ((s = (Math.imul(s, 1664525) + 1013904223) >>> 0) / 2 ** 32);
  const all: ProfileNode[] = [node("root", 0, [], 0)];
  for (let i = 1; i < nodes; i++) {
    const p = all[Math.floor(next() * all.length)]!;
    const n = node("f" + Math.floor(next() * 50), Math.floor(next() * 100), [], Math.floor(next() * 100));
    p.children!.push(n);
    all.push(n);
  }
  for (const n of all.reverse()) {
    for (const c of n.children!) {
      n.value += c.value;
      n.base = n.base! + c.base!;
    }
  }
  return all[all.length - 1]!;
}

test("children lie inside of their parent, side by side, and keep to its share", () => {
  for (let seed = 1; seed <= 20; seed++) {
    for (const diff of [false, true]) {
      const f = layout(random(seed, 400), diff);
      for (let i = 1; i < f.count; i++) {
        const p = f.parent[i]!;
        assert.ok(f.x0[i]! >= f.x0[p]! - 1e-9 && f.x1[i]! <= f.x1[p]! + 1e-9, "inside");
        assert.ok(f.x1[i]! >= f.x0[i]!, "not turned over");
        if (!diff) assert.ok(Math.abs(f.x1[i]! - f.x0[i]! - f.nodes[i]!.value / f.total) < 1e-9, "its share");
      }
      for (const row of f.rows) {
        for (let k = 1; k < row.length; k++) assert.ok(f.x0[row[k]!]! >= f.x1[row[k - 1]!]! - 1e-9, "side by side");
      }
    }
  }
});

test("the heaviest child comes first", () => {
  const f = layout(tree, false);
  assert.deepEqual(f.nodes.map((n) => n.name), ["root", "a", "b", "a", "c"]);
  assert.deepEqual([...f.self], [10, 10, 30, 20, 30]);
  assert.equal(f.depths, 4);
});

test("what went away can be seen in a difference", () => {
  const f = layout(node("root", 10, [node("new", 10, [], 0), node("gone", 0, [], 30)], 30), true);
  const i = f.nodes.findIndex((n) => n.name === "gone");
  assert.ok(f.x1[i]! - f.x0[i]! > 0.7);
});

test("a point finds what is drawn there", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const f = layout(random(seed, 300), seed % 2 === 0);
    for (const zoom of [0, 1, f.count >> 1]) {
      for (const up of [false, true]) {
        const v: View = { zoom, width: 1000, rowHeight: 18, up };
        for (let i = 0; i < f.count; i++) {
          const r = rect(f, v, i);
          if (!r || r.w < 1e-3) continue;
          assert.equal(hit(f, v, r.x + r.w / 2, r.y + 9), i);
        }
        assert.equal(hit(f, v, -1, 5), -1);
        assert.equal(hit(f, v, 5, height(f, v) + 1), -1);
      }
    }
  }
});

test("the view of a zoomed node has its callers over the whole width", () => {
  const f = layout(tree, false);
  const v: View = { zoom: 2, width: 500, rowHeight: 20, up: false };
  assert.deepEqual(rect(f, v, 1), { x: 0, y: 20, w: 500 });
  assert.deepEqual(rect(f, v, 2), { x: 0, y: 40, w: 500 });
  assert.equal(rect(f, v, 4), null);
  assert.equal(deepest(f, 2), 3);
  assert.equal(height(f, v), 80);
});

test("keys walk the tree and stay in the view", () => {
  const f = layout(tree, false);
  const v: View = { zoom: 0, width: 500, rowHeight: 20, up: false };
  assert.equal(step(f, v, 0, "child"), 1);
  assert.equal(step(f, v, 1, "right"), 4);
  assert.equal(step(f, v, 4, "right"), 4);
  assert.equal(step(f, v, 4, "left"), 1);
  assert.equal(step(f, v, 0, "parent"), 0);
  const z: View = { ...v, zoom: 2 };
  assert.equal(step(f, z, 0, "child"), 1);
  assert.equal(step(f, z, 1, "right"), 1);
});

test("a key names the same path in another snapshot", () => {
  const a = layout(tree, false);
  const b = layout(node("root", 9, [node("x", 5), node("a", 4, [node("b", 4)])]), false);
  const at = find(b, a.key[2]!);
  assert.deepEqual(path(b, at).map((i) => b.nodes[i]!.name), ["root", "a", "b"]);
  assert.equal(find(b, "nothing"), 0);
  assert.equal(find(b, null), 0);
});

test("a search counts nested matches once", () => {
  const f = layout(tree, false);
  const m = matcher("A");
  assert.ok(typeof m === "function");
  const found = search(f, m);
  assert.equal(found.count, 2);
  assert.equal(found.value, 60);
  assert.equal(found.first, 1);
  assert.deepEqual([...found.hits], [0, 1, 0, 1, 0]);
});

test("a search takes text or an expression", () => {
  assert.equal(matcher("  "), null);
  assert.equal(typeof matcher("/(/"), "string");
  const re = matcher("/^read.*loop$/");
  assert.ok(typeof re === "function" && re("readLoop") && !re("xreadLoop"));
  const plainText = matcher("(*client)");
  assert.ok(typeof plainText === "function" && plainText("server.(*Client).x"));
});

test("inverted, the sum stays and the leaves come first", () => {
  for (let seed = 1; seed <= 5; seed++) {
    const r = random(seed, 300);
    const f = layout(r, false);
    const inv = invert(r);
    const sum = inv.children!.reduce((s, c) => s + c.value, 0);
    assert.equal(sum + f.self[0]!, f.total);
    const g = layout(inv, false);
    for (let i = 1; i < g.count; i++) assert.ok(g.nodes[i]!.value <= g.nodes[g.parent[i]!]!.value);
  }
  const inv = invert(tree);
  const a = inv.children!.find((c) => c.name === "a")!;
  assert.equal(a.value, 30);
});

test("functions add up flat and cum, recursion once", () => {
  const rows = new Map(functions(layout(tree, false)).map((r) => [r.name, r]));
  assert.equal(rows.get("a")!.flat, 30);
  assert.equal(rows.get("a")!.cum, 60);
  assert.equal(rows.get("b")!.cum, 50);
  assert.equal(rows.get("c")!.flat, 30);
});

test("hostile trees do no harm", () => {
  let deep = node("leaf", 1);
  for (let i = 0; i < 5000; i++) deep = node("f", 1, [deep]);
  assert.ok(layout(deep, false).depths <= 1001);
  const odd = layout({ name: "x", value: NaN, children: [{ name: "y", value: -5 }, { name: "z", value: Infinity, children: null }] }, true);
  for (let i = 0; i < odd.count; i++) assert.ok(isFinite(odd.x0[i]!) && isFinite(odd.x1[i]!));
  assert.equal(within(odd, 0, 0), true);
});

test("five thousand nodes are laid out and searched at once", () => {
  const f = layout(random(3, 5000), true);
  assert.equal(f.count > 3000, true);
  search(f, () => true);
});

test("names lose their path first, then their package, then their end", () => {
  const name = "github.com/nats-io/nats-server/v2/server.(*client).readLoop";
  assert.deepEqual(split(name), { path: "github.com/nats-io/nats-server/v2/server", pkg: "server", func: "(*client).readLoop" });
  assert.equal(short(name), "server.(*client).readLoop");
  assert.equal(fit(name, 40), "server.(*client).readLoop");
  assert.equal(fit(name, 20), "(*client).readLoop");
  assert.equal(fit(name, 8), "(*clien…");
  assert.equal(fit(name, 1), "");
  assert.equal(short("main.Map[github.com/x/y.Z]"), "main.Map[github.com/x/y.Z]");
  assert.equal(short("github.com/go-yaml/yaml/v6.newSchema"), "yaml.newSchema");
  assert.equal(short("v2.f"), "v2.f");
  assert.equal(split("root").func, "root");
  assert.ok(fromRuntime("runtime.mallocgc") && fromRuntime("internal/runtime/maps.x") && !fromRuntime("runtimex.f"));
});

test("growth is placed between all of it gone and twice as much", () => {
  assert.equal(growth(5, 5, "relative", 9), 0);
  assert.equal(growth(0, 5, "relative", 9), -1);
  assert.equal(growth(20, 5, "relative", 9), 1);
  assert.equal(growth(5, 0, "relative", 9), 1);
  assert.equal(growth(8, 5, "absolute", 6), 0.5);
});

/** contrast of two colours as WCAG has it. */
function contrast(a: number[], b: number[]): number {
  const lum = (c: number[]): number => {
    const [r, g, bl] = c.map((v) => {
      const s = v / 255;
      return s <= 0.03928 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * bl!;
  };
  const [x, y] = [lum(a), lum(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

function rgb(color: string): number[] {
  if (color.startsWith("#")) return [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  const n = color.match(/[\d.]+/g)!.map(Number);
  if (color.startsWith("rgb")) return n;
  const [h, s, l] = [n[0]!, n[1]! / 100, n[2]! / 100];
  const f = (k: number): number => {
    const m = (k + h / 30) % 12;
    return 255 * (l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(m - 3, 9 - m, 1)));
  };
  return [f(0), f(8), f(4)];
}

test("text can be read on every colour", () => {
  for (const p of [light, dark]) {
    const grounds = [p.runtime, p.root, p.dim];
    for (let t = -1; t <= 1; t += 0.05) grounds.push(mix(p, t));
    for (let i = 0; i < 200; i++) grounds.push(plain(p, "example.com/p" + i + ".F", false));
    for (const g of grounds) assert.ok(contrast(rgb(p.text), rgb(g)) >= 4.5, g + " " + contrast(rgb(p.text), rgb(g)).toFixed(2));
  }
});
