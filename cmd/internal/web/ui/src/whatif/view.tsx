// What other settings would do: sliders over the twin's forecast, the settings that
// pay, and the plan.
import type { VNode } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { url, useGet } from "../api/client.ts";
import { setParams } from "../router.ts";
import { Figure } from "../ui/Chart.tsx";
import { Copy } from "../ui/Copy.tsx";
import { bytes, gogc, gomemlimit, percent, seconds, value } from "../ui/format.tsx";
import { Help } from "../ui/Help.tsx";
import { Empty, Failure, Loading, Stale } from "../ui/State.tsx";
import type { Column } from "../ui/Table.tsx";
import { Apply } from "./apply.tsx";
import { chance, change, estimate, fromPosition, named, none, off, percentage, percentageText, range, same, shown, size, sizeText, tidy, tidySize, toPosition, type Forecast, type Parameter, type Prediction, type Quantity, type Settings, type Slider } from "./model.ts";
import { Plan, usePlan } from "./plan.tsx";
import { Scatter } from "./scatter.tsx";
import "./whatif.css";

const names = ["gogc", "gomemlimit", "limit"] as const;
type Name = (typeof names)[number];

/** use puts the settings of a forecast on the sliders. */
function use(f: Forecast, now: Forecast | null): void {
  setParams({
    gogc: now && now.gogc_percent === f.gogc_percent ? null : percentageText(f.gogc_percent),
    gomemlimit: now && now.gomemlimit_bytes === f.gomemlimit_bytes ? null : sizeText(f.gomemlimit_bytes),
    limit: now && (now.container_limit_bytes ?? 0) === (f.container_limit_bytes ?? 0) ? null : sizeText(f.container_limit_bytes ?? none),
  }, false);
}

export function View(props: { params: URLSearchParams; process?: string }): VNode {
  const { params, process } = props;
  // What cannot be read in an address is left out, so that it can be mended with the sliders.
  const asked = Object.fromEntries(names.map((n) => {
    const v = params.get(n);
    return [n, v !== null && (n === "gogc" ? percentage(v) : size(v)) !== undefined ? v : null];
  })) as Record<Name, string | null>;
  const forecast = useGet<Prediction>(process ? url("forecast", { process, ...asked }) : null, { keep: true, every: 60000 });
  const front = useGet<Prediction>(process ? url("front", { process, limit: asked.limit }) : null, { keep: true });
  const plan = usePlan(process ?? null, params, asked.limit);
  if (!process) return <Empty title="A forecast belongs to a process">Choose one in the fleet.</Empty>;
  const d = forecast.data;
  if (!d) {
    if (!forecast.error) return <Loading what="the forecast" rows={6} />;
    if (forecast.error.status !== 422) return <Failure error={forecast.error} retry={forecast.reload} what="the forecast" />;
    return <Unfit error={forecast.error.message} missing={forecast.error.hint ? [forecast.error.hint] : []} retry={forecast.reload} />;
  }
  const all = d.predictions ?? [];
  const now = all.find((f) => f.now) ?? d.current ?? null;
  if (d.error || !now) return <Unfit error={d.error ?? "there is not enough to forecast from"} missing={d.missing ?? []} retry={forecast.reload} />;
  const settings: Settings = { gogc: asked.gogc ? percentage(asked.gogc) ?? null : null, memlimit: asked.gomemlimit ? size(asked.gomemlimit) ?? null : null, limit: asked.limit ? size(asked.limit) ?? null : null };
  const changed = names.some((n) => asked[n] !== null);
  const chosen = changed ? choose(all, settings, now) : now;
  return (
    <div class="whatif">
      {forecast.error && <Stale at={forecast.at} error={forecast.error} retry={forecast.reload} />}
      <div class="pair">
        <Controls now={now} asked={asked} floor={estimate(d.storm_floor_bytes)} />
        <Compare now={now} chosen={chosen} changed={changed} busy={forecast.loading} d={d} />
      </div>
      <Front front={front.data} error={front.error?.message ?? null} now={now} chosen={chosen} plan={plan.data?.expected ?? null} onUse={(f) => use(f, now)} />
      <Plan plan={plan} params={params} limited={(settings.limit ?? now.container_limit_bytes ?? none) !== none} onUse={(f) => use(f, now)} />
      <Apply process={process} now={now} chosen={chosen} />
      <Sure d={d} />
    </div>
  );
}

