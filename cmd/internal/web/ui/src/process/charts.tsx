// The charts of a process: what each draws, what it says in a sentence, and what it is.
import type { ComponentChildren, VNode } from "preact";
import type { Episode, Num, Process, Series, SeriesLine } from "../api/types.ts";
import { href } from "../router.ts";
import { Figure, type Tabular } from "../ui/Chart.tsx";
import { bytes, byteRate, clock, count, day, percent, seconds, value } from "../ui/format.tsx";
import type { About } from "../ui/Help.tsx";
import { nearest, quantile, stat } from "../ui/plot.ts";
import { TimeChart, type Line, type Painter, type TimeChartProps } from "../ui/TimeChart.tsx";
import type { Column } from "../ui/Table.tsx";
import { bandsOf, chartOf, levelsOf, lineOf, type ChartName, type Measured, type SetName } from "./data.ts";
import type { Window } from "./window.ts";

export interface ChartInput {
  data: Measured;
  ends: readonly number[]; // of the cycles, seconds
  before: Measured | null; // the stretch that it is compared with
  shift: number; // seconds that stretch lies before
  p: Process;
  w: Window;
  now: number;
  chosen: string | null;
  episodes: readonly Episode[];
}


interface Look { name: string; label: string; color: string; width?: number; dash?: number[]; fill?: number; step?: boolean; envelope?: boolean }

/** linesOf are the lines of a set that are there, as they are to look. */
function linesOf(s: Series | null, looks: readonly Look[]): Line[] {
  return looks.flatMap((k): Line[] => {
    const l = lineOf(s, k.name);
    return l ? [{ key: k.name, label: k.label, values: l.values, color: k.color, width: k.width, dash: k.dash, fill: k.fill, step: k.step, min: k.envelope ? l.min : null, max: k.envelope ? l.max : null }] : [];
  });
}

function ghostsOf(s: Series | null | undefined, shift: number, looks: readonly Look[]): TimeChartProps["ghosts"] {
  if (!s) return undefined;
  const time = s.time.map((t) => t + shift);
  return looks.flatMap((k) => {
    const l = lineOf(s, k.name);
    return l ? [{ time, values: l.values, color: k.color }] : [];
  });
}

const moment = (t: number) => `${day(t * 1000)} ${clock(t * 1000, t % 1 !== 0)}`;

/** tableOf is a set as rows: a moment each, and what the lines say there. */
function tableOf(s: Series | null, lines: readonly SeriesLine[]): Tabular<number> {
  const time = s?.time ?? [];
  const columns: Column<number>[] = [
    { key: "time", label: "Time", value: (i) => moment(time[i]!) },
    ...lines.map((l): Column<number> => ({ key: l.name, label: l.label, title: l.unit, num: true, value: (i) => l.values[i] ?? null, cell: (i) => value(l.values[i], l.unit) })),
  ];
  // The latest first: that is what one looks for.
  const rows = time.map((_, i) => i).filter((i) => lines.some((l) => l.values[i] != null)).reverse();
  return { columns, rows };
}

/** Framed is a chart of one set in its frame, with the findings that belong to it. */
function Framed(props: ChartInput & {
  chart: ChartName;
  set: SetName;
  title: string;
  unit?: string;
  about: About;
  says?: ComponentChildren;
  looks: readonly Look[];
  ghosts?: readonly string[]; // the lines that are drawn of the other stretch, all without it
  height: number;
  format: (v: Num) => string;
  options?: Partial<TimeChartProps>;
}): VNode | null {
  const s = props.data[props.set], lines = linesOf(s, props.looks);
  if (s && lines.length === 0) return null; // this process has no such thing
  const names = new Set(props.looks.map((k) => k.name));
  return (
    <Figure title={props.title} unit={props.unit} about={props.about} says={props.says} class={hasChosen(props) ? "has" : ""}
      table={s ? () => tableOf(s, s.series.filter((l) => names.has(l.name))) : undefined}>
      <TimeChart time={s?.time ?? []} lines={lines} label={props.title} format={props.format} height={props.height}
        bands={bandsOf(props.chart, props.episodes, props.chosen, props.now)} levels={levelsOf(props.chart, props.episodes, props.chosen, props.now)}
        wait={s ? undefined : "Loading…"} ghosts={ghostsOf(props.before?.[props.set], props.shift, props.looks.filter((k) => !props.ghosts || props.ghosts.includes(k.name)))} read={readCycle(props)} {...props.options} />
    </Figure>
  );
}

