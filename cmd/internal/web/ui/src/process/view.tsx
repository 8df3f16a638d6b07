// One process over time.
import type { VNode } from "preact";
import { useMemo } from "preact/hooks";
import { url, useGet, type Loadable } from "../api/client.ts";
import type { Cycles, Episode, Event, Process, Series, SeriesSet } from "../api/types.ts";
import { go, href, setParams } from "../router.ts";
import { Figure } from "../ui/Chart.tsx";
import { stamp, when } from "../ui/format.tsx";
import { Empty, Failure, Load, Stale } from "../ui/State.tsx";
import { Table, type Column } from "../ui/Table.tsx";
import { eventText, TimelineContext, type Timeline } from "../ui/TimeChart.tsx";
import { AllocChart, CPUChart, GCChart, GoroutineChart, MemoryChart, PauseChart, PressureChart, SchedChart, type ChartInput } from "./charts.tsx";
import { Compared } from "./Compared.tsx";
import { extend, join, useLive, type Measured } from "./data.ts";
import { Header, Strip } from "./Header.tsx";
import { TimeBar } from "./TimeBar.tsx";
import { compareOf, show, useNow, windowOf, type Window } from "./window.ts";
import "./process.css";

export function View({ params, process }: { params: URLSearchParams; process?: string }): VNode {
  const id = process ?? "";
  const got = useGet<Process>(url("processes/" + encodeURIComponent(id)), { every: 5000 });
  if (got.data === null && got.error?.status === 404) {
    return <Empty title={`No process is called “${id}”`}>It may never have been here, or its history is gone. <a href="/ui/fleet">All processes</a></Empty>;
  }
  return <Load of={got} what="the process" rows={8}>{(p) => <Lines p={p} params={params} silent={got.error !== null} />}</Load>;
}

/** ask writes one end of a range as the API takes it: relative ones stay, so that an address is asked again. */
function ask(text: string, ms: number): string {
  return text.trim().startsWith("now") ? text.replace(/\s/g, "") : stamp(ms);
}

const points = Math.min(900, Math.max(240, Math.round(innerWidth * 0.7)));

function useMeasured(process: string, from: string | null, to: string, every: number): { sets: Record<SeriesSet, Loadable<Series>>; cycles: Loadable<Cycles> } {
  const set = (name: SeriesSet, slow = 1) =>
    useGet<Series>(from === null ? null : url("series", { process, from, to, points: name === "sched" ? Math.min(points, 400) : points, set: name }), { every: every * slow, keep: true });
  return {
    sets: { memory: set("memory"), gc: set("gc"), cpu: set("cpu", 2), goroutines: set("goroutines", 2), sched: set("sched", 2), pressure: set("pressure", 2) },
    cycles: useGet<Cycles>(from === null ? null : url("cycles", { process, from, to, limit: 2000 }), { every, keep: true }),
  };
}

const streamed = 7200e3; // ms; in a longer stretch a second is no pixel