/** choose finds the forecast of the settings that were asked for. */
function choose(all: readonly Forecast[], s: Settings, now: Forecast): Forecast | null {
  const want = {
    gogc: s.gogc ?? now.gogc_percent,
    mem: s.memlimit ?? now.gomemlimit_bytes,
    limit: s.limit ?? now.container_limit_bytes ?? none,
  };
  const big = (v: number): number => (v >= 2 ** 62 ? Infinity : v);
  return all.find((f) => f.gogc_percent === want.gogc && big(f.gomemlimit_bytes) === big(want.mem) && (f.container_limit_bytes ?? Infinity) === want.limit)
    ?? all.find((f) => !f.now) ?? null;
}

function Unfit(props: { error: string; missing: string[]; retry: () => void }): VNode {
  return (
    <Empty title={"There is no forecast for this process yet: " + props.error}>
      {props.missing.map((m) => <span key={m}>{sentence(m)} </span>)}
      The twin learns a process from its GC cycles, at the load of the last minutes: an idle process shows it too little. This page asks again each minute.{" "}
      <button type="button" onClick={props.retry}>Ask again</button>
    </Empty>
  );
}

const knobs = {
  what: "What the Go runtime is told about memory. GOGC says how much garbage may pile up beside what is alive; GOMEMLIMIT is where the runtime begins to collect harder, whatever GOGC says; the container's limit is where the kernel kills.",
  good: "GOMEMLIMIT some way below the container's limit, and GOGC as high as that allows.",
  bad: "GOGC off without GOMEMLIMIT; GOMEMLIMIT close to what is alive.",
};

function Controls(props: { now: Forecast; asked: Record<Name, string | null>; floor: number | null }): VNode {
  const { now, asked, floor } = props;
  const rss = estimate(now.rss_peak_bytes) ?? 256 * 1048576;
  const limit = now.container_limit_bytes;
  const sizes: Slider = { low: Math.max(4 * 1048576, rss * 0.3), high: Math.max(limit ?? 0, rss * 6), steps: 300 };
  const percents: Slider = { low: 10, high: 2000, steps: 300 };
  const dirty = names.some((n) => asked[n] !== null);
  return (
    <section class="figure settings" aria-label="Settings">
      <header><h2>Settings</h2><div class="tools">{dirty && <button type="button" class="quiet" onClick={() => setParams({ gogc: null, gomemlimit: null, limit: null }, false)}>Back to now</button>}<Help of="Settings" about={knobs} /></div></header>
      <Setting name="gogc" label="GOGC" hint="How far the heap grows over what is alive before it is collected, in percent." now={gogc(now.gogc_percent)}
        text={asked.gogc ?? percentageText(now.gogc_percent)} dirty={asked.gogc !== null} slider={percents} toValue={percentage} toText={percentageText} snap={tidy} end={off} endLabel="off" />
      <Setting name="gomemlimit" label="GOMEMLIMIT" hint={"How much memory the runtime tries not to pass." + (floor ? ` Below about ${bytes(floor)} it would do little but collect.` : "")} now={gomemlimit(now.gomemlimit_bytes)}
        text={asked.gomemlimit ?? sizeText(now.gomemlimit_bytes)} dirty={asked.gomemlimit !== null} slider={sizes} toValue={size} toText={sizeText} snap={tidySize} end={none} endLabel="none" />
      <Setting name="limit" label="Container limit" hint="At which the kernel kills." now={limit ? bytes(limit) : "none"}
        text={asked.limit ?? sizeText(limit ?? none)} dirty={asked.limit !== null} slider={sizes} toValue={size} toText={sizeText} snap={tidySize} end={none} endLabel="none" />
    </section>
  );
}