function hasChosen(p: { chart: ChartName; chosen: string | null }): boolean {
  return p.chosen !== null && chartOf(p.chosen) === p.chart;
}

/** readCycle says which GC cycle is under the cursor, when one is near. */
function readCycle(p: ChartInput): (t: number) => string {
  const ends = p.ends, near = (p.w.to - p.w.from) / 1000 / 160;
  return (t) => {
    const i = nearest(ends, t), c = p.data.cycles[i];
    return c && Math.abs(ends[i]! - t) <= near ? `GC ${c.n}: paused ${seconds(c.pause_seconds)}` : "";
  };
}

const memoryLooks: readonly Look[] = [
  { name: "container_limit_bytes", label: "limit", color: "--bad", dash: [6, 4], step: true },
  { name: "gomemlimit_bytes", label: "GOMEMLIMIT", color: "--c6", dash: [2, 3], step: true },
  { name: "rss_bytes", label: "RSS", color: "--now", width: 1.75 },
  { name: "heap_goal_bytes", label: "goal", color: "--violet", width: 1.25, step: true },
  { name: "heap_live_bytes", label: "heap", color: "--front", fill: 0.14, envelope: true },
  { name: "heap_marked_bytes", label: "alive", color: "--teal", width: 1.75, step: true },
];

export function MemoryChart(p: ChartInput): VNode | null {
  const s = p.data.memory, of = (name: string) => stat(lineOf(s, name)?.values);
  const rss = of("rss_bytes"), heap = of("heap_live_bytes"), goal = of("heap_goal_bytes"), marked = of("heap_marked_bytes"), limit = of("container_limit_bytes"), soft = of("gomemlimit_bytes");
  const most = Math.max(rss.max ?? 0, goal.max ?? 0, heap.max ?? 0);
  // A limit far above everything would press the picture flat; its label says that it is above.
  const far = (v: Num) => v !== null && v > 2.6 * most;
  const top = Math.max(most, far(limit.max) ? 0 : limit.max ?? 0, far(soft.max) ? 0 : soft.max ?? 0) * 1.06;
  const beside = rss.last !== null && heap.last !== null ? rss.last - heap.last : null;
  const share = limit.last && rss.last !== null ? ` of ${bytes(limit.last)} (${Math.round((rss.last / limit.last) * 100)}%)` : "";
  const says = rss.last === null && heap.last === null ? undefined : (
    <>{rss.last !== null && <><b>{bytes(rss.last)}</b> resident{share}. </>}
      {heap.last !== null && goal.last !== null && <>The heap, now <b>{bytes(heap.last)}</b>, is collected before it reaches <b>{bytes(goal.last)}</b>{marked.last !== null && <>; <b>{bytes(marked.last)}</b> were alive at the last</>}. </>}
      {beside !== null && beside > 0 && <><b>{bytes(beside)}</b> are not heap.</>}</>
  );
  return (
    <Framed {...p} chart="memory" set="memory" title="Memory" says={says} looks={memoryLooks} height={250} format={bytes} ghosts={["rss_bytes", "heap_goal_bytes", "heap_marked_bytes"]}
      about={{
        what: <>The heap (blue) rises as the program allocates. When it comes near its <em>goal</em> (violet) a collection runs, and what it finds <em>alive</em> (teal) is what stays. The goal is twice what is alive with GOGC=100, and less where GOMEMLIMIT says so. RSS (orange) is what the kernel counts; it follows the goal, since memory is given back slowly. The red dashes are where the kernel kills.</>,
        good: "a steady sawtooth under the limit, with a level line of what is alive.",
        bad: "a line of what is alive that rises from cycle to cycle (a leak), a goal that passes the limit, or RSS far above the goal.",
        source: "Where a step holds many samples the blue band spans the lowest and highest. Ticks at the foot are GC cycles, dots what each found alive: click one to open it. Drag to zoom.",
      }}
      options={{
        bytes: true, range: () => [0, top || 1], events: true,
        // Between two samples many collections may end: each says exactly what it found alive.
        over: (t) => {
          if (p.data.cycles.length * 4 * t.px > t.u.bbox.width) return;
          t.ctx.fillStyle = t.css("--teal");
          for (const c of p.data.cycles) {
            if (c.heap_marked_bytes === null) continue;
            t.ctx.beginPath();
            t.ctx.arc(t.x(new Date(c.end).getTime() / 1000), t.y(c.heap_marked_bytes), 2 * t.px, 0, 7);
            t.ctx.fill();
          }
        },
      }} />
  );
}

