// The document of a post-mortem, and what its picture is made of. Pure.

export interface Row { memory: string; name: string; bytes: number; was_bytes: number | null; how: string }
export interface Composition {
  time: string; before_kill_seconds: number | null; of: string; total_bytes: number; limit_bytes: number | null;
  was_time: string | null; was_bytes: number | null; unseen_bytes: number | null; rows: Row[];
}
export interface Frame { func: string; file?: string; line?: number }
export interface Report {
  process: { pid: number; name: string; go_version?: string };
  killed: boolean;
  verdict: { memory: string; title: string; cause: string; remedy: string; confidence: string; confidence_reason: string; site: { func: string; file?: string; line?: number; role: string; text: string } | null };
  chain: { step: string; text: string }[];
  kill: { time: string; pid: number; name: string } | null;
  composition: Composition | null;
  growth: {
    seconds: number; profiled: boolean;
    sites: { site: Frame; growth_bytes: number; growth_low_bytes: number; growth_high_bytes: number; share_ratio: number; alloc_bytes: number }[];
    goroutines: { created_by: Frame; was: number; now: number; wait_reason?: string }[];
  } | null;
  survival: { answer: string; text: string };
  alternatives: { memory: string; why_not: string; grew: boolean }[];
  unknown: string[];
}

export interface Segment { memory: string; share: number; bytes: number }

/** What is mapped and was never touched comes off these, the last ones first. */
const goes = ["runtime", "fragmentation", "heap-garbage", "heap-live", "go-heap"];
/** The order in the bar. */
const order = ["heap-live", "go-heap", "process", "heap-garbage", "fragmentation", "stacks", "runtime", "outside", "sibling", "shared-memory", "kernel", "page-cache", "other-charges", "unaccounted"];

/** segments is the composition as parts of a bar that is as long as what is in use, and what came after the last look. */
export function segments(c: Composition): Segment[] {
  const size = new Map<string, number>();
  for (const r of c.rows) size.set(r.memory, (size.get(r.memory) ?? 0) + r.bytes);
  let over = Math.max(0, -(size.get("not-resident") ?? 0)) + Math.max(0, -(size.get("unaccounted") ?? 0));
  for (const m of goes) {
    const off = Math.min(over, Math.max(0, size.get(m) ?? 0));
    size.set(m, (size.get(m) ?? 0) - off);
    over -= off;
  }
  const out = order.map((memory) => ({ memory, bytes: size.get(memory) ?? 0, share: 0 })).filter((s) => s.bytes > 0);
  if (c.unseen_bytes && c.unseen_bytes > 0) out.push({ memory: "after-last", bytes: c.unseen_bytes, share: 0 });
  const sum = out.reduce((n, s) => n + s.bytes, 0);
  return out.map((s) => ({ ...s, share: sum > 0 ? s.bytes / sum : 0 }));
}

/** words names a kind of memory. */
export function words(memory: string): string {
  return ({ "after-last": "came after the last look", outside: "not Go's", sibling: "other processes", unaccounted: "not accounted for", "other-charges": "all else that is charged", runtime: "the runtime's own" } as Record<string, string>)[memory] ?? memory.replaceAll("-", " ");
}

/** where writes a frame. */
export function where(f: Frame): string {
  if (!f.func) return f.file ? `${f.file}:${f.line ?? 0}` : "unknown";
  return f.file ? `${f.func} (${f.file.split("/").pop()}:${f.line ?? 0})` : f.func;
}
