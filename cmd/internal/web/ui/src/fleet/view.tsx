// All processes of the host, the most troubled first.
import { memo } from "preact/compat";
import type { VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useGet, url } from "../api/client.ts";
import type { Num, Processes, Row, Spark as SparkValues, Unseen } from "../api/types.ts";
import { href, setParams } from "../router.ts";
import { ago, byteRate, bytes, count, percent, seconds, severityMark, unknown } from "../ui/format.tsx";
import { Help } from "../ui/Help.tsx";
import { useKeys } from "../ui/keys.ts";
import { Spark } from "../ui/Spark.tsx";
import { Empty, Load } from "../ui/State.tsx";
import { matches, order, tally, type By } from "./list.ts";
import "./fleet.css";

const columns: { by: By; label: string; title: string; num?: boolean }[] = [
  { by: "name", label: "Process", title: "Name; module version and Go release" },
  { by: "trouble", label: "Trouble", title: "The worst finding; sorted by how near the process is to failing" },
  { by: "headroom", label: "Memory of limit", title: "What is in use of the limit: the container's, else GOMEMLIMIT, else the host's memory" },
  { by: "rss", label: "RSS", title: "Resident memory, the last ten minutes; the filled part is the heap", num: true },
  { by: "gc", label: "GC CPU", title: "The collector's share of the process's CPU, the last ten minutes", num: true },
  { by: "alloc", label: "Alloc", title: "Bytes allocated per second", num: true },
  { by: "cycles", label: "GC", title: "Garbage collections", num: true },
  { by: "cpu", label: "CPU", title: "Cores in use", num: true },
  { by: "goroutines", label: "Goroutines", title: "Goroutines that exist", num: true },
  { by: "uptime", label: "Up", title: "Since the process started", num: true },
];

export function View({ params }: { params: URLSearchParams }): VNode {
  const got = useGet<Processes>(url("processes"), { every: 4000 });
  return <Load of={got} what="the processes" rows={12}>{(data) => <Fleet data={data} params={params} />}</Load>;
}

const page = 80; // rows that are drawn at first, and more as one scrolls