const pauseLow = 1e-5;

export function PauseChart(p: ChartInput & { total: number; thinned: boolean }): VNode | null {
  const cycles = p.data.cycles.filter((c) => c.pause_seconds !== null);
  const time = cycles.map((c) => new Date(c.end).getTime() / 1000), values = cycles.map((c) => c.pause_seconds);
  const long = quantile(values, 1), median = quantile(values, 0.5), worst = cycles.find((c) => c.pause_seconds === long);
  const stopped = values.reduce<number>((a, v) => a + (v ?? 0), 0);
  const columns: Column<(typeof cycles)[number]>[] = [
    { key: "end", label: "Ended", value: (c) => c.end, cell: (c) => moment(new Date(c.end).getTime() / 1000) },
    { key: "n", label: "Cycle", num: true, value: (c) => c.n, cell: (c) => <a href={href("cycle", p.p.id, { n: c.n, end: c.end })}>{c.n}</a> },
    { key: "pause", label: "Pause", num: true, value: (c) => c.pause_seconds, cell: (c) => seconds(c.pause_seconds) },
    { key: "mark", label: "Mark", num: true, value: (c) => c.mark_seconds, cell: (c) => seconds(c.mark_seconds) },
    { key: "start", label: "Heap at start", num: true, value: (c) => c.heap_start_bytes, cell: (c) => bytes(c.heap_start_bytes) },
    { key: "marked", label: "Alive", num: true, value: (c) => c.heap_marked_bytes, cell: (c) => bytes(c.heap_marked_bytes) },
    { key: "forced", label: "Forced", value: (c) => (c.forced ? "yes" : "") },
  ];
  return (
    <Figure title="GC pauses" unit="log scale" class={hasChosen({ chart: "pauses", chosen: p.chosen }) ? "has" : ""}
      says={cycles.length === 0 ? "No collection ended in this stretch." : <>
        <b>{count(p.total)}</b> collections{p.thinned && `, of which the ${cycles.length} with the longest pauses and a spread of the others are drawn`}. {!p.thinned && <>Half paused less than <b>{seconds(median)}</b>; </>}{p.thinned ? "The" : "the"} longest <b>{seconds(long)}</b>{worst && <> at {clock(worst.end)}</>}. {!p.thinned && <>The world stood still for {seconds(stopped)} in all.</>}</>}
      about={{
        what: "Each mark is one GC cycle at the moment it ended; its height is how long the program stood still for it, both pauses together. They are exact: the runtime writes each down, and none is missed. The scale is logarithmic.",
        good: "marks below a millisecond.",
        bad: "marks above ten milliseconds: the machine was busy with something else, or the world took long to stop.",
        source: "Click a mark to see the cycle. Hollow marks were forced by the program.",
      }}
      table={() => ({ columns, rows: cycles.slice().reverse() })}>
      <TimeChart time={time} lines={[{ key: "pause", label: "pause", values, color: "--violet", width: 0 }]} label="GC pauses" format={seconds} height={118} log reach={14}
        range={(low, high) => [Math.min(pauseLow, low ?? pauseLow), Math.max(2e-3, (high ?? 0) * 2)]}
        bands={bandsOf("pauses", p.episodes, p.chosen, p.now)} levels={levelsOf("pauses", p.episodes, p.chosen, p.now)} read={readCycle(p)}
        under={(t) => {
          if (!p.before) return;
          const { ctx, px } = t, foot = t.u.bbox.top + t.u.bbox.height;
          ctx.fillStyle = t.css("--muted") + "70";
          for (const c of p.before.cycles) {
            if (c.pause_seconds === null) continue;
            const x = t.x(new Date(c.end).getTime() / 1000 + p.shift), y = t.y(c.pause_seconds);
            ctx.fillRect(x - px / 2, y, px, foot - y);
          }
        }}
        over={(t) => stems(t, time, values, cycles.map((c) => c.forced))} />
    </Figure>
  );
}

