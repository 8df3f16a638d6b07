// Post-mortems: why the kernel killed processes for want of memory.
import type { VNode } from "preact";
import { url, useGet } from "../api/client.ts";
import { href } from "../router.ts";
import { Figure } from "../ui/Chart.tsx";
import { ago, bytes, count, percent, seconds, when } from "../ui/format.tsx";
import { Empty, Load } from "../ui/State.tsx";
import { Table, type Column } from "../ui/Table.tsx";
import { segments, where, words, type Report, type Row as Part } from "./model.ts";
import "./postmortems.css";

interface Row {
  id: string; time: string; name: string; pid: number; bytes: number; memory: string | null; title: string | null;
  confidence: string | null; site: string | null; limit_bytes: number | null; error: string | null;
}
interface Doc { enabled: boolean; watched: number; captures_total: number; problem: string | null; postmortems: Row[] | null; left_out: number }

const about = {
  what: "What the black box kept of processes that the kernel killed for want of memory: profiles and memory of the moments before, which memory it was, what of it had grown, and where the program allocated that.",
  good: "Nobody was killed.",
  bad: "Each kill has its cause, what to do, and the settings under which the process would have lived.",
  source: "The kernel's log and the cgroup's counters, and what was read of the process from outside while it lived. The verdict is made anew each time.",
};

export function View(props: { params: URLSearchParams }): VNode {
  const id = props.params.get("id");
  return id ? <One id={id} /> : <List />;
}

function List(): VNode {
  const d = useGet<Doc>(url("oom"), { every: 15000 });
  const columns: Column<Row>[] = [
    { key: "time", label: "Killed", value: (r) => r.time, cell: (r) => <span class="nowrap" title={when(r.time)}>{ago(r.time)}</span> },
    { key: "name", label: "Process", value: (r) => r.name, cell: (r) => <><a href={href("oom", undefined, { id: r.id })}>{r.name}</a> <small>{r.pid}</small></> },
    { key: "memory", label: "Which memory", value: (r) => r.memory, cell: (r) => <>{r.memory ? <b class="memory"><i class={"swatch " + r.memory} />{words(r.memory)}</b> : r.error ? <small class="bad">{r.error}</small> : <small>not yet read</small>}</> },
    { key: "title", label: "What happened", value: (r) => r.title },
    { key: "site", label: "Site", value: (r) => r.site, cell: (r) => <small class="site">{r.site}</small> },
    { key: "limit", label: "Limit", num: true, value: (r) => r.limit_bytes, cell: (r) => (r.limit_bytes ? bytes(r.limit_bytes) : "") },
    { key: "confidence", label: "Sure?", value: (r) => r.confidence },
  ];
  return (
    <Load of={d} what="the post-mortems" rows={4}>
      {(doc) => (
        <Figure title="Post-mortems" about={about} class="postmortems" says={doc.enabled ? `${count(doc.watched)} processes are watched` : "the black box is off"}>
          {doc.problem && <p class="note">{doc.problem}</p>}
          {(doc.postmortems ?? []).length === 0
            ? <Empty title="✓ Nobody was killed">{doc.enabled ? "When the kernel kills a process that is watched for want of memory, why stands here." : "The agent's configuration has it under oom."}</Empty>
            : <Table columns={columns} rows={doc.postmortems!} label="Post-mortems" rowKey={(r) => r.id} />}
          {doc.left_out > 0 && <p class="note">{count(doc.left_out)} older ones are not listed.</p>}
        </Figure>
      )}
    </Load>
  );
}

function One(props: { id: string }): VNode {
  const d = useGet<Report>(url("oom/" + encodeURIComponent(props.id)));
  return (
    <div class="postmortems">
      <p class="back"><a href={href("oom")}>All post-mortems</a></p>
      <Load of={d} what="the post-mortem" rows={8}>{(r) => <Shown r={r} id={props.id} />}</Load>
    </div>
  );
}

