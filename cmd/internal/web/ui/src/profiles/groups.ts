// Goroutines added up: by what they wait for, by where they were started, or as
// they stand. Pure.
import type { Frame, GoroutineGroup } from "../api/types.ts";
import { fromRuntime, short } from "./names.ts";

/** Sent is a group as the agent has it; those of the system are the runtime's own, and not in the total. */
export type Sent = GoroutineGroup & { system?: boolean };

export type By = "stack" | "created" | "reason";

/** A Group is goroutines that have something in common. */
export interface Group {
  key: string;
  title: string; // what they have in common
  count: number;
  base: number;
  growth: number;
  waitMax: number | null; // seconds
  reasons: string[]; // the most frequent first
  created: string[];
  members: Sent[]; // the largest first
}

/** reason is what a goroutine waits for, or what it does. */
export function reason(g: GoroutineGroup): string {
  return g.wait_reason || g.status || "unknown";
}

/** origin says who started a goroutine. */
export function origin(f: Frame | null | undefined): string {
  return f?.func ? "created by " + short(f.func) : "the main goroutine";
}

/** at is where a goroutine stands: the innermost frame that is not the runtime's. */
export function at(g: GoroutineGroup): Frame | null {
  const stack = g.stack ?? [];
  return stack.find((f) => !fromRuntime(f.func)) ?? stack[0] ?? null;
}

/** where writes a frame's line: server.go:123, or "". */
export function where(f: Frame | null | undefined): string {
  if (!f?.file) return "";
  return f.file.slice(f.file.lastIndexOf("/") + 1) + (f.line ? ":" + f.line : "");
}

function key(g: GoroutineGroup, by: By): string {
  switch (by) {
    case "reason": return reason(g);
    case "created": return g.created_by ? g.created_by.func + "\n" + (g.created_by.line ?? 0) : "";
    case "stack": return [reason(g), g.created_by?.func ?? "", ...(g.stack ?? []).map((f) => f.func + ":" + (f.line ?? 0))].join("\n");
  }
}

function title(g: GoroutineGroup, by: By): string {
  switch (by) {
    case "reason": return reason(g);
    case "created": return g.created_by?.func ? short(g.created_by.func) : "the main goroutine";
    case "stack": {
      const f = at(g);
      return f ? short(f.func) : reason(g);
    }
  }
}

/** group adds up, and sorts by growth where there is one and else by number. */
export function group(groups: readonly Sent[], by: By, compared: boolean): Group[] {
  const out = new Map<string, Group>();
  for (const g of groups) {
    const k = key(g, by);
    let to = out.get(k);
    if (!to) out.set(k, (to = { key: k, title: title(g, by), count: 0, base: 0, growth: 0, waitMax: null, reasons: [], created: [], members: [] }));
    to.count += g.count;
    to.base += g.base ?? 0;
    to.growth += g.growth ?? 0;
    if (typeof g.wait_max_seconds === "number") to.waitMax = Math.max(to.waitMax ?? 0, g.wait_max_seconds);
    to.members.push(g);
  }
  const list = [...out.values()];
  for (const g of list) {
    g.members.sort((a, b) => b.count - a.count || (b.growth ?? 0) - (a.growth ?? 0));
    g.reasons = [...new Set(g.members.map(reason))];
    g.created = [...new Set(g.members.map((m) => (m.created_by?.func ? short(m.created_by.func) : "the main goroutine")))];
  }
  return list.sort((a, b) => (compared ? b.growth - a.growth : 0) || b.count - a.count || (a.title < b.title ? -1 : 1));
}