function Fleet({ data, params }: { data: Processes; params: URLSearchParams }): VNode {
  const q = params.get("q") ?? "", sort = params.get("sort") ?? "trouble";
  const rows = useMemo(() => order(data.processes.filter((r) => matches(r, q)), sort), [data, q, sort]);
  const t = useMemo(() => tally(data.processes), [data]);
  const [shown, setShown] = useState(page);
  const filter = useRef<HTMLInputElement>(null), list = useRef<HTMLDivElement>(null), end = useRef<HTMLDivElement>(null);

  useEffect(() => setShown(page), [q, sort]);
  useEffect(() => {
    if (!end.current || shown >= rows.length) return;
    const o = new IntersectionObserver((e) => { if (e.some((x) => x.isIntersecting)) setShown((n) => n + 200); }, { rootMargin: "600px" });
    o.observe(end.current);
    return () => o.disconnect();
  }, [shown, rows.length]);

  const step = (by: number) => {
    const links = Array.from(list.current?.querySelectorAll<HTMLAnchorElement>("a.name") ?? []);
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    const to = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))];
    to?.focus();
    to?.scrollIntoView({ block: "nearest" });
  };
  useKeys([
    { key: "/", does: "filter", run: () => { filter.current?.focus(); filter.current?.select(); } },
    { key: "j", does: "next row", run: () => step(1) },
    { key: "k", does: "row before", run: () => step(-1) },
    { key: "Enter", does: "open the row, or the first", run: () => list.current?.querySelector<HTMLAnchorElement>("a.name")?.click() },
  ]);

  const word = (w: string) => (q.split(/\s+/).includes(w) ? q.split(/\s+/).filter((x) => x !== w).join(" ") : (q + " " + w).trim());
  const chip = (w: string, n: number, label: string, kind = "") => n > 0 && (
    <button type="button" class={"quiet chip " + kind} aria-pressed={q.split(/\s+/).includes(w)} onClick={() => setParams({ q: word(w) })}>
      {kind && <i class="tone" aria-hidden="true">{severityMark[kind as "info"]}</i>}<b>{n}</b> {label}
    </button>
  );
  const by = (c: By) => setParams({ sort: sort === c ? "-" + c : c === "trouble" ? null : c });

  return (
    <>
      <div class="fleethead">
        <h1 class="away">Fleet</h1>
        <input ref={filter} type="search" class="filter" placeholder="Filter: name, module, finding, user …  ( / )" aria-label="Filter the processes" value={q} onInput={(e) => setParams({ q: e.currentTarget.value })} />
        <div class="chips">
          {chip("critical", t.critical, "critical", "critical")}
          {chip("warning", t.warning, "warning", "warning")}
          {chip("info", t.info, "info", "info")}
          {chip("ended", t.ended, "ended")}
        </div>
        <p class="note fleetsum">
          {q ? `${rows.length} of ${data.processes.length}` : count(data.processes.length)} processes
          {data.unseen.length > 0 && <>, <a href="#unseen">{data.unseen.length} that cannot be seen</a></>}
        </p>
        <Help of="Fleet" about={{
          what: "Every Go process that the agent can read on this host, and those that ended lately. Nothing was added to them: they are read from outside.",
          good: "memory well under the limit, GC CPU of a few percent, no mark in the column Trouble.",
          bad: "a bar that is nearly full, or GC CPU above a quarter: the process is near to being killed, or near to doing nothing but collecting.",
          source: "Trouble puts together the worst finding, the room left to the limit, and the collector's CPU. The small lines show the last ten minutes from zero up.",
        }} />
      </div>
      {data.processes.length === 0 ? <Empty title="No Go process is running here">The agent looks again every few seconds. Start one, or run <code>heapwright demo</code>.</Empty>
        : rows.length === 0 ? <Empty title={`Nothing matches “${q}”`}><button type="button" onClick={() => setParams({ q: null })}>Show all</button></Empty>
        : (
          <div class="fleet" role="table" aria-label="Processes" aria-rowcount={rows.length + 1} ref={list}>
            <div class="frow fhead" role="row">
              {columns.map((c) => (
                <span key={c.by} role="columnheader" class={c.num ? "n" : ""} aria-sort={sort.replace(/^-/, "") === c.by ? (sort.startsWith("-") ? "ascending" : "descending") : undefined}>
                  <button type="button" class="sort" title={c.title} onClick={() => by(c.by)}>{c.label}<i aria-hidden="true">{sort === c.by ? "↓" : sort === "-" + c.by ? "↑" : ""}</i></button>
                </span>
              ))}
            </div>
            {rows.slice(0, shown).map((r) => <Line key={r.id} r={r} />)}
            <div ref={end} />
          </div>
        )}
      {data.unseen.length > 0 && <Blind rows={data.unseen} />}
    </>
  );
}