function stems(t: Painter, time: readonly number[], values: readonly Num[], hollow: readonly boolean[]): void {
  const { ctx, px } = t, foot = t.u.bbox.top + t.u.bbox.height, dense = time.length * 4 * px > t.u.bbox.width, r = (dense ? 1.6 : 2.6) * px;
  const c = t.css("--violet"), bg = t.css("--bg");
  for (let i = 0; i < time.length; i++) {
    const v = values[i];
    if (v == null) continue;
    const x = t.x(time[i]!), y = t.y(Math.max(v, pauseLow));
    ctx.fillStyle = c + (dense ? "66" : "99");
    ctx.fillRect(x - px / 2, y, px, foot - y);
    ctx.beginPath();
    ctx.arc(x, y, r, 0, 7);
    ctx.fillStyle = hollow[i] ? bg : c;
    ctx.fill();
    if (hollow[i]) {
      ctx.strokeStyle = c;
      ctx.lineWidth = 1.25 * px;
      ctx.stroke();
    }
  }
}

const gcLooks: readonly Look[] = [
  { name: "gc_cpu_ratio", label: "GC", color: "--violet", fill: 0.14, envelope: true },
  { name: "assist_ratio", label: "assists", color: "--now", fill: 0.25 },
  { name: "limiter_fill_ratio", label: "limiter", color: "--c8", dash: [2, 3] },
];

export function GCChart(p: ChartInput): VNode | null {
  const s = p.data.gc, gc = stat(lineOf(s, "gc_cpu_ratio")?.values), assist = stat(lineOf(s, "assist_ratio")?.values), rate = stat(lineOf(s, "gc_cycles_per_second")?.values), fill = stat(lineOf(s, "limiter_fill_ratio")?.values);
  return (
    <Framed {...p} chart="gc" set="gc" title="GC CPU" height={118} format={percent}
      looks={fill.max ? gcLooks : gcLooks.slice(0, 2)}
      says={gc.last === null ? undefined : <>The collector takes <b>{percent(gc.last)}</b> of the process's CPU{rate.mean !== null && <>, with {rate.mean >= 1 ? `${rate.mean.toFixed(1)} cycles a second` : `${(rate.mean * 60).toFixed(1)} cycles a minute`}</>}. {assist.max !== null && (assist.max > 0.005 ? <>Up to <b>{percent(assist.max)}</b> was spent in assists: requests had to mark before they could allocate.</> : "Requests hardly had to help.")}</>}
      about={{
        what: "The share of the process's CPU that the garbage collector takes. Assists are the part of it that goroutines have to do themselves when they allocate faster than the collector works: they make requests slower.",
        good: "a few percent, and assists near nothing.",
        bad: "more than a quarter: the runtime itself then limits the collector, and memory grows past its goal. More memory (a higher GOGC or GOMEMLIMIT) or fewer allocations help.",
      }}
      options={{ range: (_, high) => [0, Math.max(0.02, (high ?? 0) * 1.1)], axis: (v) => (v === 0 ? "0" : percent(v)) }} />
  );
}

const allocLooks: readonly Look[] = [{ name: "alloc_bytes_per_second", label: "allocated", color: "--front", fill: 0.12, envelope: true }];

export function AllocChart(p: ChartInput): VNode | null {
  const a = stat(lineOf(p.data.gc, "alloc_bytes_per_second")?.values), marked = stat(lineOf(p.data.memory, "heap_marked_bytes")?.values);
  return (
    <Framed {...p} chart="alloc" set="gc" title="Allocation" height={96} format={byteRate} looks={allocLooks}
      says={a.mean === null ? undefined : <><b>{byteRate(a.last)}</b>, {byteRate(a.mean)} on average{marked.last && a.last ? <>: as much as is alive every <b>{seconds(marked.last / Math.max(a.last, 1))}</b></> : ""}.</>}
      about={{ what: "How many bytes the program allocates in a second. It is what makes the collector run: half as many allocations are half as many collections.", good: "little, or at least steady.", bad: "bursts that come with assists and pauses; the profile of allocations says where they come from." }}
      options={{ bytes: true, axis: bytes }} />
  );
}

const stackColors = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];
const stackMost = 7;

