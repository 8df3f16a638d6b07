// The agent's own state.
import type { VNode } from "preact";
import { url, useGet, useSession } from "./api/client.ts";
import type { Processes, Unseen } from "./api/types.ts";
import { href } from "./router.ts";
import { Figure } from "./ui/Chart.tsx";
import { bytes, count, percent, seconds, unknown } from "./ui/format.tsx";
import { Load } from "./ui/State.tsx";
import { Table, type Column } from "./ui/Table.tsx";
import { behind, facts, flat, hints, label, num, text, type Part, type Value } from "./status.ts";
import "./agent.css";

const about: Record<string, string> = {
  agent: "What the agent itself takes. It is meant to cost less than one hundredth of a core for a hundred processes.",
  discovery: "How it finds Go processes: all programs of this machine that it may look at, every few seconds.",
  store: "The history: samples of all processes, in Prometheus' own format, and what they take on disk.",
  vault: "Snapshots of goroutines and profiles. The newest hour keeps all; older ones get sparse.",
  history: "Findings and events, with when they began and ended.",
  forward: "Engines that the samples are sent on to. The store is the buffer: one that was away for days misses nothing that is still kept.",
  alerts: "Who is told when an alert fires.",
};
const order = ["agent", "discovery", "store", "vault", "history", "forward", "alerts"];

const isPart = (v: Value): v is Part => typeof v === "object" && v !== null && !Array.isArray(v);

export function View(_: { params: URLSearchParams }): VNode {
  const d = useGet<Part>(url("status"), { every: 5000 });
  const processes = useGet<Processes>(url("processes"), { every: 15000 });
  return <Load of={d} what="the agent's state" rows={6}>{(doc) => <Shown doc={doc} unseen={processes.data?.unseen ?? []} />}</Load>;
}

function Shown(props: { doc: Part; unseen: Unseen[] }): VNode {
  const { doc, unseen } = props;
  const session = useSession();
  const said = hints(doc, unseen.length);
  const agent = doc.agent && isPart(doc.agent) ? doc.agent : {};
  const store = doc.store && isPart(doc.store) ? doc.store : {};
  const onDisk = num(store.bytes);
  const forward = Array.isArray(doc.forward) ? doc.forward.filter(isPart) : [];
  const lag = forward.map(behind).filter((v) => v !== null);
  const tiles: [string, string][] = [
    ["CPU", num(agent.cpu_cores) !== null ? percent(num(agent.cpu_cores)) + " of a core" : unknown],
    ["RSS", bytes(num(agent.rss_bytes))],
    ["Up", seconds(num(agent.uptime_seconds))],
    ["Samples", count(num(agent.samples_per_second)) + "/s"],
    ["Series", count(num(store.series))],
    ["History on disk", bytes(onDisk)],
    ...(lag.length > 0 ? [["Behind", seconds(Math.max(...lag))] as [string, string]] : []),
  ];
  const keys = Object.keys(doc).filter((k) => k !== "schema").sort((a, b) => (order.indexOf(a) + 1 || 99) - (order.indexOf(b) + 1 || 99));
  const unseenColumns: Column<Unseen>[] = [
    { key: "pid", label: "PID", num: true, value: (u) => u.pid },
    { key: "name", label: "Name", value: (u) => u.name },
    { key: "reason", label: "Why", value: (u) => u.reason },
    { key: "hint", label: "What helps", value: (u) => u.hint },
  ];
  return (
    <div class="agent">
      <h1>The agent{session && <small> heapwright {session.version} on {session.host}, signed in as {session.role}</small>}</h1>
      {typeof agent.id === "string" && <p class="note">It watches itself too: <a href={href("process", agent.id)}>{agent.id}</a></p>}
      <dl class="tiles">{tiles.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
      {said.length === 0 ? <p class="fine"><b class="good">✓</b> Nothing needs to be done.</p>
        : <ul class="hints">{said.map((h) => <li key={h.text} class={h.bad ? "critical" : "warning"}><b class="tone">{h.bad ? "▲" : "◆"}</b> <span>{h.text} <span class="note">{h.todo}</span></span></li>)}</ul>}
      <div class="parts">{keys.map((k) => <Section key={k} name={k} value={doc[k]!} />)}</div>
      {unseen.length > 0 && (
        <Figure title="Not seen" says="processes that may be Go and cannot be looked into" about={{ what: "The agent looks at what its user may look at. It needs no root for its own user's processes; for those of others it needs CAP_SYS_PTRACE, and for some a readable executable." }}>
          <Table columns={unseenColumns} rows={unseen} label="Processes that are not seen" rowKey={(u) => u.pid} />
        </Figure>
      )}
    </div>
  );
}

function Section(props: { name: string; value: Value }): VNode | null {
  const { name, value } = props;
  const help = about[name] ?? "Part of the agent's state.";
  const heading = name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
  if (Array.isArray(value)) {
    const rows = value.filter(isPart);
    if (rows.length === 0) return null;
    return <Figure title={heading} about={{ what: help }} class="wide"><Rows rows={rows} label={heading} /></Figure>;
  }
  if (!isPart(value)) return null;
  const lists = Object.entries(value).filter((e): e is [string, Value[]] => Array.isArray(e[1]) && e[1].length > 0);
  return (
    <Figure title={heading} about={{ what: help }}>
      <dl class="factlist">{facts(value).filter(([, v]) => v !== unknown).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
      {lists.map(([k, v]) => (v.some(isPart) ? <Rows key={k} rows={v.filter(isPart)} label={label(k)} /> : <p key={k} class="note">{label(k)}: {v.map((x) => text(k, x)).join(", ")}</p>))}
    </Figure>
  );
}

function Rows(props: { rows: Part[]; label: string }): VNode {
  const { rows } = props;
  const keys = [...new Set(rows.flatMap((r) => flat(r).map(([k]) => k)))];
  const columns = keys.map((k): Column<Part> => {
    const of = (r: Part): Value => flat(r).find(([x]) => x === k)?.[1] ?? null;
    const number = rows.some((r) => typeof of(r) === "number");
    return { key: k, label: label(k), num: number, value: (r) => { const v = of(r); return typeof v === "number" || typeof v === "string" ? v : v === null ? null : String(v); }, cell: (r) => text(k, of(r)) };
  });
  return <Table columns={columns} rows={rows} label={props.label} copy={false} />;
}
