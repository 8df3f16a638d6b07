// Results of heapwright compare.
import type { VNode } from "preact";
import { url, useGet } from "../api/client.ts";
import { href } from "../router.ts";
import { Figure } from "../ui/Chart.tsx";
import { ago, bytes, count, percent, when } from "../ui/format.tsx";
import { Empty, Load } from "../ui/State.tsx";
import { Table, type Column } from "../ui/Table.tsx";
import { axis, mark, percentage, place, quantity, title, tone, type Axis, type Metric, type Result } from "./model.ts";
import "./experiments.css";

interface Row {
  id: string; name: string; verdict: string | null; time: string | null; running: boolean; variants: string[] | null;
  blocks: number; pairs: number | null; goal: string | null; file: string; bytes: number; error: string | null;
}

export function Badge(props: { verdict: string | null; running?: boolean }): VNode {
  const v = props.verdict ?? (props.running ? "RUNNING" : "NONE");
  return <b class={"verdict-badge " + tone(props.verdict)}>{mark(props.verdict)} {v}</b>;
}

const about = {
  what: "Controlled experiments of heapwright compare: the same service with different settings, run in turn under the same load, in pairs, so that what else happens on the machine falls out of the comparison.",
  good: "PASS: the goal got better and no guard got worse than its margin, with the certainty that the plan asks for.",
  bad: "FAIL: it did not, or a guard got worse.",
  source: "INCONCLUSIVE is an honest answer: too few pairs, or too noisy a machine to say.",
};

export function View(props: { params: URLSearchParams }): VNode {
  const id = props.params.get("id");
  return id ? <One id={id} /> : <List />;
}

function List(): VNode {
  const d = useGet<{ experiments: Row[] | null }>(url("experiments"), { every: 30000 });
  const columns: Column<Row>[] = [
    { key: "verdict", label: "Verdict", value: (r) => r.verdict, cell: (r) => <Badge verdict={r.verdict} running={r.running} /> },
    { key: "name", label: "Experiment", value: (r) => r.name, cell: (r) => <><a href={href("experiments", undefined, { id: r.id })}>{r.name || r.id}</a> <small>{r.file}</small>{r.error && <small class="bad"> {r.error}</small>}</> },
    { key: "variants", label: "Variants", value: (r) => (r.variants ?? []).join(", ") },
    { key: "goal", label: "Goal", value: (r) => r.goal && title(r.goal) },
    { key: "pairs", label: "Pairs", num: true, value: (r) => r.pairs },
    { key: "blocks", label: "Blocks", num: true, value: (r) => r.blocks },
    { key: "time", label: "When", value: (r) => r.time, cell: (r) => <span title={when(r.time)}>{r.running && !r.verdict ? "runs, or was cut off" : ago(r.time)}</span> },
  ];
  return (
    <Figure title="Experiments" about={about} class="experiments">
      <Load of={d} what="the experiments" rows={4}>
        {(doc) => ((doc.experiments ?? []).length === 0
          ? <Empty title="There are no experiments here">heapwright compare EXPERIMENT.yaml runs one. Results (*.hwcmp) in the directories that the agent's configuration names under experiments are shown here.</Empty>
          : <Table columns={columns} rows={doc.experiments!} label="Experiments" rowKey={(r) => r.id} />)}
      </Load>
    </Figure>
  );
}

function One(props: { id: string }): VNode {
  const d = useGet<Result>(url("experiments/" + encodeURIComponent(props.id)));
  return (
    <div class="experiments">
      <p class="back"><a href={href("experiments")}>All experiments</a></p>
      <Load of={d} what="the experiment" rows={8}>{(r) => <Shown r={r} id={props.id} />}</Load>
    </div>
  );
}

function Shown(props: { r: Result; id: string }): VNode {
  const { r } = props;
  const machine = [r.machine?.cpu, r.machine?.cores ? r.machine.cores + " cores" : "", r.machine?.memory_bytes ? bytes(r.machine.memory_bytes) : "", r.machine?.kernel].filter(Boolean).join(", ");
  return (
    <>
      <h1>{r.name} <Badge verdict={r.verdict} /></h1>
      <p class="note">{[r.ended ? "ended " + when(r.ended) : "not ended", `${count(r.pairs)} pairs of ${count(r.blocks)} blocks`, r.rate_per_second ? count(r.rate_per_second) + " requests/s" : "", r.host_grade ? `machine: grade ${r.host_grade}` : "", machine].filter(Boolean).join(" · ")}</p>
      <p class="actions"><a class="button" href={url("experiments/" + encodeURIComponent(props.id) + "/report")} target="_blank" rel="noopener">Open the full report</a></p>
      {r.reasons.length > 0 && <ul class="reasons">{r.reasons.map((t) => <li key={t}>{t}</li>)}</ul>}
      {r.ended_text && <p>{r.ended_text}</p>}
      {r.comparisons.map((c) => {
        const metrics = r.metrics.filter((m) => m.variant === c.variant);
        return <Against key={c.variant} name={c.variant} verdict={c.verdict} base={r.variants[0]?.name ?? "the baseline"} metrics={metrics}
          says={[r.variants.find((v) => v.name === c.variant)?.settings.join(" "), c.same_program ? "the same program and settings: an A/A test" : "", c.eliminated ?? ""].filter(Boolean).join(" · ")} />;
      })}
      {[["Warnings", r.warnings], ["Left out", r.dropped]].map(([name, list]) => (list!.length > 0 ? <details key={name as string} open={name === "Warnings"}><summary>{name} ({list!.length})</summary><ul class="reasons">{(list as string[]).map((t) => <li key={t}>{t}</li>)}</ul></details> : null))}
    </>
  );
}