export function GoroutineChart(p: ChartInput): VNode | null {
  const s = p.data.goroutines, all = lineOf(s, "goroutines"), runnable = stat(lineOf(s, "runnable")?.values);
  const parts = (s?.series ?? []).filter((l) => l.name.startsWith("goroutines_"));
  const last = stat(all?.values), first = all?.values.find((v) => v !== null) ?? null;
  const shown = parts.slice(0, stackMost), rest = parts.slice(stackMost);
  const lines: Line[] = shown.map((l, i) => ({ key: l.name, label: l.label, values: l.values, color: stackColors[i]!, width: 1 }));
  if (rest.length > 0 && s) {
    lines.push({ key: "rest", label: `${rest.length} others`, color: "--c8", width: 1, values: s.time.map((_, i) => rest.reduce<Num>((a, l) => (l.values[i] == null ? a : (a ?? 0) + l.values[i]!), null)) });
  }
  if (s && !all && parts.length === 0) return null;
  const stack = parts.length > 0;
  const most = parts[0] && { label: parts[0].label, n: stat(parts[0].values).last };
  const grown = last.last !== null && first !== null && first > 0 ? last.last / first - 1 : 0;
  return (
    <Figure title="Goroutines" class={hasChosen({ chart: "goroutines", chosen: p.chosen }) ? "has" : ""}
      says={last.last === null ? undefined : <><b>{count(last.last)}</b>{grown > 0.1 && first !== null && <>, {grown < 2 ? <><b>{percent(grown)}</b> more than</> : <><b>{(grown + 1).toFixed(grown < 9 ? 1 : 0)} times</b> as many as</>} the {count(first)} at the left edge</>}. {most && most.n !== null && <>Most: <b>{most.label}</b> ({count(most.n)}). </>}{runnable.max ? <>Up to {count(runnable.max)} were ready and waited for a processor.</> : ""}</>}
      about={{
        what: "Goroutines by what they wait for, stacked. The runtime's reasons: IO wait is the network, chan receive and select are other goroutines, sync.Mutex.Lock is a lock.",
        good: "a number that follows the load and comes back.",
        bad: "a layer that only grows: goroutines that nobody ends. The view Profiles says where they were started.",
        source: "The parts come from snapshots, which are taken less often than samples. The dark line is the number of all, from the samples.",
      }}
      table={s ? () => tableOf(s, [...(all ? [all] : []), ...parts]) : undefined}>
      <TimeChart time={s?.time ?? []} wait={s ? undefined : "Loading…"} stack={stack} label="Goroutines by wait reason" height={150} format={count} read={readCycle(p)}
        lines={stack ? lines : all ? [{ key: "all", label: "goroutines", values: all.values, color: "--c1", fill: 0.12 }] : []}
        range={(_, high) => [0, Math.max(4, high ?? 0, last.max ?? 0) * 1.08]}
        over={(t) => {
          // The number of all is known more often than what they do.
          if (!stack || !all || !s) return;
          const { ctx, px } = t, ink = t.css("--ink");
          ctx.strokeStyle = ink;
          ctx.lineWidth = 1.25 * px;
          ctx.beginPath();
          let pen = false, end: [number, number] | null = null;
          all.values.forEach((v, i) => {
            if (v === null) pen = false;
            else {
              end = [t.x(s.time[i]!), t.y(v)];
              ctx[pen ? "lineTo" : "moveTo"](...end);
              pen = true;
            }
          });
          ctx.stroke();
          if (!end) return;
          ctx.font = `${11 * px}px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif`;
          ctx.textAlign = "right";
          ctx.textBaseline = "bottom";
          ctx.fillStyle = ink;
          ctx.fillText("all", Math.min(end[0], t.u.bbox.left + t.u.bbox.width) - 4 * px, Math.max(end[1] - 3 * px, t.u.bbox.top + 12 * px));
        }}
        bands={bandsOf("goroutines", p.episodes, p.chosen, p.now)} levels={levelsOf("goroutines", p.episodes, p.chosen, p.now)}
        ghosts={ghostsOf(p.before?.goroutines, p.shift, [{ name: "goroutines", label: "", color: "--muted" }])} />
    </Figure>
  );
}

