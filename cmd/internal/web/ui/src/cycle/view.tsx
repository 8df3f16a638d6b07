// One garbage collection, drawn: what it took in time and in processors, and what it
// freed.
import type { VNode } from "preact";
import { url, useGet } from "../api/client.ts";
import type { Cycle, Cycles } from "../api/types.ts";
import { go, href } from "../router.ts";
import { bytes, clock, moment, percent, seconds, stamp, when } from "../ui/format.tsx";
import { Figure } from "../ui/Chart.tsx";
import { useKeys } from "../ui/keys.ts";
import { Empty, Load } from "../ui/State.tsx";
import type { Column } from "../ui/Table.tsx";
import { heapOf, lanesOf } from "./drawing.ts";
import "./cycle.css";

export function View({ params, process }: { params: URLSearchParams; process?: string }): VNode {
  const id = process ?? "", n = Number(params.get("n")), end = moment(params.get("end") ?? "", Date.now());
  // The cycles around it: before and after are a step away.
  const around = Number.isFinite(end) ? { from: stamp(end - 600e3), to: stamp(end + 600e3) } : { from: "now-15m", to: "now" };
  const got = useGet<Cycles>(url("cycles", { process: id, ...around, limit: 2000 }));
  const back = href("process", id, { from: params.get("from"), to: params.get("to") });
  return (
    <Load of={got} what="the cycle" rows={6}>
      {(data) => {
        const list = data.cycles, at = list.findIndex((c) => c.n === n && (!Number.isFinite(end) || Math.abs(new Date(c.end).getTime() - end) < 1000));
        const i = at >= 0 ? at : params.has("n") ? -1 : list.length - 1, c = list[i];
        if (!c) return <Empty title={`Cycle ${params.get("n") ?? ""} is not in the history`}>It is older than what is kept, or another process had it. <a href={back}>Back to the timeline</a></Empty>;
        return <One key={c.end} id={id} c={c} before={list[i - 1]} after={list[i + 1]} list={list} params={params} back={back} />;
      }}
    </Load>
  );
}

function One(props: { id: string; c: Cycle; before?: Cycle; after?: Cycle; list: readonly Cycle[]; params: URLSearchParams; back: string }): VNode {
  const { id, c, before, after, params } = props;
  const to = (x: Cycle) => href("cycle", id, { n: x.n, end: x.end, from: params.get("from"), to: params.get("to") });
  useKeys([
    { key: "k", does: "cycle before", run: () => before && go(to(before), true) },
    { key: "j", does: "next cycle", run: () => after && go(to(after), true) },
  ]);
  const end = new Date(c.end).getTime(), heap = heapOf(c), lanes = lanesOf(c);
  const since = before ? (end - new Date(before.end).getTime()) / 1000 : null;
  return (
    <>
      <div class="cyclehead">
        <h1>GC cycle {c.n} <small>of {id}, ended {when(c.end)}.{clock(c.end, true).slice(-3)}{c.forced ? ", forced by the program" : ""}</small></h1>
        <span class="group">
          <button type="button" disabled={!before} title="The cycle before ( k )" onClick={() => before && go(to(before), true)}>‹ before</button>
          <button type="button" disabled={!after} title="The next cycle ( j )" onClick={() => after && go(to(after), true)}>next ›</button>
        </span>
        <a class="button" href={href("process", id, { from: stamp(end - 30e3), to: stamp(end + 30e3) })}>The minute around it</a>
        <a class="button" href={props.back}>Timeline</a>
      </div>
      <dl class="facts cyclefacts">
        <div><dt>Stood still</dt><dd>{seconds(c.pause_seconds)}</dd></div>
        <div><dt>Marking took</dt><dd>{seconds(c.mark_seconds)}</dd></div>
        <div><dt>Freed</dt><dd>{heap ? bytes(heap.freed) : "–"}</dd></div>
        <div><dt>Alive after it</dt><dd>{bytes(c.heap_marked_bytes)}</dd></div>
        <div><dt>Since the cycle before</dt><dd>{seconds(since)}</dd></div>
        {heap && before?.heap_marked_bytes != null && before.n === c.n - 1 && <div><dt>Allocated in that time</dt><dd>{bytes(Math.max(0, heap.end - before.heap_marked_bytes))}</dd></div>}
      </dl>
      {c.mark_seconds === null ? (
        <Empty title="Only the end and the pause of this cycle are known">
          The runtime keeps these two of every cycle. The rest is read between one cycle and the next; here the next had begun before the agent read the process. A shorter sampling interval sees more.
        </Empty>
      ) : (
        <>
          {heap && <HeapDrawing c={c} heap={heap} />}
          {lanes && <TimeDrawing c={c} lanes={lanes} />}
          <AllNumbers c={c} />
        </>
      )}
    </>
  );
}

