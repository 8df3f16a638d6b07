// Goroutines of a process in groups: what they wait for, who started them, and
// whether they become more.
import type { VNode } from "preact";
import { useMemo, useState } from "preact/hooks";
import { url, useGet } from "../api/client.ts";
import type { Goroutines as Document, Num, Series, Snapshot } from "../api/types.ts";
import { setParams } from "../router.ts";
import { Figure } from "../ui/Chart.tsx";
import { Copy } from "../ui/Copy.tsx";
import { count, percent, seconds, when } from "../ui/format.tsx";
import { Spark } from "../ui/Spark.tsx";
import { Empty, Load } from "../ui/State.tsx";
import type { Column } from "../ui/Table.tsx";
import { at as placeOf, group, origin, reason, where, type By, type Group, type Sent } from "./groups.ts";
import { matcher } from "./flame.ts";

const about = {
  what: "Goroutines that have something in common, added up. Those that wait for the same thing and were started at the same place usually do the same work.",
  good: "Numbers that follow the load and come back: one per connection, one per request.",
  bad: "A group that only grows and waits long: nobody will ever wake it. The place that created it is where to look.",
  source: "The longest wait is a lower bound: the runtime notes it when the collector passes.",
};

const bys: [By, string][] = [["stack", "Stack"], ["created", "Created by"], ["reason", "Wait reason"]];
const shownFirst = 100;

/** growth writes how a number of goroutines changed. */
function growth(n: number): string {
  return n === 0 ? "±0" : (n > 0 ? "+" : "−") + count(Math.abs(n));
}

function trace(g: Sent): string {
  const head = `${g.count} × ${reason(g)}\n`;
  const frames = (g.stack ?? []).map((f) => `  ${f.func}\n      ${f.file ?? ""}${f.line ? ":" + f.line : ""}\n`).join("");
  return head + frames + (g.created_by?.func ? `  created by ${g.created_by.func}\n      ${g.created_by.file ?? ""}${g.created_by.line ? ":" + g.created_by.line : ""}\n` : "");
}

export function Goroutines(props: { process: string; params: URLSearchParams; at: Snapshot; base: Snapshot | null }): VNode {
  const { process, at, base } = props;
  const d = useGet<Document>(url("goroutines", { process, at: at.key, base: base?.key }), { keep: true });
  return <Load of={d} what="the goroutines" rows={8}>{(doc) => <Groups doc={doc} {...props} />}</Load>;
}