const schedLooks: readonly Look[] = [{ name: "latency_p99_seconds", label: "99 of 100", color: "--now", width: 1.5 }, { name: "latency_p50_seconds", label: "half", color: "--ink", width: 1.25, dash: [4, 3] }];

export function SchedChart(p: ChartInput): VNode | null {
  const s = p.data.sched, heat = s?.heat ?? null;
  const p99 = stat(lineOf(s, "latency_p99_seconds")?.values), p50 = stat(lineOf(s, "latency_p50_seconds")?.values);
  if (s && !heat) return null;
  let low = 0, high = heat ? heat.bounds_seconds.length - 1 : 0;
  let most = 0;
  if (heat) {
    const used = heat.bounds_seconds.map((_, b) => heat.counts.some((row) => (row?.[b] ?? 0) > 0));
    low = Math.max(0, used.indexOf(true));
    high = Math.max(low + 1, used.lastIndexOf(true));
    for (const row of heat.counts) for (const n of row ?? []) if (n !== null && n > most) most = n;
  }
  const bounds = heat?.bounds_seconds ?? [1e-6, 1];
  const floor = low > 0 ? bounds[low - 1]! : bounds[0]! / 2, ceil = bounds[Math.min(high, bounds.length - 1)]!;
  return (
    <Figure title="Waiting to run" unit="log scale" class={hasChosen({ chart: "sched", chosen: p.chosen }) ? "has" : ""}
      says={p99.last === null ? undefined : <>Half of the goroutines that became ready ran within <b>{seconds(p50.last)}</b>, 99 of 100 within <b>{seconds(p99.last)}</b>.</>}
      about={{
        what: "How long goroutines that could run had to wait for a processor. Darker is more goroutines; each column is a step of time, each row a length.",
        good: "a dark band at the bottom, of microseconds.",
        bad: "a second band that rises to milliseconds: more is ready than there are processors, or the CPU quota holds the process up.",
        source: "From the runtime's /sched/latencies:seconds, which counts a sample of one in eight.",
      }}
      table={s ? () => tableOf(s, s.series.filter((l) => l.name.startsWith("latency"))) : undefined}>
      <TimeChart time={s?.time ?? []} wait={s ? undefined : "Loading…"} lines={linesOf(s, schedLooks)} label="Scheduler latency heat map" height={132} format={seconds} log
        range={() => [floor, ceil * 1.05]} bands={bandsOf("sched", p.episodes, p.chosen, p.now)} levels={levelsOf("sched", p.episodes, p.chosen, p.now)} read={readCycle(p)}
        ghosts={ghostsOf(p.before?.sched, p.shift, schedLooks.slice(0, 1))}
        under={(t) => {
          if (!s || !heat || most === 0) return;
          const { ctx } = t, hue = t.css("--front");
          for (let i = 0; i < s.time.length; i++) {
            const row = heat.counts[i];
            if (!row) continue;
            const x0 = Math.round(t.x(s.time[i]! - s.step_seconds)), x1 = Math.round(t.x(s.time[i]!));
            if (x1 < t.u.bbox.left || x0 > t.u.bbox.left + t.u.bbox.width) continue;
            for (let b = low; b <= high; b++) {
              const n = row[b];
              if (!n || n < 0.5) continue;
              const y0 = Math.round(t.y(bounds[b]!)), y1 = Math.round(t.y(b > 0 ? bounds[b - 1]! : floor));
              const a = 0.06 + 0.8 * (Math.log1p(n) / Math.log1p(most));
              ctx.fillStyle = hue + Math.round(a * 255).toString(16).padStart(2, "0");
              ctx.fillRect(x0, y0, x1 - x0, y1 - y0);
            }
          }
        }} />
    </Figure>
  );
}