function Shown(props: { r: Report; id: string }): VNode {
  const { r } = props;
  const v = r.verdict;
  return (
    <>
      <h1>{r.process.name} {r.process.pid || ""}: {v.title}</h1>
      <p class="note">{[r.kill ? "killed " + when(r.kill.time) : "", r.process.go_version, `${v.confidence} confidence: ${v.confidence_reason}`].filter(Boolean).join(" · ")}</p>
      <p class="actions"><a class="button" href={url("oom/" + encodeURIComponent(props.id) + "/report")} target="_blank" rel="noopener">Open the full report</a></p>
      <dl class="verdict">
        <dt>Cause</dt><dd>{v.cause}</dd>
        {v.site && <><dt>{v.site.role.replaceAll("_", " ")}</dt><dd><code>{where(v.site)}</code> {v.site.text}</dd></>}
        <dt>Remedy</dt><dd>{v.remedy}</dd>
        <dt>Settings</dt><dd>{r.survival.text}</dd>
      </dl>
      {r.composition && <Composed r={r} />}
      {r.growth && r.growth.sites.length > 0 && <Grown r={r} />}
      <h2>How it came to that</h2>
      <ol class="chain">{r.chain.map((l) => <li key={l.step}><b>{l.step}</b> {l.text}</li>)}</ol>
      {r.alternatives.length > 0 && <><h2>What it was not</h2><ul class="plain">{r.alternatives.filter((a) => a.grew).map((a) => <li key={a.memory}><b>{words(a.memory)}</b>: {a.why_not}</li>)}
        <li class="note">No growth of {r.alternatives.filter((a) => !a.grew).map((a) => words(a.memory)).join(", ") || "anything else"}.</li></ul></>}
      {r.unknown.length > 0 && <><h2>What is not known</h2><ul class="plain">{r.unknown.map((t) => <li key={t}>{t}</li>)}</ul></>}
    </>
  );
}

function Composed(props: { r: Report }): VNode {
  const c = props.r.composition!;
  const rows = c.rows.slice().sort((a, b) => b.bytes - a.bytes);
  const parts = segments(c);
  const grew = (p: Part): number | null => (p.was_bytes === null ? null : p.bytes - p.was_bytes);
  const columns: Column<Part>[] = [
    { key: "name", label: "Memory", value: (p) => p.name, cell: (p) => <span class={p.memory === props.r.verdict.memory ? "it" : ""}><i class={"swatch " + p.memory} />{p.name}</span> },
    { key: "bytes", label: "Bytes", num: true, value: (p) => p.bytes, cell: (p) => bytes(p.bytes) },
    { key: "share", label: "Share", num: true, value: (p) => p.bytes / c.total_bytes, cell: (p) => percent(p.bytes / c.total_bytes) },
    { key: "grew", label: "Grew", num: true, value: grew, cell: (p) => { const g = grew(p); return g === null ? "" : g > 0 ? "+" + bytes(g) : bytes(g); } },
    { key: "how", label: "How known", value: (p) => p.how },
  ];
  return (
    <>
      <h2>Which memory it was</h2>
      <p class="note">{bytes(c.total_bytes)} in use{c.limit_bytes ? " of " + bytes(c.limit_bytes) : ""}{c.before_kill_seconds !== null ? `, ${seconds(Math.max(0, c.before_kill_seconds))} before the kill` : ""}.</p>
      <div class="composition" role="img" aria-label={parts.map((s) => `${words(s.memory)} ${bytes(s.bytes)}`).join(", ")}>
        {parts.map((s) => <i key={s.memory} class={"part " + s.memory} style={{ flexGrow: s.share }} title={`${words(s.memory)} ${bytes(s.bytes)}`} />)}
      </div>
      <Table columns={columns} rows={rows} label="Which memory it was" rowKey={(p) => p.memory + p.name} />
    </>
  );
}

function Grown(props: { r: Report }): VNode {
  const g = props.r.growth!;
  type Site = (typeof g.sites)[number];
  const columns: Column<Site>[] = [
    { key: "site", label: "Allocated at", value: (s) => where(s.site), cell: (s) => <span class="site">{where(s.site)}</span> },
    { key: "kept", label: g.profiled ? "Kept more" : "Kept", num: true, value: (s) => s.growth_bytes, cell: (s) => bytes(s.growth_bytes) },
    { key: "range", label: "90% interval", value: (s) => s.growth_low_bytes, cell: (s) => <span class="nowrap">{bytes(s.growth_low_bytes)} to {bytes(s.growth_high_bytes)}</span> },
    { key: "share", label: "Share", num: true, value: (s) => s.share_ratio, cell: (s) => percent(s.share_ratio) },
    { key: "alloc", label: "Allocated", num: true, value: (s) => s.alloc_bytes, cell: (s) => bytes(s.alloc_bytes) },
  ];
  return (
    <>
      <h2>What grew in the program</h2>
      <p class="note">{g.profiled ? `Between two heap profiles, ${seconds(g.seconds)} apart.` : "By one heap profile, since the process started."}</p>
      <Table columns={columns} rows={g.sites} label="What grew in the program" rowKey={(s) => where(s.site) + s.growth_bytes} />
    </>
  );
}