function Setting(props: {
  name: Name; label: string; hint: string; now: string; text: string; dirty: boolean; slider: Slider;
  toValue: (t: string) => number | undefined; toText: (v: number) => string; snap: (v: number) => number; end: number; endLabel: string;
}): VNode {
  const { name, slider } = props;
  const [typed, type] = useState(props.text);
  useEffect(() => type(props.text), [props.text]);
  const v = props.toValue(typed);
  // The address, and with it the question to the agent, follows when the hand rests.
  useEffect(() => {
    if (typed === props.text || v === undefined) return;
    const t = setTimeout(() => setParams({ [name]: typed.trim() }), 220);
    return () => clearTimeout(t);
  }, [typed, v, name, props.text]);
  const beyond = v === props.end;
  return (
    <div class={"setting" + (props.dirty ? " dirty" : "")}>
      <label for={"s-" + name}>{props.label}</label>
      <input id={"s-" + name} type="text" value={typed} spellcheck={false} autocomplete="off" aria-invalid={v === undefined} aria-describedby={"h-" + name} onInput={(e) => type(e.currentTarget.value)} />
      <input type="range" aria-label={props.label + " as a slider"} min={0} max={slider.steps} step={1} value={v === undefined ? 0 : beyond ? slider.steps : toPosition(slider, v)} aria-valuetext={typed}
        onInput={(e) => {
          const at = Number(e.currentTarget.value);
          type(props.toText(at >= slider.steps ? props.end : props.snap(fromPosition(slider, at))));
        }} />
      <p class="note" id={"h-" + name}>{v === undefined ? <b class="bad">{name === "gogc" ? "A whole number, or off." : "A size such as 512MiB or 1.5GiB, or off."}</b> : <>{props.hint} Now: <b>{props.now}</b>. To the right end: {props.endLabel}.</>}</p>
    </div>
  );
}

interface Line { key: string; label: string; unit: string; of: (f: Forecast) => Quantity; good: "less" | "more" | "" }

const lines: Line[] = [
  { key: "gc", label: "GC CPU", unit: "ratio", of: (f) => f.gc_cpu_ratio, good: "less" },
  { key: "cycles", label: "GC cycles", unit: "per_second", of: (f) => f.gc_cycles_per_second, good: "less" },
  { key: "assist", label: "Assists", unit: "ratio", of: (f) => f.assist_ratio, good: "less" },
  { key: "rss", label: "RSS peak", unit: "bytes", of: (f) => f.rss_peak_bytes, good: "less" },
  { key: "heap", label: "Heap peak", unit: "bytes", of: (f) => f.heap_peak_bytes, good: "less" },
  { key: "oom", label: "Chance of an OOM kill", unit: "chance", of: (f) => f.oom_probability, good: "less" },
];