/** silent: it is said already that the agent does not answer. */
function Lines({ p, params, silent }: { p: Process; params: URLSearchParams; silent: boolean }): VNode {
  const relative = (params.get("to") ?? "now").startsWith("now") && !params.has("at");
  const ticking = useNow(relative && p.up), now = relative && p.up ? ticking : Date.now();
  // An ended process has no "now": its last minutes are what one looks for.
  const end = p.up || p.ended === null ? now : new Date(p.ended).getTime() + 30e3;
  const w = windowOf(params, relative && !p.up ? end : now);
  if (!p.up && relative) {
    w.live = false;
    w.range = { from: stamp(w.from), to: stamp(w.to) };
  }
  const every = w.live ? Math.min(60e3, Math.max(5e3, (w.to - w.from) / 180)) : 0;
  const from = ask(w.range.from, w.from), to = ask(w.range.to, w.to);
  const { sets, cycles } = useMeasured(p.id, from, to, every);
  const findings = useGet<{ episodes: Episode[] | null }>(url("findings", { process: p.id, from, to }), { every: every * 2, keep: true });
  const events = useGet<{ events: Event[] | null }>(url("events", { process: p.id, from, to }), { every: every * 2, keep: true });
  const stream = useLive(p.id, w.live && w.to - w.from <= streamed);

  const other = compareOf(params, w, now);
  const round = (ms: number) => (w.live ? `now-${Math.round((now - ms) / 1000)}s` : stamp(ms));
  const second = useMeasured(p.id, other ? round(other.from) : null, other ? round(other.to) : "", 0);

  const chosen = params.get("finding");
  const data: Measured = useMemo(() => ({
    memory: extend(sets.memory.data, stream.samples, { rss_bytes: (s) => s.rss_bytes, heap_live_bytes: (s) => s.heap_live_bytes, heap_goal_bytes: (s) => s.heap_goal_bytes }),
    gc: extend(sets.gc.data, stream.samples, { gc_cpu_ratio: (s) => s.gc_cpu_ratio }),
    goroutines: sets.goroutines.data, cpu: sets.cpu.data, sched: sets.sched.data, pressure: sets.pressure.data,
    cycles: join(cycles.data?.cycles ?? [], stream.samples.flatMap((s) => s.cycles ?? [])), thinned: cycles.data?.thinned ?? false,
  }), [sets.memory.data, sets.gc.data, sets.goroutines.data, sets.cpu.data, sets.sched.data, sets.pressure.data, cycles.data, stream.samples]);
  const before: Measured | null = other === null ? null : {
    memory: second.sets.memory.data, gc: second.sets.gc.data, goroutines: second.sets.goroutines.data, cpu: second.sets.cpu.data, sched: second.sets.sched.data, pressure: second.sets.pressure.data,
    cycles: second.cycles.data?.cycles ?? [], thinned: second.cycles.data?.thinned ?? false,
  };

  const line: Timeline = {
    from: w.from / 1000, to: w.to / 1000, cycles: data.cycles, ends: useMemo(() => data.cycles.map((c) => new Date(c.end).getTime() / 1000), [data.cycles]),
    events: [...(events.data?.events ?? []), ...(w.at === null ? [] : [{ process: p.id, time: stamp(w.at), event: "the moment of the link", text: "", data: null }])],
    brush: (a, b) => show(a * 1000, b * 1000),
    pick: (c) => go(href("cycle", p.id, { n: c.n, end: c.end, from: params.get("from"), to: params.get("to") })),
  };
  const input: ChartInput = {
    data, ends: line.ends, before, shift: other ? (w.from - other.from) / 1000 : 0, p, w, now, chosen,
    episodes: findings.data?.episodes ?? [],
  };
  const error = sets.memory.error ?? sets.gc.error ?? cycles.error;
  const reload = () => { for (const l of [...Object.values(sets), cycles, findings, events]) l.reload(); };
  return (
    <>
      <Header p={p} />
      <Strip process={p.id} episodes={input.episodes} chosen={chosen} params={params} />
      <TimeBar w={w} params={params} open={stream.open || (w.live && !error && w.to - w.from > streamed)} now={now} up={p.up} />
      {error && !(silent && sets.memory.data) && (sets.memory.data ? <Stale at={sets.memory.at} error={error} retry={reload} /> : <Failure error={error} retry={reload} what="the history" />)}
      {error && !sets.memory.data && !sets.gc.data ? null : sets.memory.data && nothing(data) ? <Nothing p={p} w={w} /> : (
        <TimelineContext.Provider value={line}>
          <div class={sets.memory.loading && !w.live ? "charts busy" : "charts"}>
            {before && <Compared a={data} b={before} with={params.get("with") ?? ""} />}
            <MemoryChart {...input} />
            <PauseChart {...input} total={cycles.data?.total ?? data.cycles.length} thinned={cycles.data?.thinned ?? false} />
            <GCChart {...input} />
            <AllocChart {...input} />
            <GoroutineChart {...input} />
            <SchedChart {...input} />
            <CPUChart {...input} />
            <PressureChart {...input} />
            <Happened events={events.data?.events ?? []} />
          </div>
        </TimelineContext.Provider>
      )}
    </>
  );
}

const happened: Column<Event>[] = [
  { key: "time", label: "Time", value: (e) => e.time, cell: (e) => when(e.time) },
  { key: "event", label: "What", value: (e) => eventText(e) },
  { key: "text", label: "More", value: (e) => e.text || Object.entries(e.data ?? {}).map(([k, v]) => `${k}: ${v}`).join(", ") },
];

/** What the dotted lines across the charts are. */
function Happened({ events }: { events: readonly Event[] }): VNode | null {
  if (events.length === 0) return null;
  return (
    <Figure title="Events" says={`${events.length} in this stretch: the dotted lines across the charts.`} about={{
      what: "What happened to the process and to its being watched: it began or ended, a setting or a limit changed, the kernel killed something in its container, or the agent could not look.",
      bad: "out of memory: the kernel ends the process without asking, and the work in flight is lost.",
    }}>
      <Table label="Events" columns={happened} rows={events.slice().reverse()} />
    </Figure>
  );
}

function nothing(d: Measured): boolean {
  return d.cycles.length === 0 && [d.memory, d.gc, d.goroutines, d.cpu, d.sched, d.pressure].every((s) => s !== null && s.series.length === 0);
}

function Nothing({ p, w }: { p: Process; w: Window }): VNode {
  const first = new Date(p.first_seen).getTime(), last = new Date(p.last_seen).getTime();
  return (
    <Empty title="Nothing was measured in this stretch">
      {p.error ? <>{p.error}. {p.hint}</> : w.to < first ? "It lies before the process was first seen." : "The process was not running, or the agent was not."}{" "}
      <button type="button" onClick={() => setParams({ from: stamp(last - 900e3), to: stamp(last + 30e3), at: null }, false)}>Show its last minutes</button>
    </Empty>
  );
}
