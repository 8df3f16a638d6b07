// What the charts of a process are made of. Pure, but for the hook that listens.
import { useEffect, useState } from "preact/hooks";
import { live } from "../api/client.ts";
import type { Cycle, Episode, LiveSample, Num, Series, SeriesLine } from "../api/types.ts";
import type { Band, Level } from "../ui/TimeChart.tsx";
import { quantile, stat } from "../ui/plot.ts";

export function lineOf(s: Series | null, name: string): SeriesLine | undefined {
  return s?.series.find((l) => l.name === name);
}

/**
 * extend adds the samples of the live stream that are newer than what was asked for,
 * so that a chart goes on between two questions.
 */
export function extend(s: Series | null, samples: readonly LiveSample[], pick: Record<string, (x: LiveSample) => Num>): Series | null {
  if (!s) return null;
  const known = s.series.filter((l) => pick[l.name]);
  let end = s.time.length;
  while (end > 0 && known.every((l) => l.values[end - 1] == null)) end--;
  const last = end > 0 ? s.time[end - 1]! : -Infinity;
  const fresh = samples.filter((x) => new Date(x.time).getTime() / 1000 > last + 0.05);
  if (fresh.length === 0) return s;
  const grow = (v: Num[] | null | undefined, add: Num[]) => (v ? [...v.slice(0, end), ...add] : null);
  return {
    ...s,
    time: [...s.time.slice(0, end), ...fresh.map((x) => new Date(x.time).getTime() / 1000)],
    series: s.series.map((l) => {
      const f = pick[l.name], add = fresh.map((x) => (f ? f(x) : null));
      // What the stream does not tell holds for the few seconds: it changes rarely.
      if (!f && l.unit === "bytes") add.fill(stat(l.values.slice(0, end)).last);
      return { ...l, values: grow(l.values, add)!, min: grow(l.min, add), max: grow(l.max, add) };
    }),
  };
}

/** join adds cycles that are newer than those that are there. */
export function join(cycles: readonly Cycle[], more: readonly Cycle[]): Cycle[] {
  const last = cycles.length ? new Date(cycles[cycles.length - 1]!.end).getTime() : -Infinity;
  return [...cycles, ...more.filter((c) => new Date(c.end).getTime() > last)];
}

const keep = 900; // samples of the stream that are held: more than lie between two questions

/** useLive listens to one process while it is on. */
export function useLive(process: string, on: boolean): { samples: LiveSample[]; open: boolean } {
  const [samples, set] = useState<LiveSample[]>([]);
  const [open, setOpen] = useState(false);
  useEffect(() => {
    if (!on) {
      set([]);
      return;
    }
    return live(process, (event, data) => {
      const s = data as LiveSample;
      if (event === "sample" && s.id === process) set((old) => (old.length && old[old.length - 1]!.time >= s.time ? old : [...old.slice(-keep), s]));
    }, setOpen);
  }, [process, on]);
  return { samples, open: on && open };
}

export type ChartName = "memory" | "pauses" | "gc" | "alloc" | "goroutines" | "sched" | "cpu" | "pressure";

/** chartOf says which chart a finding is drawn on. */
export function chartOf(id: string): ChartName | null {
  const own: Record<string, ChartName> = {
    HW1005: "gc", HW1006: "pauses", HW1007: "cpu", HW2001: "alloc", HW2002: "gc", HW2003: "gc", HW2004: "alloc",
    HW3002: "goroutines", HW3003: "goroutines", HW4001: "pauses", HW4002: "pauses", HW4003: "sched", HW4004: "pressure", HW4005: "pressure", HW4006: "cpu",
  };
  if (own[id]) return own[id];
  return /^HW[13]/.test(id) && id !== "HW1008" && id !== "HW1009" ? "memory" : null;
}

/** bandsOf are the findings of a chart as stretches of time, those that are chosen stronger. Times are seconds. */
export function bandsOf(chart: ChartName, episodes: readonly Episode[], chosen: string | null, now: number): Band[] {
  return episodes.filter((e) => chartOf(e.id) === chart).map((e) => ({
    from: new Date(e.began).getTime() / 1000, to: e.ended ? new Date(e.ended).getTime() / 1000 : now / 1000,
    label: e.finding.title, severity: e.severity, strong: e.id === chosen,
  }));
}

