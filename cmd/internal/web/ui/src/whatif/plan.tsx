// The plan: the settings that the twin would choose, why, and how to set them.
import type { VNode } from "preact";
import { url, useGet, type Loadable } from "../api/client.ts";
import { setParams } from "../router.ts";
import { Figure } from "../ui/Chart.tsx";
import { Copy } from "../ui/Copy.tsx";
import { bytes, gogc, gomemlimit, percent } from "../ui/format.tsx";
import { Empty, Loading, Stale } from "../ui/State.tsx";
import { estimate, type Forecast } from "./model.ts";

interface Planned {
  keep: boolean;
  gogc_percent: number;
  gomemlimit_bytes: number;
  gomaxprocs: number | null;
  gomaxprocs_advice?: string;
  container_request_bytes?: number | null;
  container_limit_bytes: number | null;
  set_in_code?: string[] | null;
}

export interface PlanDocument {
  plan: Planned;
  current: Forecast;
  expected: Forecast;
  why: string[] | null;
  risk: string[] | null;
  falsifiers: { text: string }[] | null;
  alternatives?: { name: string; fits: boolean; lost: string; forecast: Forecast }[] | null;
  notes: string[] | null;
  confidence: string;
  confidence_reason: string;
  apply?: Record<string, string> | null;
}

const objectives: [string, string, Record<string, string>][] = [
  ["", "Least GC CPU in the memory there is", {}],
  ["memory", "Least memory with GC at most 5% of the CPU", { objective: "least_memory", max_gc_cpu_ratio: "0.05" }],
  ["memory2", "Least memory with GC at most 2% of the CPU", { objective: "least_memory", max_gc_cpu_ratio: "0.02" }],
];
const forms: [string, string][] = [["env", "Environment"], ["systemd", "systemd"], ["docker", "docker run"], ["compose", "Compose"], ["k8s", "Kubernetes"]];

function objective(params: URLSearchParams): [string, string, Record<string, string>] {
  return objectives.find(([id]) => id === (params.get("for") ?? "")) ?? objectives[0]!;
}

/** usePlan asks for the plan that the address names. */
export function usePlan(process: string | null, params: URLSearchParams, limit: string | null): Loadable<PlanDocument> {
  return useGet<PlanDocument>(process ? url("plan", { process, memory_limit: limit === "off" ? null : limit, ...objective(params)[2] }) : null, { keep: true });
}

const about = {
  what: "The settings that the twin would choose for this process: of all that keep clear of the limit and of the storm at the bad end of the uncertainty, the best for what you want.",
  good: "A confidence of medium or high, and a change outside of the uncertainty.",
  bad: "A short recording: the plan holds for the load that was seen.",
};

export function Plan(props: { plan: Loadable<PlanDocument>; params: URLSearchParams; limited: boolean; onUse: (f: Forecast) => void }): VNode {
  const { plan, params } = props;
  const [id] = objective(params);
  const d = plan.data;
  const pick = (
    <label class="objective"><span class="away">What for</span>
      <select value={id} onChange={(e) => setParams({ for: e.currentTarget.value || null })}>{objectives.map(([k, label]) => <option key={k} value={k}>{label}</option>)}</select>
    </label>
  );
  return (
    <Figure title="The plan" about={about} actions={pick} class="plan">
      {!d ? (plan.error ? <Empty title={"There is no plan: " + plan.error.message}>{props.limited ? plan.error.hint : "Choose a container limit above, as the memory that the plan may use; or plan for least memory."}</Empty> : <Loading what="the plan" rows={4} />)
        : <>{plan.error && <Stale at={plan.at} error={plan.error} retry={plan.reload} />}<Body d={d} params={params} onUse={props.onUse} /></>}
    </Figure>
  );
}

function Body(props: { d: PlanDocument; params: URLSearchParams; onUse: (f: Forecast) => void }): VNode {
  const { d, params } = props;
  const p = d.plan;
  const form = forms.find(([k]) => k === params.get("as")) ?? forms[0]!;
  const text = d.apply?.[form[0]] ?? "";
  const row = (name: string, now: string, then: string): VNode => <tr><th scope="row">{name}</th><td class="n">{now}</td><td class="n">{now === then ? <span class="note">the same</span> : <b>{then}</b>}</td></tr>;
  const list = (title: string, of: string[]): VNode | null => (of.length === 0 ? null : <><h3>{title}</h3><ul>{of.map((t) => <li key={t}>{t}</li>)}</ul></>);
  const pair = (f: Forecast): string => `${percent(estimate(f.gc_cpu_ratio))} GC CPU, ${bytes(estimate(f.rss_peak_bytes))} at its peak`;
  return (
    <>
      {p.keep ? <p><b class="good">Leave the settings as they are:</b> the twin finds none that are better by more than it can tell.</p>
        : <p>From {pair(d.current)} to <b>{pair(d.expected)}</b>. <button type="button" class="quiet" onClick={() => props.onUse(d.expected)}>Put it on the sliders</button></p>}
      <div class="planned">
        <table>
          <thead><tr><th scope="col"><span class="away">Setting</span></th><th scope="col" class="n">Now</th><th scope="col" class="n">Plan</th></tr></thead>
          <tbody>
            {row("GOGC", gogc(d.current.gogc_percent), gogc(p.gogc_percent))}
            {row("GOMEMLIMIT", gomemlimit(d.current.gomemlimit_bytes), gomemlimit(p.gomemlimit_bytes))}
            {p.gomaxprocs !== null && row("GOMAXPROCS", d.current.gomaxprocs === null ? "–" : String(d.current.gomaxprocs), String(p.gomaxprocs))}
            {p.container_limit_bytes ? row("Container limit", d.current.container_limit_bytes ? bytes(d.current.container_limit_bytes) : "none", bytes(p.container_limit_bytes)) : null}
            {p.container_request_bytes ? row("Container request", "–", bytes(p.container_request_bytes)) : null}
          </tbody>
        </table>
        {d.apply && (
          <div class="apply">
            <div class="group" role="group" aria-label="In the form of">
              {forms.filter(([k]) => d.apply?.[k]).map(([k, label]) => <button key={k} type="button" aria-pressed={k === form[0]} onClick={() => setParams({ as: k === "env" ? null : k })}>{label}</button>)}
            </div>
            <pre tabIndex={0}>{text}</pre>
            <Copy text={text} label="Copy" />
          </div>
        )}
      </div>
      <p class="note"><b>{d.confidence} confidence</b>{d.confidence_reason ? ": " + d.confidence_reason.replace(/\.$/, "") : ""}.</p>
      <details>
        <summary>Why, what may go wrong, and what would show that it is wrong</summary>
        {list("Why", d.why ?? [])}
        {list("Risk", d.risk ?? [])}
        {list("It is wrong if", (d.falsifiers ?? []).map((f) => f.text))}
        {list("Notes", [...((p.set_in_code ?? []).length > 0 ? [`The program sets ${p.set_in_code!.join(" and ")} in its own code: its environment does not change that.`] : []), ...(p.gomaxprocs_advice ? [p.gomaxprocs_advice] : []), ...(d.notes ?? [])])}
        {(d.alternatives ?? []).length > 0 && <><h3>What was not chosen</h3><ul>{d.alternatives!.map((a) => <li key={a.name}><button type="button" class="link" onClick={() => props.onUse(a.forecast)}>{a.name}</button>: {pair(a.forecast)}. {a.lost}</li>)}</ul></>}
      </details>
    </>
  );
}