function Against(props: { name: string; verdict: string; base: string; metrics: Metric[]; says: string }): VNode {
  const { metrics } = props;
  const a = axis(metrics);
  const columns: Column<Metric>[] = [
    { key: "role", label: "Role", value: (m) => m.role },
    { key: "name", label: "Metric", value: (m) => m.name },
    { key: "verdict", label: "Verdict", value: (m) => m.verdict },
    { key: "ratio", label: "Change", num: true, value: (m) => m.ratio, cell: (m) => percentage(m.ratio) },
    { key: "low", label: "From", num: true, value: (m) => m.ci_low, cell: (m) => percentage(m.ci_low) },
    { key: "high", label: "To", num: true, value: (m) => m.ci_high, cell: (m) => percentage(m.ci_high) },
    { key: "margin", label: "Margin", num: true, value: (m) => m.margin_ratio, cell: (m) => percent(m.margin_ratio) },
    { key: "base", label: "Baseline", num: true, value: (m) => m.baseline, cell: (m) => quantity(m.baseline, m.name) },
    { key: "value", label: "Variant", num: true, value: (m) => m.value, cell: (m) => quantity(m.value, m.name) },
    { key: "n", label: "Pairs", num: true, value: (m) => m.n },
  ];
  return (
    <Figure title={`${props.name} against ${props.base}`} says={<><Badge verdict={props.verdict} /> {props.says}</>} table={() => ({ columns, rows: metrics })}
      about={{ what: "A row for each metric: the change against the baseline, and the interval in which it lies with the certainty of the plan. The line in the middle is no change; the grey band is the margin that a guard has.", good: "The goal's bar lies clear of the middle on its better side; bars of guards lie within their bands.", bad: "A bar that crosses the edge of its band: it cannot be told whether the guard holds.", source: "Left is less, right is more. Intervals that go further than the picture end at its edge." }}>
      <div class="forest">
        {(["goal", "guard", "exploratory"] as const).map((role) => {
          const of = metrics.filter((m) => m.role === role);
          return of.length === 0 ? null : (
            <div key={role}>
              <h3>{{ goal: "Goal", guard: "Guards", exploratory: "Also measured" }[role]}</h3>
              {of.map((m) => <Line key={m.name + m.design} m={m} a={a} />)}
            </div>
          );
        })}
      </div>
    </Figure>
  );
}

function Line(props: { m: Metric; a: Axis }): VNode {
  const { m, a } = props;
  const x = (r: number): string => (100 * place(a, r)).toFixed(2) + "%";
  const width = (low: number, high: number): string => Math.max(100 * (place(a, high) - place(a, low)), 0.7).toFixed(2) + "%";
  const margin = m.margin_ratio;
  const low = m.ci_low ?? 0, high = m.ci_high ?? Infinity;
  return (
    <div class={"line " + tone(m.verdict)} title={m.why ?? undefined}>
      <span class="name">{title(m.name)}<small>{quantity(m.baseline, m.name)} → {quantity(m.value, m.name)}</small></span>
      <svg width="100%" height="26" aria-hidden="true">
        {margin !== null && <rect class="margin" x={x(1 / (1 + margin))} width={width(1 / (1 + margin), 1 + margin)} y="3" height="20" />}
        <line class="one" x1={x(1)} x2={x(1)} y1="0" y2="26" />
        {m.ratio !== null && <rect class="ci" x={x(low)} width={width(low, high)} y="9" height="8" rx="2" />}
        {m.ratio !== null && <circle cx={x(m.ratio)} cy="13" r="4.5" />}
      </svg>
      <span class="n change">{percentage(m.ratio)}<small>{m.ratio === null ? "" : `${percentage(m.ci_low)} to ${percentage(m.ci_high)}`}</small></span>
      <span class="is">{mark(m.verdict)} {m.verdict.toLowerCase()}{m.why && <small>{m.why}</small>}</span>
    </div>
  );
}