// Numbers that a line of the chart shows anyway.
const drawn = /^(heap_live|heap_goal|heap_marked|rss|container_limit|container_usage|gomemlimit|gc_cpu_ratio|assist_ratio|goroutines$|cpu_cores)/;
const units: Record<ChartName, string> = { memory: "bytes", pauses: "seconds", gc: "ratio", alloc: "bytes_per_second", goroutines: "count", sched: "seconds", cpu: "cores", pressure: "ratio" };

/** levelsOf are the measured numbers of findings, as lines over the time in which they were there. */
export function levelsOf(chart: ChartName, episodes: readonly Episode[], chosen: string | null, now: number): Level[] {
  const out: Level[] = [];
  for (const e of episodes) {
    // What is over is drawn only for who asks for it.
    if (chartOf(e.id) !== chart || (e.ended && e.id !== chosen)) continue;
    const fits = e.finding.evidence.filter((x) => x.unit === units[chart] && !/ratio_of|_share|growth|slope|_ci_/.test(x.name) && !(chart !== "pressure" && drawn.test(x.name)));
    // Of a finding that nobody chose the first number says enough.
    for (const x of fits.slice(0, e.id === chosen ? 3 : 1)) {
      out.push({
        value: x.value, label: `${x.name.replace(/_(bytes_per_second|bytes|seconds|ratio|count|cores)$/, "").replaceAll("_", " ")} ${x.text}`, severity: e.severity,
        from: new Date(e.began).getTime() / 1000, to: e.ended ? new Date(e.ended).getTime() / 1000 : now / 1000,
      });
    }
  }
  return out;
}

/** A row of the comparison of two stretches. */
export interface Difference { name: string; unit: string; a: Num; b: Num; better: "less" | "more" | null }

export type SetName = Exclude<keyof Measured, "cycles" | "thinned">;

export interface Measured { memory: Series | null; gc: Series | null; goroutines: Series | null; cpu: Series | null; sched: Series | null; pressure: Series | null; cycles: readonly Cycle[]; thinned: boolean }

/** differences compares what was measured now (a) with another stretch (b). */
export function differences(a: Measured, b: Measured): Difference[] {
  const of = (m: Measured, set: SetName, name: string, what: "mean" | "max"): Num => {
    const l = lineOf(m[set], name);
    return what === "max" ? stat(l?.max ?? l?.values).max : stat(l?.values).mean;
  };
  // Where cycles are left out the longest are not: of those that are there only the longest says something.
  const pauses = (m: Measured, q: number): Num => (m.thinned && q < 1 ? null : quantile(m.cycles.map((c) => c.pause_seconds), q));
  const row = (name: string, unit: string, set: SetName, line: string, what: "mean" | "max", better: Difference["better"] = "less"): Difference =>
    ({ name, unit, a: of(a, set, line, what), b: of(b, set, line, what), better });
  const pause = (name: string, q: number): Difference => ({ name, unit: "seconds", a: pauses(a, q), b: pauses(b, q), better: "less" });
  return [
    row("RSS, mean", "bytes", "memory", "rss_bytes", "mean"), row("RSS, highest", "bytes", "memory", "rss_bytes", "max"), row("Heap live, mean", "bytes", "memory", "heap_live_bytes", "mean"),
    row("Alive after GC, mean", "bytes", "memory", "heap_marked_bytes", "mean"), row("GC CPU, mean", "ratio", "gc", "gc_cpu_ratio", "mean"), row("Assists, mean", "ratio", "gc", "assist_ratio", "mean"),
    row("GC cycles", "per_second", "gc", "gc_cycles_per_second", "mean"), row("Allocated", "bytes_per_second", "gc", "alloc_bytes_per_second", "mean", null),
    pause("Pause, median", 0.5), pause("Pause, 99 of 100", 0.99), pause("Pause, longest", 1),
    row("Goroutines, mean", "count", "goroutines", "goroutines", "mean", null), row("CPU, mean", "cores", "cpu", "cpu_cores", "mean"), row("Waiting to run, 99 of 100", "seconds", "sched", "latency_p99_seconds", "mean"),
    row("Held up by the quota", "ratio", "pressure", "throttled_ratio", "mean"),
  ].filter((d) => d.a !== null || d.b !== null);
}
