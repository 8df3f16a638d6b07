// What fires, and the rules that decide.
import type { VNode } from "preact";
import { url, useGet } from "./api/client.ts";
import type { Alert, Severity } from "./api/types.ts";
import { href } from "./router.ts";
import { Figure } from "./ui/Chart.tsx";
import { ago, count, seconds, severityMark, severityRank, when } from "./ui/format.tsx";
import { Prose } from "./ui/Prose.tsx";
import { Empty, Load } from "./ui/State.tsx";
import { Table, type Column } from "./ui/Table.tsx";
import { label, text } from "./status.ts";
import "./agent.css";

interface Rule {
  name: string; severity: Severity; process?: string; signal: string; above?: number | null; below?: number | null; clear_above?: number | null; clear_below?: number | null;
  for_seconds?: number; for_ns?: number; clear_for_seconds?: number; clear_for_ns?: number; level?: string | null; disabled?: boolean; remedy?: string;
  with?: { signal: string; above?: number | null; below?: number | null }[] | null;
}
interface Alerts { active: (Alert & { finding?: string; note?: string })[] | null; rules: Rule[] | null }

/** amount writes a value of a signal: its name has the unit. */
function amount(signal: string, v: number | null | undefined): string {
  return text(signal, v ?? null);
}

const time = (s: number | undefined, ns: number | undefined): number => s ?? (ns ?? 0) / 1e9;

function condition(r: { signal: string; above?: number | null; below?: number | null; level?: string | null }): string {
  const what = label(r.signal).replace(/^[A-Z](?=[a-z])/, (c) => c.toLowerCase());
  if (typeof r.above === "number") return `${what} above ${amount(r.signal, r.above)}`;
  if (typeof r.below === "number") return `${what} below ${amount(r.signal, r.below)}`;
  return r.level ? `${what} at or above ${r.level}` : what;
}

const about = {
  what: "A rule fires when its condition holds for its time, and ends when it has been clear for another: what comes and goes does not wake anybody twice.",
  good: "Nothing fires.",
  bad: "An alert has its evidence, what to do, and the moment it began.",
  source: "Whom the agent tells, and the rules, stand in its configuration under alerts.",
};

export function View(_: { params: URLSearchParams }): VNode {
  const d = useGet<Alerts>(url("alerts"), { every: 5000 });
  return <Load of={d} what="the alerts" rows={5}>{(doc) => <Shown doc={doc} />}</Load>;
}

function Shown(props: { doc: Alerts }): VNode {
  const rules = props.doc.rules ?? [];
  const active = (props.doc.active ?? []).slice().sort((a, b) => Number(b.state === "firing") - Number(a.state === "firing") || severityRank[b.severity] - severityRank[a.severity] || (a.since < b.since ? 1 : -1));
  const firing = active.filter((a) => a.state === "firing").length;
  const signal = (name: string): string => rules.find((r) => r.name === name)?.signal ?? "";
  const columns: Column<Rule>[] = [
    { key: "name", label: "Rule", value: (r) => r.name, cell: (r) => <span class="nowrap">{r.name}{r.disabled && <small> off</small>}</span> },
    { key: "severity", label: "Severity", value: (r) => r.severity, cell: (r) => <span class={"nowrap " + r.severity}><b class="tone">{severityMark[r.severity] ?? ""}</b> {r.severity}</span> },
    { key: "when", label: "Fires when", value: (r) => [condition(r), ...(r.with ?? []).map(condition)].join(", and ") },
    { key: "for", label: "For", num: true, value: (r) => time(r.for_seconds, r.for_ns), cell: (r) => (time(r.for_seconds, r.for_ns) ? seconds(time(r.for_seconds, r.for_ns)) : "at once") },
    { key: "clear", label: "Ends when clear for", num: true, value: (r) => time(r.clear_for_seconds, r.clear_for_ns), cell: (r) => (time(r.clear_for_seconds, r.clear_for_ns) ? seconds(time(r.clear_for_seconds, r.clear_for_ns)) : "at once") },
    { key: "process", label: "Of", value: (r) => r.process || "*", cell: (r) => (!r.process || r.process === "*" ? "all processes" : r.process) },
    { key: "now", label: "Firing", num: true, value: (r) => active.filter((a) => a.rule === r.name && a.state === "firing").length, cell: (r) => count(active.filter((a) => a.rule === r.name && a.state === "firing").length) },
  ];
  return (
    <>
      <Figure title="Alerts" about={about} says={firing === 0 ? "nothing fires" : `${firing} ${firing === 1 ? "fires" : "fire"}`}>
        {active.length === 0 ? <Empty title="✓ Nothing fires">{rules.length > 0 ? `${rules.length} rules are watched.` : "There are no rules: the agent's configuration has them under alerts."}</Empty>
          : <ul class="alerts">{active.map((a) => <One key={a.rule + a.process + (a.finding ?? "")} a={a} signal={signal(a.rule)} />)}</ul>}
      </Figure>
      {rules.length > 0 && <Figure title="Rules" about={about} says={`${rules.filter((r) => !r.disabled).length} are on`}><Table columns={columns} rows={rules} label="Rules" rowKey={(r) => r.name} /></Figure>}
    </>
  );
}

/** moment is the address of when it began: the agent's link if it leads here, else our own. */
function moment(a: Alert): string {
  try {
    const u = new URL(a.link, location.origin);
    if (u.pathname.startsWith("/ui/")) return u.pathname + u.search;
  } catch { /* no link */ }
  const t = Date.parse(a.since);
  return Number.isFinite(t) ? href("process", a.process, { from: new Date(t - 15 * 60000).toISOString(), to: new Date(t + 15 * 60000).toISOString() }) : href("process", a.process);
}

function One(props: { a: Alert & { finding?: string; note?: string }; signal: string }): VNode {
  const { a, signal } = props;
  const has = a.value !== null && signal !== "" && signal !== "finding" && signal !== "process_gone";
  return (
    <li class={a.severity + (a.state === "firing" ? "" : " over")}>
      <div class="head">
        <b class="tone">{severityMark[a.severity]} {a.severity}</b>
        <a class="who" href={href("process", a.process)}>{a.process}</a>
        <span class="note">{a.rule}</span>
        <span class="note since" title={when(a.since)}>{a.state === "firing" ? "since " + when(a.since) + ", " + ago(a.since) : "ended " + ago(a.at)}</span>
      </div>
      <p class="title">{a.title}</p>
      <dl class="readings">
        {has && <div><dt>{label(signal)}</dt><dd>{amount(signal, a.value)} <small>{a.threshold !== null ? "at " + amount(signal, a.threshold) : ""}</small></dd></div>}
        {(a.evidence ?? []).filter((e) => !has || e.name !== signal).map((e) => <div key={e.name} title={e.source}><dt>{label(e.name)}</dt><dd>{e.text}</dd></div>)}
      </dl>
      {a.note && <p class="note">{a.note}</p>}
      {a.remedy && <p class="remedy"><Prose text={a.remedy} /></p>}
      <p class="links"><a href={moment(a)}>Look at the moment</a> <a href={href("findings", a.process)}>Findings</a> <a href={href("profiles", a.process, { at: a.since })}>Profile of then</a></p>
    </li>
  );
}