const W = 1000;

function HeapDrawing({ c, heap }: { c: Cycle; heap: NonNullable<ReturnType<typeof heapOf>> }): VNode {
  const x = (v: number) => (v / heap.top) * W, pc = (v: number) => percent(heap.end > 0 ? v / heap.end : null);
  const rows = [
    { name: "When it began", value: c.heap_start_bytes, parts: [{ from: 0, to: heap.start, kind: "live" }], says: "the heap had grown to the trigger" },
    { name: "When marking ended", value: heap.end, parts: [{ from: 0, to: heap.start, kind: "live" }, { from: heap.start, to: heap.end, kind: "new" }], says: `${bytes(heap.end - heap.start)} were allocated while it marked` },
    { name: "Alive", value: heap.marked, parts: [{ from: 0, to: heap.marked, kind: "alive" }, { from: heap.marked, to: heap.end, kind: "freed" }], says: `${bytes(heap.freed)} are free again` },
  ];
  return (
    <Figure title="What it freed"
      says={<>Of <b>{bytes(heap.end)}</b> it found <b>{bytes(heap.marked)}</b> alive and freed <b>{bytes(heap.freed)}</b> ({pc(heap.freed)}).{heap.goal !== null && (heap.end > heap.goal ? <> The heap passed its goal by <b>{bytes(heap.end - heap.goal)}</b>.</> : <> It ended {bytes(heap.goal - heap.end)} before the goal.</>)}</>}
      about={{
        what: "The heap when the collection began, when marking ended, and what was found alive. What is not alive is swept and used again. The line is the goal: the collection should be done before the heap is there.",
        good: "much is freed: each collection is worth its cost. With GOGC=100 it is about half.",
        bad: "little is freed, or the goal is passed: the program allocates faster than the collector marks.",
      }}
      table={() => ({ columns: pairs, rows: [["Heap at the start", bytes(c.heap_start_bytes)], ["Heap at the end of marking", bytes(c.heap_end_bytes)], ["Alive", bytes(c.heap_marked_bytes)], ["Freed", bytes(heap.freed)], ["Goal", bytes(c.heap_goal_bytes)]] as const })}>
      <div class="heapbars">
        {rows.map((r) => (
          <div key={r.name} class="heaprow">
            <span>{r.name}</span>
            <svg viewBox={`0 0 ${W} 26`} preserveAspectRatio="none" role="img" aria-label={`${r.name}: ${bytes(r.value)}`}>
              {r.parts.map((p) => <rect key={p.kind} class={p.kind} x={x(p.from)} width={Math.max(0, x(p.to) - x(p.from))} y="2" height="22" />)}
              {heap.goal !== null && <line class="goal" x1={x(heap.goal)} x2={x(heap.goal)} y1="0" y2="26" />}
            </svg>
            <b>{bytes(r.value)}</b><small>{r.says}</small>
          </div>
        ))}
      </div>
      <ul class="legend"><li class="live">in use when it began</li><li class="new">allocated during it</li><li class="alive">alive</li><li class="freed">freed</li>{heap.goal !== null && <li class="goal">goal {bytes(heap.goal)}</li>}</ul>
    </Figure>
  );
}

const pairs: Column<readonly [string, string]>[] = [{ key: "what", label: "What", value: (r) => r[0] }, { key: "value", label: "Value", num: true, value: (r) => r[1] }];

