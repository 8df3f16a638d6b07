// Which snapshots are compared. Pure.
import type { Snapshot } from "../api/types.ts";

/** pick returns the snapshot that an address names: by its key, or the last one not after a moment. */
export function pick(list: readonly Snapshot[], at: string | null, moment: (text: string) => number): Snapshot | null {
  const newest = list[list.length - 1] ?? null;
  if (!at || at === "latest") return newest;
  const byKey = list.find((s) => s.key === at);
  if (byKey) return byKey;
  const t = moment(at);
  if (!Number.isFinite(t)) return newest;
  let best = list[0] ?? null;
  for (const s of list) if (Date.parse(s.time) <= t) best = s;
  return best;
}

export type Type = "inuse_space" | "inuse_objects" | "alloc_space" | "alloc_objects" | "goroutines" | "block" | "mutex";

export interface TypeInfo {
  id: Type;
  label: string;
  kind: string; // of what a snapshot holds
  rises: boolean; // while a process lives it only rises: of two moments the agent sends the difference
  what: string;
  missing: string;
}

const heapMissing = "This snapshot has no heap profile: the program was built so that none is kept (runtime.MemProfileRate is 0), or it could not be read.";

export const types: TypeInfo[] = [
  { id: "inuse_space", label: "Memory in use", kind: "heap", rises: false, what: "Memory that was allocated and not yet found dead, by the functions that allocated it. The runtime samples one allocation in about 512 KiB and scales up, so small sites are estimates.", missing: heapMissing },
  { id: "inuse_objects", label: "Objects in use", kind: "heap", rises: false, what: "How many objects were allocated and not yet found dead, by the functions that allocated them: many small ones cost the collector more than few large ones.", missing: heapMissing },
  { id: "alloc_space", label: "Allocated", kind: "heap", rises: true, what: "All memory that was allocated since the start, also what is long gone, by the functions that did it. With a second snapshot: what was allocated between the two. This is what makes the collector run.", missing: heapMissing },
  { id: "alloc_objects", label: "Allocations", kind: "heap", rises: true, what: "How many objects were allocated since the start, or between two snapshots, by the functions that did it.", missing: heapMissing },
  { id: "goroutines", label: "Goroutines", kind: "goroutines", rises: false, what: "Where all goroutines stood at that moment, running or waiting.", missing: "This snapshot has no goroutines: they could not be read." },
  { id: "block", label: "Blocking", kind: "block", rises: true, what: "Time that goroutines waited for channels and locks since the start, by where they waited. With a second snapshot: between the two.", missing: "The program records no blocking profile. It does after runtime.SetBlockProfileRate(n); n = 10000 costs little." },
  { id: "mutex", label: "Mutexes", kind: "mutex", rises: true, what: "Time that others waited for a lock, by who held it. With a second snapshot: between the two.", missing: "The program records no mutex profile. It does after runtime.SetMutexProfileFraction(n); n = 100 costs little." },
];

export function typeOf(text: string | null): TypeInfo {
  return types.find((t) => t.id === text) ?? types[0]!;
}

/** has reports whether a snapshot has a type of profile. */
export function has(s: Snapshot | null, t: TypeInfo): boolean {
  return s !== null && s.kinds.includes(t.kind);
}
