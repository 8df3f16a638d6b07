// The tree of a profile as a picture: where each node lies, what is under the
// pointer, which nodes a search finds. Pure: it knows neither the canvas nor the
// page.

/** A node as the API has it: value and base include what it called. */
export interface ProfileNode {
  name: string;
  file?: string;
  line?: number;
  value: number;
  base?: number | null;
  self?: number;
  children?: ProfileNode[] | null;
}

/**
 * A tree laid out. Arrays by node, in the order in which a walk from the root
 * meets them: a parent comes before its children, and those that hold most come
 * first. x0 and x1 are shares of the whole width.
 */
export interface Flame {
  count: number;
  depths: number;
  nodes: ProfileNode[];
  parent: Int32Array;
  depth: Uint16Array;
  end: Int32Array; // the index after the last one below it
  x0: Float64Array;
  x1: Float64Array;
  self: Float64Array;
  selfBase: Float64Array;
  rows: Int32Array[]; // by depth, from left to right
  key: string[]; // names the path to it, also in another snapshot
  total: number;
  baseTotal: number;
  diff: boolean;
}

/** More than the API sends. What lies deeper or comes later is left out. */
export const maxNodes = 20000;
const maxDepth = 1000;

const num = (v: number | null | undefined): number => (typeof v === "number" && isFinite(v) ? v : 0);