function TimeDrawing({ c, lanes }: { c: Cycle; lanes: NonNullable<ReturnType<typeof lanesOf>> }): VNode {
  const H = 132, { total, procs } = lanes, x = (t: number) => (t / total) * W, y = (p: number) => H - (p / procs) * H;
  let foot = 0;
  const layers = lanes.layers.map((l) => {
    const from = foot;
    foot = Math.min(procs, foot + l.procs);
    return { ...l, from, to: foot };
  });
  const mark0 = x(lanes.sweep), mark1 = x(lanes.sweep + lanes.mark);
  return (
    <Figure title="Where its time went"
      says={<>From the first to the last stop it took <b>{seconds(total)}</b>. The program ran for <b>{percent(lanes.mark / total)}</b> of it; it stood still for <b>{seconds(lanes.sweep)}</b> before marking and <b>{seconds(lanes.term)}</b> after.</>}
      about={{
        what: <>Across is time; up are processors (GOMAXPROCS). The two red walls are the pauses: all processors stand still. Between them the collector marks on some processors while the program runs on the others. Areas are CPU time, to scale.</>,
        good: "a quarter of the processors marks (violet), and little of the orange.",
        bad: "much orange: goroutines had to mark before they could allocate, which makes requests slow.",
        source: "Workers are the quarter of the processors that the runtime sets apart; idle is marking on processors that had nothing else to do. Each is drawn as its mean over the marking.",
      }}
      table={() => ({ columns: pairs, rows: [["First pause (sweep termination)", seconds(c.sweep_termination_seconds)], ["Marking", seconds(c.mark_seconds)], ["Second pause (mark termination)", seconds(c.mark_termination_seconds)], ...lanes.layers.map((l) => [l.label + ", CPU", seconds(l.cpu)] as const)] as (readonly [string, string])[] })}>
      <div class="lanes">
        <svg class="lanepicture" viewBox={`0 0 ${W} ${H}`} preserveAspectRatio="none" role="img" aria-label="Processors over the time of the cycle">
          <rect class="program" x={mark0} width={Math.max(0, mark1 - mark0)} y="0" height={H} />
          {layers.map((l) => <rect key={l.key} class={l.key} x={mark0} width={Math.max(0, mark1 - mark0)} y={y(l.to)} height={Math.max(0, y(l.from) - y(l.to))} />)}
          {Array.from({ length: Math.min(64, procs) - 1 }, (_, i) => <line key={i} class="lane" x1={mark0} x2={mark1} y1={y(i + 1)} y2={y(i + 1)} />)}
          <rect class="stop" x="0" width={Math.max(1.5, mark0)} y="0" height={H} />
          <rect class="stop" x={Math.min(W - 1.5, mark1)} width={Math.max(1.5, W - mark1)} y="0" height={H} />
        </svg>
        <div class="laneaxis"><span>0</span><span>{seconds(total / 2)}</span><span>{seconds(total)}</span></div>
        <ul class="legend">
          {lanes.layers.map((l) => <li key={l.key} class={l.key}>{l.label}: <b>{seconds(l.cpu)}</b> CPU, {l.procs.toFixed(l.procs < 1 ? 2 : 1)} of {procs} processors</li>)}
          <li class="program">the program</li><li class="stop">all stand still</li>
        </ul>
        <h3>The two pauses to one scale</h3>
        <Pauses a={lanes.sweep} b={lanes.term} />
      </div>
    </Figure>
  );
}

function Pauses({ a, b }: { a: number; b: number }): VNode {
  const top = Math.max(a, b, 1e-6);
  return (
    <div class="heapbars">
      {([["before marking", a, "sweep termination: all goroutines stop, the last sweep is finished"], ["after marking", b, "mark termination: the end of marking is agreed on"]] as const).map(([name, v, says]) => (
        <div class="heaprow" key={name}>
          <span>{name}</span>
          <svg viewBox={`0 0 ${W} 26`} preserveAspectRatio="none" role="img" aria-label={`${name}: ${seconds(v)}`}><rect class="stop" x="0" width={Math.max(2, (v / top) * W)} y="6" height="14" /></svg>
          <b>{seconds(v)}</b><small>{says}</small>
        </div>
      ))}
    </div>
  );
}

function AllNumbers({ c }: { c: Cycle }): VNode {
  const rows: [string, string, string][] = [
    ["Heap at the start", bytes(c.heap_start_bytes), "what the trigger let it grow to"], ["Heap at the end of marking", bytes(c.heap_end_bytes), ""], ["Alive", bytes(c.heap_marked_bytes), "the base of the next goal"], ["Goal", bytes(c.heap_goal_bytes), "that this cycle had"],
    ["Stacks scanned", bytes(c.stack_scan_bytes), "counts towards the goal since Go 1.18"], ["Globals scanned", bytes(c.globals_scan_bytes), ""],
    ["Assists", seconds(c.assist_cpu_seconds), "CPU that allocating goroutines gave"], ["Dedicated workers", seconds(c.dedicated_cpu_seconds), "CPU"], ["Fractional worker", seconds(c.fractional_cpu_seconds), "CPU"], ["Idle marking", seconds(c.idle_cpu_seconds), "CPU that nothing else wanted"],
    ["GOMAXPROCS", c.procs === null ? "–" : String(c.procs), ""], ["Forced", c.forced ? "yes" : "no", "runtime.GC"],
  ];
  return (
    <details class="numbers"><summary>All numbers</summary>
      <table><tbody>{rows.map(([k, v, w]) => <tr key={k}><td>{k}</td><td class="n">{v}</td><td class="note">{w}</td></tr>)}</tbody></table>
    </details>
  );
}
