// What was found: evidence, remedy, places in the code, and when it was there.
import type { VNode } from "preact";
import { useMemo, useRef } from "preact/hooks";
import { url, useGet } from "../api/client.ts";
import type { Episode, Evidence, Explanation, Site } from "../api/types.ts";
import { href, setParams } from "../router.ts";
import { Copy } from "../ui/Copy.tsx";
import { ago, seconds, severityMark, severityRank, stamp, when } from "../ui/format.tsx";
import { Help } from "../ui/Help.tsx";
import { useKeys } from "../ui/keys.ts";
import { Empty, Load, Loading } from "../ui/State.tsx";
import { Table, type Column } from "../ui/Table.tsx";
import { blocks, spans } from "./prose.ts";
import "./findings.css";

/** keyOf names an episode in the address. */
function keyOf(e: Episode, one: boolean): string {
  return (one ? "" : e.process + "/") + e.id + "@" + e.began;
}

export function View({ params, process }: { params: URLSearchParams; process?: string }): VNode {
  const got = useGet<{ episodes: Episode[] | null }>(url("findings", { process, from: params.get("span") === "all" ? "now-15d" : "now-24h", limit: 2000 }), { every: 10000, keep: true });
  return <Load of={got} what="the findings" rows={8}>{(d) => <Findings all={d.episodes ?? []} params={params} process={process} />}</Load>;
}

function Findings({ all, params, process }: { all: readonly Episode[]; params: URLSearchParams; process?: string }): VNode {
  const one = process !== undefined, q = (params.get("q") ?? "").toLowerCase(), show = params.get("show") ?? "", severity = params.get("severity") ?? "";
  const filter = useRef<HTMLInputElement>(null), list = useRef<HTMLUListElement>(null);
  const rows = useMemo(() => all.filter((e) => (show !== "open" || !e.ended) && (!severity || e.severity === severity)
    && (!q || [e.process, e.id, e.finding.title, e.finding.cause, ...(e.finding.sites ?? []).map((s) => s.func)].join("\n").toLowerCase().includes(q)))
    .sort((a, b) => Number(!!a.ended) - Number(!!b.ended) || severityRank[b.severity] - severityRank[a.severity] || (a.began < b.began ? 1 : -1)), [all, show, severity, q]);
  const selected = rows.find((e) => keyOf(e, one) === params.get("sel")) ?? rows[0];
  const step = (by: number) => {
    const i = selected ? rows.indexOf(selected) : -1, e = rows[Math.min(rows.length - 1, Math.max(0, i + by))];
    if (!e) return;
    setParams({ sel: keyOf(e, one) });
    list.current?.children[rows.indexOf(e)]?.scrollIntoView({ block: "nearest" });
  };
  useKeys([
    { key: "/", does: "filter", run: () => filter.current?.focus() },
    { key: "j", does: "next finding", run: () => step(1) },
    { key: "k", does: "finding before", run: () => step(-1) },
  ]);
  const open = all.filter((e) => !e.ended).length;
  return (
    <>
      <div class="findhead">
        <h1>{one ? <>Findings <small>of {process}</small></> : "Findings"}</h1>
        <input ref={filter} type="search" placeholder="Filter ( / )" aria-label="Filter the findings" value={params.get("q") ?? ""} onInput={(e) => setParams({ q: e.currentTarget.value, sel: null })} />
        <span class="group">
          <button type="button" aria-pressed={show !== "open"} onClick={() => setParams({ show: null })}>all {all.length}</button>
          <button type="button" aria-pressed={show === "open"} onClick={() => setParams({ show: "open" })}>still there {open}</button>
        </span>
        <span class="group">
          {(["critical", "warning", "info"] as const).map((s) => <button type="button" key={s} class={s} aria-pressed={severity === s} onClick={() => setParams({ severity: severity === s ? null : s })}><i class="tone mark" aria-hidden="true">{severityMark[s]}</i>{s}</button>)}
        </span>
        <span class="group">
          <button type="button" aria-pressed={params.get("span") !== "all"} onClick={() => setParams({ span: null })}>a day</button>
          <button type="button" aria-pressed={params.get("span") === "all"} onClick={() => setParams({ span: "all" })}>all that is kept</button>
        </span>
        <Help of="Findings" about={{
          what: "What the rules of heapwright diagnose found, again and again over the last minutes of each process. A finding begins when a rule first sees it and ends when it was not seen three times in a row.",
          good: "nothing, or what is only for information.", bad: "critical: the process is failing or about to.", source: "Each carries the numbers it was found by, and what would change it. An ID is never used for something else.",
        }} />
      </div>
      {all.length === 0 ? <Empty title="Nothing was found">No rule found anything {one ? "here" : "in any process"} in {params.get("span") === "all" ? "the time that is kept" : "the last day"}. A process needs to be watched for about a minute before the rules decide.</Empty>
        : rows.length === 0 ? <Empty title="No finding is like this"><button type="button" onClick={() => setParams({ q: null, show: null, severity: null })}>Show all</button></Empty>
        : (
          <div class="master">
            <ul class="findlist" ref={list} aria-label="Findings">
              {rows.slice(0, 500).map((e) => (
                <li key={keyOf(e, false)} class={e.severity + (e.ended ? " over" : "")}>
                  <button type="button" aria-current={e === selected ? "true" : undefined} onClick={() => {
                    setParams({ sel: keyOf(e, one) });
                    if (innerWidth <= 900) requestAnimationFrame(() => document.querySelector(".finding")?.scrollIntoView());
                  }}>
                    <i class="tone mark" role="img" aria-label={e.severity}>{severityMark[e.severity]}</i>
                    <span><b>{e.finding.title}</b><small>{!one && <>{e.process} · </>}{e.ended ? `${when(e.began)}, for ${lasted(e)}` : `since ${when(e.began)}`}</small></span>
                  </button>
                </li>
              ))}
              {rows.length > 500 && <li class="note">{rows.length - 500} more; filter to see them</li>}
            </ul>
            {selected && <One key={keyOf(selected, false)} e={selected} all={all} />}
          </div>
        )}
    </>
  );
}