function Groups(props: { doc: Document; process: string; params: URLSearchParams; at: Snapshot; base: Snapshot | null }): VNode {
  const { doc, params, base } = props;
  const by: By = bys.find(([id]) => id === params.get("by"))?.[0] ?? "stack";
  const text = params.get("q") ?? "";
  const compared = base !== null;
  const sent = (doc.groups ?? []) as Sent[];
  const system = sent.filter((g) => g.system).length;
  const withSystem = params.get("runtime") === "1";
  const all = useMemo(() => {
    const m = matcher(text);
    const match = typeof m === "function" ? m : null;
    const from = withSystem ? sent : sent.filter((g) => !g.system);
    return group(match ? from.filter((g) => match(reason(g)) || match(g.created_by?.func ?? "") || (g.stack ?? []).some((f) => match(f.func))) : from, by, compared);
  }, [doc, by, compared, text, withSystem]);
  const [more, setMore] = useState(false);
  // How many wait for what is in the history too.
  const history = useGet<Series>(by === "reason" ? url("series", { process: props.process, set: "goroutines", from: "now-6h", to: "now", points: 60 }) : null);
  const shown = more ? all : all.slice(0, shownFirst);
  const sum = all.reduce((s, g) => s + g.count, 0);
  const most = Math.max(...all.map((g) => Math.max(g.count, g.base)), 1);
  const table = (): { columns: Column<Group>[]; rows: Group[] } => ({
    rows: all,
    columns: [
      { key: "title", label: by === "reason" ? "Wait reason" : by === "created" ? "Created by" : "Stands in", value: (g) => g.title },
      { key: "count", label: "Goroutines", num: true, value: (g) => g.count },
      ...(compared ? [{ key: "base", label: "Before", num: true, value: (g: Group) => g.base }, { key: "growth", label: "Growth", num: true, value: (g: Group) => g.growth, cell: (g: Group) => growth(g.growth) }] : []),
      { key: "wait", label: "Longest wait", num: true, value: (g) => g.waitMax, cell: (g) => seconds(g.waitMax) },
      { key: "reasons", label: "Waits for", value: (g) => g.reasons.join(", ") },
      { key: "created", label: "Created by", value: (g) => g.created.join(", ") },
    ],
  });
  return (
    <Figure title="Goroutines" about={about} table={table}
      says={<>{count(doc.total)} goroutines in {count(sent.length - system)} groups{compared && <>, <b>{growth(doc.total - (doc.base_total ?? 0))}</b> since {when(base.time)}: those that grew come first</>}</>}>
      <div class="controls">
        <div class="group" role="group" aria-label="Grouped by">
          {bys.map(([id, label]) => <button key={id} type="button" aria-pressed={id === by} onClick={() => setParams({ by: id === "stack" ? null : id })}>{label}</button>)}
        </div>
        <label class="find"><span class="away">Search in the stacks</span>
          <input type="search" placeholder="Search: function, wait reason, creation site" value={text} spellcheck={false} onInput={(e) => setParams({ q: e.currentTarget.value })} />
        </label>
        {system > 0 && <label class="tick"><input type="checkbox" checked={withSystem} onChange={() => setParams({ runtime: withSystem ? null : 1 })} /> The runtime's own too</label>}
        {text && <span class="note" role="status">{count(sum)} goroutines, {percent(doc.total > 0 ? sum / doc.total : 0)} of all</span>}
      </div>
      {all.length === 0 ? <Empty title={text ? "No goroutine matches" : "There are no goroutines in this snapshot"} />
        : (
          <ul class="groups">
            <li class="head" aria-hidden="true"><span class="n">Number</span><span class="n">{compared ? "Growth" : ""}</span><span /><span>{by === "reason" ? "Waits for" : by === "created" ? "Created by" : "Stands in"}</span><span class="n">Longest wait</span></li>
            {shown.map((g) => <Item key={g.key} g={g} by={by} compared={compared} most={most} past={by === "reason" ? history.data?.series.find((x) => x.label === g.title)?.values ?? null : null} />)}
          </ul>
        )}
      {shown.length < all.length && <button type="button" class="quiet" onClick={() => setMore(true)}>Show all {count(all.length)} groups</button>}
    </Figure>
  );
}

function Item(props: { g: Group; by: By; compared: boolean; most: number; past: readonly Num[] | null }): VNode {
  const { g, by, compared, most, past } = props;
  const [open, setOpen] = useState(false);
  const first = g.members[0]!;
  const subtitle = by === "stack" ? [reason(first), origin(first.created_by)]
    : by === "created" ? [g.reasons.slice(0, 3).join(", ") + (g.reasons.length > 3 ? ", …" : ""), where(first.created_by)]
    : ["created by " + g.created.slice(0, 3).join(", ") + (g.created.length > 3 ? ` and ${g.created.length - 3} more` : "")];
  const tone = g.growth > 0 ? "more" : g.growth < 0 ? "less" : "";
  return (
    <li class={open ? "open" : ""}>
      <button type="button" class="row" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span class="n count">{count(g.count)}</span>
        <span class={"n growth " + tone}>{compared ? growth(g.growth) : ""}</span>
        {past ? <Spark values={past} label={`${g.title}, the last six hours`} /> : (
          <svg class="amount" width="80" height="10" aria-hidden="true">
            <rect width="80" height="10" class="ground" />
            <rect width={80 * (g.count / most)} height="10" class="value" />
            {compared && <line x1={80 * (g.base / most)} x2={80 * (g.base / most)} y1="0" y2="10" class="was" />}
          </svg>
        )}
        <span class="what"><code>{g.title}</code><small>{subtitle.filter(Boolean).join(" · ")}</small></span>
        <span class="n wait"><em>waits </em>{g.waitMax === null ? "" : "≥ " + seconds(g.waitMax)}</span>
      </button>
      {open && g.members.slice(0, 20).map((m, i) => (
        <div class="stack" key={i}>
          <p>{count(m.count)} × {reason(m)}{m.wait_max_seconds ? ", longest ≥ " + seconds(m.wait_max_seconds) : ""}{compared && ", " + growth(m.growth ?? 0)} <Copy label="Copy stack" text={() => trace(m)} /></p>
          {m.labels && Object.keys(m.labels).length > 0 && <p class="note">{Object.entries(m.labels).map(([k, v]) => `${k}=${v}`).join(" ")}</p>}
          <ol>
            {(m.stack ?? []).map((f, k) => <li key={k} class={f === placeOf(m) ? "at" : undefined}><code>{f.func}</code> <span class="note">{where(f)}</span></li>)}
            {m.created_by?.func && <li class="by"><span class="note">created by</span> <code>{m.created_by.func}</code> <span class="note">{where(m.created_by)}</span></li>}
          </ol>
        </div>
      ))}
      {open && g.members.length > 20 && <p class="note">and {g.members.length - 20} more stacks: group by stack to see them all</p>}
    </li>
  );
}
