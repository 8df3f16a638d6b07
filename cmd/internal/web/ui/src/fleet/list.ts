// What the list of processes shows, and in which order. Pure.
import type { Row } from "../api/types.ts";
import { severityRank } from "../ui/format.tsx";

export type By = "trouble" | "name" | "headroom" | "rss" | "gc" | "alloc" | "cpu" | "goroutines" | "cycles" | "uptime";

const of: Record<By, (r: Row) => number | string | null> = {
  trouble: (r) => r.trouble,
  name: (r) => r.id,
  // The least room is what one looks for: it falls in the same direction as trouble.
  headroom: (r) => (r.headroom_ratio === null || r.limit_kind === null ? null : 1 - r.headroom_ratio),
  rss: (r) => r.rss_bytes,
  gc: (r) => r.gc_cpu_ratio,
  alloc: (r) => r.alloc_bytes_per_second,
  cpu: (r) => r.cpu_cores,
  goroutines: (r) => r.goroutines,
  cycles: (r) => r.gc_cycles_per_second,
  uptime: (r) => r.uptime_seconds,
};

export function isBy(s: string): s is By {
  return s in of;
}

/**
 * matches says whether a process has every word: in its name, module, user, unit,
 * container, findings, or as up, ended, a severity. A word with "-" before it must
 * not be there.
 */
export function matches(r: Row, query: string): boolean {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const text = [r.id, String(r.pid), r.module, r.module_version, r.go_version, r.user, r.unit, r.container_id, r.up ? "up" : "ended", r.worst, r.limit_kind, r.error,
    ...r.findings.map((f) => f.id + " " + f.title)].filter(Boolean).join("\n").toLowerCase();
  return words.every((w) => (w.length > 1 && w.startsWith("-") ? !text.includes(w.slice(1)) : text.includes(w)));
}

/** order sorts rows; unknown ones come last. sort is a column, "-" before it for the other direction than its own. */
export function order(rows: readonly Row[], sort: string): Row[] {
  const key = sort.replace(/^-/, ""), by: By = isBy(key) ? key : "trouble", turn = sort.startsWith("-") ? -1 : 1;
  return rows.slice().sort((a, b) => {
    const x = of[by](a), y = of[by](b);
    if (x === null || y === null) return x === y ? a.id.localeCompare(b.id) : x === null ? 1 : -1;
    const c = typeof x === "string" || typeof y === "string" ? String(x).localeCompare(String(y), undefined, { numeric: true }) : y - x;
    return c * turn || a.id.localeCompare(b.id, undefined, { numeric: true });
  });
}

/** tally counts processes by their worst finding. */
export function tally(rows: readonly Row[]): { critical: number; warning: number; info: number; unread: number; ended: number; up: number } {
  const t = { critical: 0, warning: 0, info: 0, unread: 0, ended: 0, up: 0 };
  for (const r of rows) {
    if (r.up) t.up++;
    else t.ended++;
    if (r.error && r.up) t.unread++;
    if (r.worst && severityRank[r.worst]) t[r.worst]++;
  }
  return t;
}