function lasted(e: Episode): string {
  return seconds((new Date(e.ended ?? e.seen).getTime() - new Date(e.began).getTime()) / 1000);
}

const evidenceColumns: Column<Evidence>[] = [
  { key: "name", label: "What was measured", value: (e) => e.name, cell: (e) => e.name.replace(/_(bytes_per_second|per_second|bytes|seconds|ratio|count|cores|percent)$/, "").replaceAll("_", " ") },
  { key: "value", label: "Value", num: true, value: (e) => e.value, cell: (e) => <b>{e.text}</b> },
  { key: "source", label: "From", value: (e) => e.source, cell: (e) => <span class="note">{e.source}</span> },
];

const roles: Record<string, string> = { allocates: "allocates", created_by: "starts them", blocked_at: "waits here", calls: "calls it" };
const siteColumns: Column<Site>[] = [
  { key: "role", label: "Role", value: (s) => roles[s.role] ?? s.role },
  { key: "func", label: "Place", value: (s) => s.func, cell: (s) => <><span class="mono">{s.func}</span>{s.file && <small class="block">{s.file}:{s.line}</small>}</> },
  { key: "text", label: "Measured", num: true, value: (s) => s.text },
];

function One({ e, all }: { e: Episode; all: readonly Episode[] }): VNode {
  const f = e.finding, began = new Date(e.began).getTime(), end = e.ended ? new Date(e.ended).getTime() : Date.now();
  const margin = Math.max(120e3, (end - began) * 0.15);
  const chart = href("process", e.process, e.ended || end - began > 36e5
    ? { from: stamp(began - margin), to: e.ended ? stamp(end + margin) : "now", finding: e.id } : { from: "now-1h", to: "now", finding: e.id });
  const before = all.filter((x) => x.process === e.process && x.id === e.id);
  const page = useGet<Explanation>(url("explain/" + encodeURIComponent(e.id)));
  return (
    <article class={"finding " + e.severity}>
      <header>
        <h2><i class="tone mark" aria-hidden="true">{severityMark[e.severity]}</i>{f.title}</h2>
        <p class="note">
          <b class="tone">{e.severity}</b> · {e.id} · <a href={href("process", e.process)}>{e.process}</a> · {e.ended ? <>{when(e.began)} to {when(e.ended)}, {lasted(e)}</> : <>since {when(e.began)}, {ago(e.began).replace(" ago", "")}; still there</>} · confidence {f.confidence}{f.confidence_reason && `: ${f.confidence_reason}`}
        </p>
        <p class="row"><a class="button primary" href={chart}>See it on the chart</a>
          <a class="button" href={href("process", e.process, { at: e.began, finding: e.id })}>When it began</a>
          {(f.sites?.length ?? 0) > 0 && <a class="button" href={href("profiles", e.process)}>Profiles</a>}
          {/^HW[12]/.test(e.id) && <a class="button" href={href("whatif", e.process)}>What other settings would do</a>}</p>
      </header>
      <p>{f.cause}</p>
      <section class="remedy"><h3>What to do <Copy text={f.remedy} label="Copy" /></h3><p><Text of={f.remedy} /></p></section>
      {f.evidence.length > 0 && <section><h3>Evidence</h3><Table label="Evidence" columns={evidenceColumns} rows={f.evidence} /></section>}
      {(f.sites?.length ?? 0) > 0 && <section><h3>Places</h3><Table label="Places in the code" columns={siteColumns} rows={f.sites!} /></section>}
      {before.length > 1 && <History of={before} now={e} />}
      <details class="manual"><summary>About {e.id}: what it means, how it is decided, when it is wrong</summary>
        {page.data ? <Page text={page.data.text} /> : page.error ? <p class="note">{page.error.message}. {page.error.hint}</p> : <Loading />}
      </details>
    </article>
  );
}

