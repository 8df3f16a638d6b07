// What a GC cycle is drawn from. Pure; null where too little of it is known.
import type { Cycle } from "../api/types.ts";

export interface Heap { start: number; end: number; marked: number; freed: number; goal: number | null; top: number }

export function heapOf(c: Cycle): Heap | null {
  if (c.heap_start_bytes === null || c.heap_end_bytes === null || c.heap_marked_bytes === null) return null;
  const start = c.heap_start_bytes, end = Math.max(c.heap_end_bytes, start), marked = Math.min(c.heap_marked_bytes, end), goal = c.heap_goal_bytes;
  // A goal that is none (GOGC=off) would press everything else flat.
  const shown = goal !== null && goal < 4 * end ? goal : null;
  return { start, end, marked, freed: end - marked, goal: shown, top: Math.max(end, shown ?? 0, 1) * 1.02 };
}

export interface Layer { key: string; label: string; cpu: number; procs: number }
export interface Lanes { sweep: number; mark: number; term: number; total: number; procs: number; layers: Layer[] }

export function lanesOf(c: Cycle): Lanes | null {
  if (c.mark_seconds === null || c.mark_seconds <= 0) return null;
  const sweep = c.sweep_termination_seconds ?? 0, mark = c.mark_seconds, term = c.mark_termination_seconds ?? 0, procs = Math.max(1, Math.round(c.procs ?? 1));
  const layers = ([["workers", "workers", (c.dedicated_cpu_seconds ?? 0) + (c.fractional_cpu_seconds ?? 0)], ["assist", "assists", c.assist_cpu_seconds ?? 0], ["idle", "idle marking", c.idle_cpu_seconds ?? 0]] as const)
    .map(([key, label, cpu]) => ({ key, label, cpu, procs: cpu / mark }));
  return { sweep, mark, term, total: sweep + mark + term, procs, layers };
}