const Line = memo(function Line({ r }: { r: Row }): VNode {
  const head = r.findings[0];
  const worst = r.findings.find((f) => f.severity === r.worst) ?? head;
  const used = r.headroom_ratio === null ? null : 1 - r.headroom_ratio;
  const tight = used !== null && r.limit_kind !== "host" && used > 0.9 ? "critical" : used !== null && r.limit_kind !== "host" && used > 0.8 ? "warning" : "";
  const sub = [r.module_version, r.go_version?.replace(/^go/, "go "), r.lives > 1 ? `${r.lives} lives` : ""].filter(Boolean).join(" · ");
  return (
    <div class={"frow" + (r.up ? "" : " gone")} role="row">
      <span role="cell" class="who">
        <a class="name" href={href("process", r.id)}>{r.id}</a>
        <small title={r.module ?? undefined}>{r.up ? sub || `pid ${r.pid}` : `ended ${ago(r.ended)}`}</small>
      </span>
      <span role="cell" class={"worst " + (r.error ? "warning" : worst?.severity ?? "")}>
        {r.error ? <><i class="tone" aria-hidden="true">!</i><span title={r.hint ?? undefined}>{r.error}{r.hint && <small>{r.hint}</small>}</span></>
          : worst ? <><i class="tone" role="img" aria-label={worst.severity}>{severityMark[worst.severity]}</i><span>{worst.title}{r.findings.length > 1 && <small> and {r.findings.length - 1} more</small>}</span></>
          : <span class="note">{r.up ? "nothing found" : ""}</span>}
      </span>
      <span role="cell" class={"room " + tight} data-h="of limit">
        {used === null ? unknown : (
          <>
            <svg class="roombar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label={`${percent(used)} of ${bytes(r.limit_bytes)}`}><rect width="100" height="6" class="all" /><rect width={Math.max(0.5, Math.min(100, used * 100))} height="6" class="used" /></svg>
            <small><b class={tight ? "tone" : ""}>{Math.round(used * 100)}%</b> of {bytes(r.limit_bytes)}{r.limit_kind === "host" ? " host" : r.limit_kind === "gomemlimit" ? " soft" : ""}</small>
          </>
        )}
      </span>
      <span role="cell" class="n sp" data-h="RSS">{r.spark && <Spark values={ten(r.spark, r.spark.rss_bytes)} under={ten(r.spark, r.spark.heap_live_bytes)} label="RSS over the heap, last ten minutes" />}{bytes(r.rss_bytes)}</span>
      <span role="cell" class="n sp" data-h="GC CPU">{r.spark && <Spark values={ten(r.spark, r.spark.gc_cpu_ratio)} label="GC CPU, last ten minutes" tone="gc" top={0.05} />}<b class={(r.gc_cpu_ratio ?? 0) > 0.25 ? "bad" : "plain"}>{percent(r.gc_cpu_ratio)}</b></span>
      <span role="cell" class="n" data-h="alloc">{byteRate(r.alloc_bytes_per_second)}</span>
      <span role="cell" class="n" data-h="GC">{cyclesText(r.gc_cycles_per_second)}</span>
      <span role="cell" class="n" data-h="CPU">{r.cpu_cores === null ? unknown : r.cpu_cores.toFixed(2)}</span>
      <span role="cell" class="n" data-h="goroutines">{count(r.goroutines)}</span>
      <span role="cell" class="n" data-h="up">{r.up ? seconds(r.uptime_seconds).replace(/ (\d+) (min|s)$/, (m, _, u) => (u === "s" ? "" : m)) : unknown}</span>
    </div>
  );
});

/** ten are the values of the last ten minutes, with a gap where there are none yet. */
function ten(s: SparkValues, values: readonly Num[]): readonly Num[] {
  const n = Math.min(120, Math.round(600 / s.step_seconds));
  return values.length >= n ? values : [...Array<Num>(n - values.length).fill(null), ...values];
}

/** Collections are few: below one in a second they are counted by the minute. */
function cyclesText(v: number | null): string {
  if (v === null) return unknown;
  return v >= 1 ? v.toFixed(1) + "/s" : (v * 60).toFixed(v * 60 >= 10 ? 0 : 1) + "/min";
}

function Blind({ rows }: { rows: Unseen[] }): VNode {
  return (
    <section class="blind" id="unseen">
      <h2>Not seen</h2>
      <p class="note">These may be Go processes. The agent cannot read them.</p>
      <table>
        <thead><tr><th>Process</th><th class="n">PID</th><th>Why</th><th>What to do</th></tr></thead>
        <tbody>{rows.map((u) => <tr key={u.pid}><td>{u.name}</td><td class="n">{u.pid}</td><td>{u.reason}</td><td>{u.hint ?? ""}</td></tr>)}</tbody>
      </table>
    </section>
  );
}
