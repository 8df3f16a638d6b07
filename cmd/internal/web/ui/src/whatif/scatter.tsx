// GC CPU against memory: a point for each setting that was tried.
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { bytes, percent } from "../ui/format.tsx";
import { useWidth } from "../ui/width.ts";
import { closest, estimate, named, plot, same, ticks, type Forecast } from "./model.ts";

const high = 340;
const pad = { left: 52, right: 16, top: 24, bottom: 44 };

/** says is a point in words. */
export function says(f: Forecast): string {
  return `${named(f)}: ${bytes(estimate(f.rss_peak_bytes))} at its peak, GC CPU ${percent(estimate(f.gc_cpu_ratio))}${f.fails === "oom" ? "; likely to be killed" : f.fails === "storm" ? "; the collector does not keep up" : ""}`;
}

export function Scatter(props: { points: readonly Forecast[]; now: Forecast | null; chosen: Forecast | null; plan: Forecast | null; limit: number | null; onUse: (f: Forecast) => void }): VNode {
  const { points, now, chosen, plan, limit } = props;
  const [box, width] = useWidth<HTMLDivElement>();
  const [over, setOver] = useState<Forecast | null>(null);
  const [at, setAt] = useState(-1); // on the front, by keys
  const seen = [now, chosen, plan].filter((f) => f !== null);
  const p = plot(points, seen, limit);
  const w = Math.max(width, 240);
  const px = (v: number): number => pad.left + ((v - p.x.low) / (p.x.high - p.x.low)) * (w - pad.left - pad.right);
  const py = (v: number): number => high - pad.bottom - ((v - p.y.low) / (p.y.high - p.y.low)) * (high - pad.top - pad.bottom);
  const place = (f: Forecast): [number, number] => [px(estimate(f.rss_peak_bytes) ?? 0), py(Math.min(estimate(f.gc_cpu_ratio) ?? 0, p.y.high))];
  const line = p.front.map((f, i) => (i ? "L" : "M") + place(f).map((v) => v.toFixed(1)).join(" ")).join("");
  const under = (e: MouseEvent): Forecast | null => {
    const r = (e.currentTarget as Element).getBoundingClientRect();
    return closest([...p.points, ...seen], place, e.clientX - r.left, e.clientY - r.top, 24);
  };
  const key = (e: KeyboardEvent): void => {
    const n = p.front.length;
    if (n === 0) return;
    let to = at;
    if (e.key === "ArrowRight" || e.key === "ArrowDown") to = Math.min(at + 1, n - 1);
    else if (e.key === "ArrowLeft" || e.key === "ArrowUp") to = Math.max(at - 1, 0);
    else if (e.key === "Home") to = 0;
    else if (e.key === "End") to = n - 1;
    else if ((e.key === "Enter" || e.key === " ") && over) props.onUse(over);
    else return;
    e.preventDefault();
    setAt(to);
    if (to >= 0) setOver(p.front[to]!);
  };
  const xs = ticks(p.x.low, p.x.high, Math.max(2, Math.floor(w / 130)), true);
  const ys = ticks(p.y.low, p.y.high, 5);
  const label = (f: Forecast, text: string, kind: string): VNode => {
    const [x, y] = place(f);
    const end = x > w * 0.7;
    return <text class={"strong " + kind} x={x + (end ? -11 : 11)} y={y - 8} text-anchor={end ? "end" : "start"}>{text}</text>;
  };
  const whiskers = (f: Forecast, kind: string): VNode | null => {
    const [x, y] = place(f);
    const c = f.gc_cpu_ratio, m = f.rss_peak_bytes;
    if (c.low === null || c.high === null || m.low === null || m.high === null) return null;
    return <g class={"whisker " + kind}><line x1={x} x2={x} y1={py(c.low)} y2={Math.max(py(c.high), pad.top)} /><line y1={y} y2={y} x1={Math.max(px(m.low), pad.left)} x2={Math.min(px(m.high), w - pad.right)} /></g>;
  };
  const cross = (x: number, y: number): string => `M${x - 3.5} ${y - 3.5}l7 7m0 -7l-7 7`;
  return (
    <div class="scatter" ref={box}>
      {width > 0 && (
        <svg width={w} height={high} tabIndex={0} role="application" aria-roledescription="scatter plot"
          aria-label={`GC CPU against peak memory for ${points.length} settings. Arrow keys walk the efficient ones, enter takes one over. The table has them all.`}
          onMouseMove={(e) => setOver(under(e))} onMouseLeave={() => setOver(null)} onClick={(e) => { const f = under(e); if (f) props.onUse(f); }} onKeyDown={key}
          class={over ? "over" : ""}>
          {ys.map((t) => <g key={t}><line class="grid" x1={pad.left} x2={w - pad.right} y1={py(t)} y2={py(t)} /><text class="muted" x={pad.left - 7} y={py(t) + 4} text-anchor="end">{percent(t)}</text></g>)}
          {xs.map((t) => <g key={t}><line class="axis" x1={px(t)} x2={px(t)} y1={high - pad.bottom} y2={high - pad.bottom + 5} /><text class="muted" x={px(t)} y={high - pad.bottom + 19} text-anchor="middle">{bytes(t)}</text></g>)}
          <line class="axis" x1={pad.left} x2={w - pad.right} y1={high - pad.bottom} y2={high - pad.bottom} />
          <text class="muted" x={w - pad.right} y={high - 6} text-anchor="end">peak resident memory</text>
          <text class="muted" x={pad.left + 2} y={high - 6}>up: GC CPU</text>
          {limit !== null && isFinite(limit) && limit < p.x.high && (
            <g>
              <rect class="beyond" x={px(limit)} y={pad.top} width={Math.max(w - pad.right - px(limit), 0)} height={high - pad.top - pad.bottom} />
              <line class="limit" x1={px(limit)} x2={px(limit)} y1={pad.top} y2={high - pad.bottom} />
              <text class="bad" x={px(limit)} y={pad.top - 9} text-anchor={px(limit) > w * 0.6 ? "end" : px(limit) < w * 0.3 ? "start" : "middle"}>container limit {bytes(limit)}</text>
            </g>
          )}
          {line && <path class="curve" d={line} />}
          {p.points.filter((f) => !p.front.includes(f)).map((f, i) => {
            const [x, y] = place(f);
            return f.fails ? <path key={i} class="fails" d={cross(x, y)} /> : <circle key={i} class="other" cx={x} cy={y} r={3} />;
          })}
          {p.front.map((f, i) => { const [x, y] = place(f); return <circle key={i} class="front" cx={x} cy={y} r={4} />; })}
          {now && whiskers(now, "now")}
          {chosen && !(now && same(now, chosen)) && whiskers(chosen, "chosen")}
          {plan && <Diamond at={place(plan)} />}
          {now && <circle class="now" cx={place(now)[0]} cy={place(now)[1]} r={6} />}
          {chosen && <Ring at={place(chosen)} fails={Boolean(chosen.fails)} />}
          {over && <circle class="hit" cx={place(over)[0]} cy={place(over)[1]} r={10} />}
          {now && label(now, "now", "now")}
          {plan && !(now && same(now, plan)) && label(plan, "plan", "best")}
        </svg>
      )}
      <p class="note" role="status">{over ? says(over) + ". Click to take it over." : chosen ? "Chosen: " + says(chosen) : "\u00a0"}</p>
      <ul class="keyline note">
        <li><svg width="14" height="14" aria-hidden="true"><circle class="now" cx="7" cy="7" r="5" /></svg> now</li>
        <li><svg width="14" height="14" aria-hidden="true"><Ring at={[7, 7]} fails={false} /></svg> chosen</li>
        {plan && <li><svg width="14" height="14" aria-hidden="true"><Diamond at={[7, 7]} /></svg> the plan's</li>}
        <li><svg width="14" height="14" aria-hidden="true"><circle class="front" cx="7" cy="7" r="4" /></svg> none is better in both</li>
        <li><svg width="14" height="14" aria-hidden="true"><path class="fails" d={cross(7, 7)} /></svg> fails</li>
        {p.left > 0 && <li>{p.left} that fail or are far off lie outside</li>}
      </ul>
    </div>
  );
}

function Ring(props: { at: [number, number]; fails: boolean }): VNode {
  const [x, y] = props.at;
  return <g class={"ring" + (props.fails ? " failing" : "")}><circle cx={x} cy={y} r={6} /><path d={`M${x - 9} ${y}h6m6 0h6M${x} ${y - 9}v6m0 6v6`} /></g>;
}

function Diamond(props: { at: [number, number] }): VNode {
  const [x, y] = props.at;
  return <path class="best" d={`M${x} ${y - 6.5}l6.5 6.5l-6.5 6.5l-6.5 -6.5Z`} />;
}