/** FNV-1a, 32 bits, of a string, going on from a hash. */
export function hash(s: string, h = 0x811c9dc5): number {
  for (let i = 0; i < s.length; i++) h = Math.imul(h ^ s.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/**
 * layout places the nodes of a tree. In a difference a node is as wide as the
 * larger of what it is and what it was, so that what went away can be seen too.
 */
export function layout(root: ProfileNode, diff: boolean): Flame {
  const nodes: ProfileNode[] = [];
  const parents: number[] = [];
  const depths: number[] = [];
  const hashes: number[] = [];
  const order: [ProfileNode, number, number][] = [[root, -1, 0]];
  const weightOf = (n: ProfileNode): number => Math.max(num(n.value), diff ? num(n.base) : 0);
  while (order.length > 0 && nodes.length < maxNodes) {
    const [n, p, d] = order.pop()!;
    const i = nodes.length;
    nodes.push(n);
    parents.push(p);
    depths.push(d);
    hashes.push(p < 0 ? 0x811c9dc5 : hash("\n" + n.name, hashes[p]));
    if (d >= maxDepth) continue;
    const children = (n.children ?? []).filter((c) => weightOf(c) > 0);
    children.sort((a, b) => weightOf(b) - weightOf(a) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    for (let k = children.length - 1; k >= 0; k--) order.push([children[k]!, i, d + 1]);
  }
  const count = nodes.length;
  const f: Flame = {
    count,
    depths: 0,
    nodes,
    parent: Int32Array.from(parents),
    depth: Uint16Array.from(depths),
    end: new Int32Array(count),
    x0: new Float64Array(count),
    x1: new Float64Array(count),
    self: new Float64Array(count),
    selfBase: new Float64Array(count),
    rows: [],
    key: hashes.map((h) => h.toString(36)),
    total: num(root.value),
    baseTotal: num(root.base),
    diff,
  };
  // From the leaves up: what a node holds itself, and how wide it must be to
  // hold its children.
  const weight = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    f.self[i] = num(nodes[i]!.value);
    f.selfBase[i] = num(nodes[i]!.base);
    f.end[i] = i + 1;
  }
  for (let i = count - 1; i > 0; i--) {
    const p = f.parent[i]!;
    f.self[p]! -= num(nodes[i]!.value);
    f.selfBase[p]! -= num(nodes[i]!.base);
    f.end[p] = Math.max(f.end[p]!, f.end[i]!);
  }
  for (let i = count - 1; i >= 0; i--) {
    f.self[i] = Math.max(0, f.self[i]!);
    f.selfBase[i] = Math.max(0, f.selfBase[i]!);
    weight[i]! += Math.max(f.self[i]!, diff ? f.selfBase[i]! : 0);
    if (i > 0) weight[f.parent[i]!]! += weight[i]!;
    // What is left of a node beside its children may be places that were left out:
    // they take room, and are not its own.
    const own = nodes[i]!.self;
    if (typeof own === "number" && own >= 0) f.self[i] = Math.min(f.self[i]!, own);
  }
  const all = weight[0]! > 0 ? weight[0]! : 1;
  const next = new Float64Array(count); // where the next child begins
  for (let i = 0; i < count; i++) {
    const p = f.parent[i]!;
    const at = p < 0 ? 0 : next[p]!;
    f.x0[i] = at;
    f.x1[i] = i === 0 ? 1 : Math.min(at + weight[i]! / all, f.x1[p]!);
    next[i] = at;
    if (p >= 0) next[p] = f.x1[i]!;
    const d = f.depth[i]!;
    f.depths = Math.max(f.depths, d + 1);
  }
  const rows: number[][] = Array.from({ length: f.depths }, () => []);
  for (let i = 0; i < count; i++) rows[f.depth[i]!]!.push(i);
  f.rows = rows.map((r) => Int32Array.from(r));
  return f;
}

/** find returns the node with a key, or the root if this snapshot has it not. */
export function find(f: Flame, key: string | null): number {
  if (!key) return 0;
  const i = f.key.indexOf(key);
  return i < 0 ? 0 : i;
}

/** path returns the nodes from the root to one. */
export function path(f: Flame, i: number): number[] {
  const out: number[] = [];
  for (let n = i; n >= 0; n = f.parent[n]!) out.push(n);
  return out.reverse();
}

/** within reports whether a node is another, or lies below it. */
export function within(f: Flame, i: number, above: number): boolean {
  return i >= above && i < f.end[above]!;
}

/** A View is what of the tree is drawn, and how large: from one node on, in pixels. */
export interface View {
  zoom: number;
  width: number;
  rowHeight: number;
  up: boolean; // a flame: the root is at the bottom
}

/** deepest is the depth of the lowest node below one. */
export function deepest(f: Flame, i: number): number {
  let d = f.depth[i]!;
  for (let n = i; n < f.end[i]!; n++) d = Math.max(d, f.depth[n]!);
  return d;
}

/** height is what the picture needs, in pixels. */
export function height(f: Flame, v: View): number {
  return (deepest(f, v.zoom) + 1) * v.rowHeight;
}

/**
 * rect is where a node lies, or null if it is not in the view. What the zoomed
 * node is called by is as wide as the picture.
 */
export function rect(f: Flame, v: View, i: number): { x: number; y: number; w: number } | null {
  const d = f.depth[i]!;
  const y = v.up ? height(f, v) - (d + 1) * v.rowHeight : d * v.rowHeight;
  if (within(f, v.zoom, i)) return { x: 0, y, w: v.width };
  if (!within(f, i, v.zoom)) return null;
  const z0 = f.x0[v.zoom]!;
  const span = f.x1[v.zoom]! - z0 || 1;
  return { x: ((f.x0[i]! - z0) / span) * v.width, y, w: ((f.x1[i]! - f.x0[i]!) / span) * v.width };
}

/** hit returns the node at a point of the picture, or -1. */
export function hit(f: Flame, v: View, x: number, y: number): number {
  const h = height(f, v);
  if (x < 0 || x >= v.width || y < 0 || y >= h) return -1;
  const d = Math.floor((v.up ? h - y - 1e-9 : y) / v.rowHeight);
  const zoomDepth = f.depth[v.zoom]!;
  if (d <= zoomDepth) return path(f, v.zoom)[d] ?? -1;
  const row = f.rows[d];
  if (!row) return -1;
  const z0 = f.x0[v.zoom]!;
  const at = z0 + (x / v.width) * (f.x1[v.zoom]! - z0);
  let lo = 0;
  let hi = row.length - 1;
  while (lo <= hi) {
    const mid = (lo + hi) >> 1;
    const i = row[mid]!;
    if (at < f.x0[i]!) hi = mid - 1;
    else if (at >= f.x1[i]!) lo = mid + 1;
    else return i;
  }
  return -1;
}

/** A Step is a way that a key goes, in the tree rather than on the screen. */
export type Step = "parent" | "child" | "left" | "right";

/** step returns the node next to one, or the same if there is none in the view. */
export function step(f: Flame, v: View, i: number, way: Step): number {
  switch (way) {
    case "parent":
      return i === 0 ? 0 : f.parent[i]!;
    case "child": {
      if (i !== v.zoom && within(f, v.zoom, i)) return path(f, v.zoom)[f.depth[i]! + 1]!;
      return i + 1 < f.end[i]! ? i + 1 : i; // the heaviest comes first
    }
    default: {
      if (within(f, v.zoom, i)) return i;
      const row = f.rows[f.depth[i]!]!;
      const at = row.indexOf(i) + (way === "left" ? -1 : 1);
      const next = row[at];
      return next !== undefined && within(f, next, v.zoom) ? next : i;
    }
  }
}

/** A Matcher says whether a name is one that is looked for. */
export type Matcher = (name: string) => boolean;

/**
 * matcher reads what was typed: a part of a name, whatever its case, or a regular
 * expression between slashes. It returns null for nothing, and an error's text for
 * an expression that is not one.
 */
export function matcher(query: string): Matcher | string | null {
  const q = query.trim();
  if (q === "") return null;
  if (q.length > 2 && q.startsWith("/") && q.endsWith("/")) {
    try {
      const re = new RegExp(q.slice(1, -1), "i");
      return (name) => re.test(name);
    } catch (e) {
      return e instanceof Error ? e.message : String(e);
    }
  }
  const low = q.toLowerCase();
  return (name) => name.toLowerCase().includes(low);
}

/** Found is what a search finds: the nodes, and what they hold together, each byte once. */
export interface Found {
  hits: Uint8Array;
  count: number;
  value: number;
  base: number;
  first: number; // the heaviest, or -1
}

/** search marks the nodes that match in what lies below one. */
export function search(f: Flame, m: Matcher, below = 0): Found {
  const out: Found = { hits: new Uint8Array(f.count), count: 0, value: 0, base: 0, first: -1 };
  const known = new Map<string, boolean>();
  let covered = -1; // what lies before it is in a match that was counted
  let best = -1;
  for (let i = below; i < f.end[below]!; i++) {
    const n = f.nodes[i]!;
    let is = known.get(n.name);
    if (is === undefined) known.set(n.name, (is = m(n.name)));
    if (!is) continue;
    out.hits[i] = 1;
    out.count++;
    if (i < covered) continue;
    covered = f.end[i]!;
    out.value += num(n.value);
    out.base += num(n.base);
    if (num(n.value) > best) {
      best = num(n.value);
      out.first = i;
    }
  }
  return out;
}

/**
 * invert turns the tree over: the functions that hold something themselves come
 * first, and below them what called them.
 */
export function invert(root: ProfileNode): ProfileNode {
  const f = layout(root, true);
  const out: ProfileNode = { name: root.name, value: f.total, base: f.baseTotal, self: 0, children: [] };
  const index = new Map<ProfileNode, Map<string, ProfileNode>>();
  let made = 1;
  for (let i = 1; i < f.count; i++) {
    const value = f.self[i]!;
    const base = f.selfBase[i]!;
    if (value <= 0 && base <= 0) continue;
    let at = out;
    for (let n = i; n > 0; n = f.parent[n]!) {
      const from = f.nodes[n]!;
      let m = index.get(at);
      if (!m) index.set(at, (m = new Map()));
      let c = m.get(from.name);
      if (!c) {
        if (made >= maxNodes) break;
        made++;
        c = { name: from.name, file: from.file, line: from.line, value: 0, base: 0, children: [] };
        m.set(from.name, c);
        at.children!.push(c);
      }
      c.value += value;
      c.base = num(c.base) + base;
      at = c;
    }
  }
  return out;
}

/** A Row is a function over all places where it stands. */
export interface Row {
  name: string;
  file?: string;
  line?: number;
  flat: number;
  cum: number;
  flatBase: number;
  cumBase: number;
}

/** functions adds up what each function holds itself (flat) and with what it called (cum). */
export function functions(f: Flame, below = 0): Row[] {
  const rows = new Map<string, Row>();
  const open: { name: string; end: number }[] = [];
  const on = new Map<string, number>(); // how often a function is on the way here: recursion counts once
  for (let i = Math.max(below, 1); i < f.end[below]!; i++) {
    while (open.length > 0 && open[open.length - 1]!.end <= i) {
      const o = open.pop()!;
      on.set(o.name, on.get(o.name)! - 1);
    }
    const n = f.nodes[i]!;
    let r = rows.get(n.name);
    if (!r) rows.set(n.name, (r = { name: n.name, file: n.file, line: n.line, flat: 0, cum: 0, flatBase: 0, cumBase: 0 }));
    r.flat += f.self[i]!;
    r.flatBase += f.selfBase[i]!;
    const times = on.get(n.name) ?? 0;
    if (times === 0) {
      r.cum += num(n.value);
      r.cumBase += num(n.base);
    }
    on.set(n.name, times + 1);
    open.push({ name: n.name, end: f.end[i]! });
  }
  return [...rows.values()];
}