/** The times that a finding was there, on one line. */
function History({ of, now }: { of: readonly Episode[]; now: Episode }): VNode {
  const first = Math.min(...of.map((x) => new Date(x.began).getTime())), last = Date.now(), x = (t: number) => ((t - first) / Math.max(1, last - first)) * 1000;
  return (
    <section><h3>History <small>{of.length} times since {when(first)}</small></h3>
      <svg class="history" viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label={`It was there ${of.length} times`}>
        <rect class="rail" width="1000" height="16" />
        {of.map((e) => { const a = x(new Date(e.began).getTime()), b = e.ended ? x(new Date(e.ended).getTime()) : 1000; return <rect key={e.began} class={e.severity + (e === now ? " here" : "")} x={a} width={Math.max(3, b - a)} height="16" />; })}
      </svg>
      <div class="laneaxis"><span>{when(first)}</span><span>now</span></div>
    </section>
  );
}

function Text({ of }: { of: string }): VNode {
  return <>{spans(of).map((s, i) => (s.kind === "code" ? <code key={i}>{s.text}</code> : s.kind === "strong" ? <b key={i}>{s.text}</b> : s.text))}</>;
}

function Page({ text }: { text: string }): VNode {
  return (
    <div class="page">
      {blocks(text).map((b, i) => {
        if (b.kind === "list") return <ul key={i}>{b.items.map((t, k) => <li key={k}><Text of={t} /></li>)}</ul>;
        if (b.kind === "heading") return <h4 key={i}><Text of={b.text} /></h4>;
        if (b.kind === "code") return <pre key={i}>{b.text}</pre>;
        return <p key={i}><Text of={b.text} /></p>;
      })}
    </div>
  );
}