function Compare(props: { now: Forecast; chosen: Forecast | null; changed: boolean; busy: boolean; d: Prediction }): VNode {
  const { now, d } = props;
  const chosen = props.changed ? props.chosen : null;
  const about = {
    what: "The time that was recorded, run again with other settings: cycle by cycle, with the arithmetic of this process's own Go release. A bar is the range in which nine of ten outcomes lie, the line in it the estimate.",
    good: "Less GC CPU in memory that you have.",
    bad: "A chance of an OOM kill above zero, or a peak close to the limit.",
    source: "The twin knows the collector, not the program: one that fills its caches when it gets more memory does something that was not recorded.",
  };
  const table = (): { columns: Column<Line>[]; rows: Line[] } => ({
    rows: lines,
    columns: [
      { key: "label", label: "Quantity", value: (l) => l.label },
      ...([["now", now], ["chosen", chosen]] as const).flatMap(([key, f]): Column<Line>[] => (f ? [
        { key, label: key === "now" ? "Now" : "Chosen", num: true, value: (l) => l.of(f).estimate, cell: (l) => shown(l.of(f).estimate, l.unit) },
        { key: key + "r", label: "Nine of ten", num: true, value: (l) => range(l.of(f), l.unit) },
      ] : [])),
    ],
  });
  const f = chosen ?? now;
  return (
    <Figure class="compare" title={chosen ? "Now against " + named(chosen) : "Now: " + named(now)} about={about} table={table}
      says={<>{props.busy ? "Forecasting… " : ""}{seconds(d.span_seconds)} of its work replayed on {d.go_version}</>}>
      {f.fails && <p class="verdict bad" role="status"><b>{f.fails === "oom" ? "▲ The kernel is likely to kill it." : "▲ The collector would not keep up."}</b> {f.fails === "oom" ? "The peak passes the container's limit." : "Too much of the CPU would go into collecting: the heap needs more room, by a higher GOGC or GOMEMLIMIT."}</p>}
      <div class={"quantities" + (props.busy ? " busy" : "")}>
        <div class="row head" aria-hidden="true"><span /><span class="was">now</span>{chosen && <span class="then">chosen</span>}<span /></div>
        {lines.map((l) => {
          const a = l.of(now), b = chosen ? l.of(chosen) : null;
          const c = b ? (l.unit === "chance" ? chance(a, b) : change(a, b)) : null;
          const top = l.unit === "chance" ? 1 : Math.max(a.high ?? a.estimate ?? 0, b?.high ?? b?.estimate ?? 0) || 1;
          return (
            <div class="row" key={l.key}>
              <span class="name">{l.label}{c && c.text && <small class={c.better === null ? "" : c.better ? "good" : "worse"}>{c.text}</small>}</span>
              <span class="was">{shown(a.estimate, l.unit)}<small>{range(a, l.unit)}</small></span>
              {b && <span class="then">{shown(b.estimate, l.unit)}<small>{range(b, l.unit)}</small></span>}
              <Bars now={a} chosen={b} top={top} limit={l.unit === "bytes" ? f.container_limit_bytes : null} />
            </div>
          );
        })}
      </div>
      {(f.notes ?? []).map((n) => <p class="note" key={n}>{sentence(n)}</p>)}
    </Figure>
  );
}

function sentence(s: string): string {
  return s.charAt(0).toUpperCase() + s.slice(1).replace(/\.?$/, ".");
}

function Bars(props: { now: Quantity; chosen: Quantity | null; top: number; limit: number | null }): VNode {
  const top = props.limit !== null && props.limit < 4 * props.top ? Math.max(props.top, props.limit) : props.top;
  const x = (v: number | null): number => (100 * Math.max(0, Math.min(v ?? 0, top))) / top;
  const one = (q: Quantity, y: number, kind: string): VNode => (
    <g class={kind}>
      <rect x={x(q.low ?? q.estimate) + "%"} width={Math.max(x(q.high ?? q.estimate) - x(q.low ?? q.estimate), 0.8) + "%"} y={y} height="8" rx="2" />
      {q.estimate !== null && <line x1={x(q.estimate) + "%"} x2={x(q.estimate) + "%"} y1={y - 2} y2={y + 10} />}
    </g>
  );
  return (
    <svg class="bars" width="100%" height="30" aria-hidden="true">
      <line class="axis" x1="0" x2="100%" y1="15" y2="15" />
      {props.limit !== null && props.limit <= top && <line class="limit" x1={x(props.limit) + "%"} x2={x(props.limit) + "%"} y1="0" y2="30" />}
      {one(props.now, props.chosen ? 3 : 11, "now")}
      {props.chosen && one(props.chosen, 19, "chosen")}
    </svg>
  );
}