const cpuLooks: readonly Look[] = [
  { name: "cpu_cores", label: "all", color: "--front", fill: 0.12, envelope: true },
  { name: "gc_cores", label: "collector", color: "--violet", fill: 0.2 },
];

export function CPUChart(p: ChartInput): VNode | null {
  const c = stat(lineOf(p.data.cpu, "cpu_cores")?.values), procs = stat(lineOf(p.data.cpu, "gomaxprocs")?.values);
  const cores = (v: Num) => value(v, "cores");
  return (
    <Framed {...p} chart="cpu" set="cpu" title="CPU" unit="cores" height={104} format={(v) => (v === null ? "–" : v.toFixed(v < 0.1 ? 3 : 2))} looks={cpuLooks}
      says={c.last === null ? undefined : <><b>{cores(c.mean)}</b> on average, {cores(c.max)} at most{procs.last !== null && <>, of {procs.last} that the runtime may use</>}.</>}
      about={{ what: "CPU that the process used, as the kernel counts it, and the collector's part, as the runtime counts it.", good: "well under GOMAXPROCS and the container's quota.", bad: "a line at the quota: the kernel then holds the process up." }}
      options={{ range: (_, high) => [0, Math.max(0.02, (high ?? 0) * 1.1)] }} />
  );
}

const pressureLooks: readonly Look[] = [
  { name: "throttled_ratio", label: "by the quota", color: "--bad", fill: 0.15 },
  { name: "cpu_stall_ratio", label: "for a CPU", color: "--now" },
  { name: "memory_stall_ratio", label: "for memory", color: "--teal" },
];

export function PressureChart(p: ChartInput): VNode | null {
  const s = p.data.pressure, t = stat(lineOf(s, "throttled_ratio")?.values), c = stat(lineOf(s, "cpu_stall_ratio")?.values), m = stat(lineOf(s, "memory_stall_ratio")?.values);
  return (
    <Framed {...p} chart="pressure" set="pressure" title="Held up" unit="share of the time" height={104} format={percent} looks={pressureLooks}
      says={t.n + c.n + m.n === 0 ? undefined : <>{t.max !== null && (t.max > 0.001 ? <>The CPU quota held it up for <b>{percent(t.mean)}</b> of the time, {percent(t.max)} at most. </> : "The CPU quota did not hold it up. ")}{c.mean !== null && <>It waited for a CPU {percent(c.mean)} of the time{m.mean !== null && <>, for memory {percent(m.mean)}</>}.</>}</>}
      about={{
        what: "The share of the time in which the kernel held the process's container up: because its CPU quota was used up, because no CPU was free, or because memory had to be reclaimed.",
        good: "lines at nothing.",
        bad: "any of them for long. Such waits look like long GC pauses and slow requests, and are neither.",
        source: "From the container's cgroup: cpu.stat, and the pressure files.",
      }}
      options={{ range: (_, high) => [0, Math.max(0.02, (high ?? 0) * 1.1)], axis: (v) => (v === 0 ? "0" : percent(v)) }} />
  );
}