function Front(props: { front: Prediction | null; error: string | null; now: Forecast; chosen: Forecast | null; plan: Forecast | null; onUse: (f: Forecast) => void }): VNode {
  const points = useMemo(() => (props.front?.predictions ?? []).filter((f) => !f.now), [props.front]);
  const about = {
    what: "Each point is a setting that the twin tried: how much memory it needs at its peak, and how much of the CPU the collector takes. The line joins those than which none is better in both; what lies above it wastes one or the other.",
    good: "The chosen point is on the line, left of the limit with room to spare.",
    bad: "The present settings lie far above the line, or near the limit.",
    source: "Crosses fail: they would be killed, or do little but collect.",
  };
  const table = (): { columns: Column<Forecast>[]; rows: Forecast[] } => ({
    rows: points,
    columns: [
      { key: "gogc", label: "GOGC", num: true, value: (f) => f.gogc_percent, cell: (f) => <button type="button" class="link" title="Take it over" onClick={() => props.onUse(f)}>{percentageText(f.gogc_percent)}</button> },
      { key: "mem", label: "GOMEMLIMIT", num: true, value: (f) => (f.gomemlimit_bytes >= 2 ** 62 ? null : f.gomemlimit_bytes), cell: (f) => gomemlimit(f.gomemlimit_bytes) },
      { key: "rss", label: "RSS peak", num: true, value: (f) => estimate(f.rss_peak_bytes), cell: (f) => bytes(estimate(f.rss_peak_bytes)) },
      { key: "gc", label: "GC CPU", num: true, value: (f) => estimate(f.gc_cpu_ratio), cell: (f) => percent(estimate(f.gc_cpu_ratio)) },
      { key: "is", label: "Is", value: (f) => (f.fails ? "fails: " + f.fails : f.efficient ? "efficient" : "") },
    ],
  });
  return (
    <Figure title="What memory buys" about={about} table={table} says="GC CPU against peak memory, for each setting that was tried">
      {props.error && !props.front ? <p class="note bad">{sentence(props.error)}</p>
        : !props.front ? <Loading what="the settings that pay" rows={4} />
        : <Scatter points={points} now={props.now} chosen={props.chosen && !same(props.chosen, props.now) ? props.chosen : null} plan={props.plan} limit={props.chosen?.container_limit_bytes ?? props.now.container_limit_bytes} onUse={props.onUse} />}
    </Figure>
  );
}

/** Sure says what the forecast rests on. */
function Sure(props: { d: Prediction }): VNode {
  const { d } = props;
  const unit = (p: Parameter): string => (/_bytes_per_second$/.test(p.name) ? "bytes_per_second" : /_bytes$/.test(p.name) ? "bytes" : /_seconds$/.test(p.name) ? "seconds" : /_ratio$/.test(p.name) ? "ratio" : /_cores$/.test(p.name) ? "cores" : /_per_second$/.test(p.name) ? "per_second" : "count");
  return (
    <details class="figure sure">
      <summary>How sure is this?</summary>
      <p>{seconds(d.span_seconds)} of this process's work were replayed with the pacer of {d.go_version}. A load that was not in them is not in the forecast. Every range holds nine of ten outcomes, as far as the model knows.</p>
      {(d.missing ?? []).length > 0 ? <><p>What was missing:</p><ul>{d.missing!.map((m) => <li key={m}>{sentence(m)}</li>)}</ul></> : <p>Nothing that the twin asks for was missing.</p>}
      {(d.parameters ?? []).length > 0 && (
        <table>
          <thead><tr><th scope="col">Found out about the process</th><th scope="col" class="n">Value</th><th scope="col" class="n">Nine of ten</th><th scope="col">From</th></tr></thead>
          <tbody>{d.parameters!.map((p) => <tr key={p.name}><td>{p.name.replace(/_(bytes_per_second|bytes|seconds|ratio|cores|per_second)$/, "").replaceAll("_", " ")}</td><td class="n">{value(estimate(p.value), unit(p))}</td><td class="n">{range(p.value, unit(p))}</td><td class="note">{p.from}</td></tr>)}</tbody>
        </table>
      )}
      <p><Copy label="Copy as JSON" text={() => JSON.stringify(d, null, 2)} /></p>
    </details>
  );
}
