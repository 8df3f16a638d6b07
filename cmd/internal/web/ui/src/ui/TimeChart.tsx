// A chart over time: uPlot, with labels at the ends of the lines, and what happened
// drawn across. All charts of a page show the same stretch and share the cursor.
import type { VNode } from "preact";
import { createContext } from "preact";
import { useContext, useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Cycle, Event, Num, Severity } from "../api/types.ts";
import { clock, day } from "./format.tsx";
import { byteSteps, nearest, spread, stacked } from "./plot.ts";
import { color, useTheme } from "./theme.ts";
import "./chart.css";

export interface Line {
  key: string;
  label: string;
  values: readonly Num[];
  color: string; // a name of the style sheet: --front
  width?: number;
  dash?: number[];
  fill?: number; // how opaque the area under it is
  min?: readonly Num[] | null;
  max?: readonly Num[] | null;
  step?: boolean; // the value holds until the next
}

export interface Band { from: number; to: number; label: string; severity: Severity; strong: boolean }
export interface Level { value: number; label: string; severity: Severity; from: number; to: number }

/** What all charts of a page have in common. Times are seconds since the epoch. */
export interface Timeline {
  from: number;
  to: number;
  cycles: readonly Cycle[];
  ends: readonly number[]; // of the cycles
  events: readonly Event[];
  brush: (from: number, to: number) => void;
  pick: (cycle: Cycle) => void;
}

export const TimelineContext = createContext<Timeline>({ from: 0, to: 1, cycles: [], ends: [], events: [], brush: () => {}, pick: () => {} });

export interface Painter { u: uPlot; ctx: CanvasRenderingContext2D; px: number; x: (t: number) => number; y: (v: number) => number; css: (name: string) => string }

export interface TimeChartProps {
  time: readonly number[];
  lines: readonly Line[];
  label: string; // for those who do not see it
  format: (v: Num) => string;
  axis?: (v: number) => string;
  height: number;
  bytes?: boolean;
  log?: boolean;
  stack?: boolean;
  /** range returns the ends of the scale, from the lowest and highest value that is drawn. */
  range?: (low: number, high: number) => [number, number];
  ghosts?: readonly { time: readonly number[]; values: readonly Num[]; color: string }[];
  bands?: readonly Band[];
  levels?: readonly Level[];
  under?: (p: Painter) => void; // is drawn before the lines
  over?: (p: Painter) => void; // and after
  read?: (t: number) => string; // more to say about the moment under the cursor
  reach?: number; // px within which a click means a cycle
  events?: boolean; // whether events are named here
  wait?: string; // what stands in its place while there is nothing to draw
}

const axisFont = "11px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif";
const gap = 15; // px between labels

function timeAxis(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  let last = "";
  return splits.map((s) => {
    const d = day(s * 1000), c = clock(s * 1000, step < 1);
    const text = step >= 86400 ? d.slice(5) : step >= 60 ? c.slice(0, 5) : c;
    if (last !== "" && d !== last && step < 86400) {
      last = d;
      return `${d.slice(5)} ${text}`;
    }
    last = d;
    return text;
  });
}

function alpha(hex: string, a: number): string {
  return hex + Math.round(a * 255).toString(16).padStart(2, "0");
}

export function TimeChart(props: TimeChartProps): VNode {
  const theme = useTheme();
  const line = useContext(TimelineContext);
  const box = useRef<HTMLDivElement>(null), plot = useRef<uPlot | null>(null);
  const now = useRef({ props, line });
  now.current = { props, line };
  // What a plot is made of; when it changes a new one is made.
  const shape = [theme, props.height, props.log, props.stack, props.bytes, ...props.lines.map((l) => l.key + l.color)].join("|");

  useEffect(() => {
    const host = box.current;
    if (!host) return;
    const made = make(host, () => now.current);
    plot.current = made.u;
    return () => {
      plot.current = null;
      made.destroy();
    };
  }, [shape]);

  useEffect(() => {
    const u = plot.current;
    if (!u) return;
    u.setData(dataOf(props), false);
    u.setScale("x", { min: line.from, max: line.to });
  });

  return (
    <div class="time" ref={box} role="img" aria-label={props.label}>
      {props.wait && <p class="wait">{props.wait}</p>}
    </div>
  );
}

function dataOf(p: TimeChartProps): uPlot.AlignedData {
  const values = p.lines.map((l) => l.values);
  return [p.time as number[], ...(p.stack ? stacked(values) : (values as Num[][]))] as uPlot.AlignedData;
}

function make(host: HTMLElement, get: () => { props: TimeChartProps; line: Timeline }): { u: uPlot; destroy: () => void } {
  const first = get().props;
  const css = (name: string) => color(name) || "#888888";
  const ends = document.createElement("div"), moment = document.createElement("div");
  ends.className = "ends";
  moment.className = "moment";
  const labels = first.lines.map((l) => {
    const e = document.createElement("span"), name = document.createElement("i"), value = document.createElement("b");
    name.textContent = l.label;
    e.style.color = `var(${l.color})`;
    e.append(name, value);
    ends.append(e);
    return { e, value };
  });
  const wide = () => host.clientWidth >= 700;
  const sizes = () => ({ width: Math.max(160, host.clientWidth), height: first.height });

  const painter = (u: uPlot): Painter => ({ u, ctx: u.ctx, px: uPlot.pxRatio, x: (t) => u.valToPos(t, "x", true), y: (v) => u.valToPos(v, "y", true), css });
  const within = (u: uPlot, f: () => void) => {
    const { left, top, width, height } = u.bbox;
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(left, top, width, height);
    u.ctx.clip();
    f();
    u.ctx.restore();
  };

  function under(u: uPlot): void {
    const { props, line } = get(), { ctx } = u, p = painter(u), { top, height } = u.bbox;
    within(u, () => {
      for (const b of props.bands ?? []) {
        const x0 = p.x(Math.max(b.from, line.from)), x1 = p.x(Math.min(b.to, line.to));
        const c = css("--" + { critical: "bad", warning: "warn", info: "muted" }[b.severity]);
        ctx.fillStyle = alpha(c, b.strong ? 0.13 : 0.045);
        ctx.fillRect(x0, top, Math.max(1, x1 - x0), height);
        ctx.fillStyle = alpha(c, b.strong ? 1 : 0.7);
        ctx.fillRect(x0, top, Math.max(1, x1 - x0), (b.strong ? 3 : 2) * p.px);
      }
      props.under?.(p);
      for (const l of props.lines) {
        if (!l.min || !l.max || props.stack) continue;
        ctx.fillStyle = alpha(css(l.color), 0.18);
        let from = 0;
        const flush = (a: number, b: number) => {
          if (b - a < 2) return;
          ctx.beginPath();
          for (let i = a; i < b; i++) ctx.lineTo(p.x(props.time[i]!), p.y(l.max![i]!));
          for (let i = b - 1; i >= a; i--) ctx.lineTo(p.x(props.time[i]!), p.y(l.min![i]!));
          ctx.fill();
        };
        for (let i = 0; i <= props.time.length; i++) {
          if (i < props.time.length && l.min[i] != null && l.max[i] != null) continue;
          flush(from, i);
          from = i + 1;
        }
      }
      for (const g of props.ghosts ?? []) {
        ctx.strokeStyle = alpha(css(g.color), 0.75);
        ctx.lineWidth = p.px * 1.25;
        ctx.setLineDash([2 * p.px, 3 * p.px]);
        ctx.beginPath();
        let pen = false;
        g.time.forEach((t, i) => {
          const v = g.values[i];
          if (v == null) pen = false;
          else {
            ctx[pen ? "lineTo" : "moveTo"](p.x(t), p.y(v));
            pen = true;
          }
        });
        ctx.stroke();
        ctx.setLineDash([]);
      }
    });
  }

  function over(u: uPlot): void {
    const { props, line } = get(), { ctx } = u, p = painter(u), { left, top, width, height } = u.bbox, r = p.px;
    within(u, () => {
      props.over?.(p);
      // Where cycles ended: ticks at the foot of every chart.
      const n = line.cycles.length;
      if (n > 0) {
        ctx.fillStyle = alpha(css("--violet"), n * 3 * r > width ? 0.28 : 0.75);
        for (let i = 0; i < n; i++) ctx.fillRect(Math.round(p.x(line.ends[i]!)) - r / 2, top + height - 4 * r, r, 4 * r);
      }
      ctx.font = `${11 * r}px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif`;
      ctx.textBaseline = "top";
      ctx.textAlign = "left";
      for (const l of props.levels ?? []) {
        const y = p.y(l.value), c = css("--" + { critical: "bad", warning: "warn", info: "muted" }[l.severity]);
        const x0 = Math.max(left, p.x(l.from)), x1 = Math.min(left + width, p.x(l.to));
        if (y < top || y > top + height || x1 <= x0) continue;
        ctx.strokeStyle = c;
        ctx.lineWidth = r;
        ctx.setLineDash([7 * r, 3 * r, 1.5 * r, 3 * r]);
        ctx.beginPath();
        ctx.moveTo(x0, y);
        ctx.lineTo(x1, y);
        ctx.stroke();
        ctx.setLineDash([]);
        const w = ctx.measureText(l.label).width;
        text(ctx, l.label, Math.max(left + 6 * r, Math.min(x0 + 6 * r, left + width - w - 6 * r)), y - 14 * r < top ? y + 3 * r : y - 14 * r, c, css("--bg"), r);
      }
      let free = -Infinity;
      for (const e of line.events) {
        const x = p.x(new Date(e.time).getTime() / 1000), c = css(e.event === "oom_kill" || e.event === "exited" ? "--bad" : "--muted");
        if (x < left || x > left + width) continue;
        ctx.strokeStyle = c;
        ctx.lineWidth = r;
        ctx.setLineDash([r, 3 * r]);
        ctx.beginPath();
        ctx.moveTo(x, top);
        ctx.lineTo(x, top + height);
        ctx.stroke();
        ctx.setLineDash([]);
        if (!props.events) continue;
        const name = eventText(e), w = ctx.measureText(name).width, at = x + w + 8 * r > left + width ? x - w - 4 * r : x + 4 * r;
        if (at < free) continue;
        text(ctx, name, at, top + 5 * r, c, css("--bg"), r);
        free = at + w + 8 * r;
      }
    });
  }

  // The labels stand at the ends of the lines and say the last values, or those under the cursor.
  function tell(u: uPlot): void {
    const { props, line } = get(), idx = u.cursor.left != null && u.cursor.left >= 0 ? u.cursor.idx : null;
    const time = u.data[0], h = u.over.clientHeight, shown: { i: number; y: number }[] = [];
    const isWide = wide();
    props.lines.forEach((l, i) => {
      let v: Num = null;
      if (idx != null) v = l.values[idx] ?? null;
      else for (let k = time.length - 1; k >= 0 && v === null; k--) v = l.values[k] ?? null;
      const drawn = idx != null ? u.data[i + 1]?.[idx] : lastOf(u.data[i + 1] as Num[]);
      const lab = labels[i];
      if (!lab) return;
      const none = v === null || drawn == null;
      lab.e.hidden = none && (isWide || idx == null);
      const above = !none && u.scales.y!.max != null && drawn! > u.scales.y!.max!;
      lab.value.textContent = none ? "–" : props.format(v) + (above ? " ↑" : "");
      if (!lab.e.hidden) {
        let y = none ? h : u.valToPos(drawn!, "y");
        if (props.stack && !none) { // the middle of its own layer
          const below = i > 0 ? (idx != null ? u.data[i]?.[idx] : lastOf(u.data[i] as Num[])) ?? 0 : 0;
          y = u.valToPos((drawn! + below) / 2, "y");
        }
        shown.push({ i, y: Number.isFinite(y) ? Math.max(0, Math.min(h, y)) : h });
      }
    });
    ends.classList.toggle("wide", isWide);
    if (isWide) {
      const at = spread(shown.map((s) => s.y), gap, 4, Math.max(h - 4, 4));
      shown.forEach((s, k) => { labels[s.i]!.e.style.top = `${u.over.offsetTop + at[k]!}px`; });
      ends.style.left = `${u.over.offsetLeft + u.over.clientWidth + 8}px`;
    }
    const left = u.cursor.left ?? -1;
    if (left < 0) moment.hidden = true;
    else {
      const t = u.posToVal(left, "x"), more = u.over.matches(":hover") ? props.read?.(t) ?? "" : "";
      moment.hidden = false;
      moment.textContent = clock(t * 1000, line.to - line.from < 120) + (more ? "  " + more : "");
      const w = moment.offsetWidth;
      moment.style.left = `${Math.max(0, Math.min(host.clientWidth - w, u.over.offsetLeft + left - w / 2))}px`;
      moment.style.top = `${u.over.offsetTop + h + 2}px`;
    }
  }

  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  first.lines.forEach((l, i) => {
    const c = css(l.color);
    series.push({
      label: l.label, stroke: c, width: l.width ?? 1.5, dash: l.dash, spanGaps: first.stack ?? false,
      fill: first.stack ? alpha(c, i === 0 ? 0.5 : 0) : l.fill ? alpha(c, l.fill) : undefined,
      paths: l.step ? uPlot.paths.stepped!({ align: 1 }) : undefined, 
      // A line that is a single sample would not be seen; dots of a stack are where snapshots were taken.
      points: { size: 4, width: 0, fill: c, show: (u, si) => Boolean(first.stack && u.data[0].length < 60) || known(u.data[si] as Num[]) < 3 },
    });
    if (first.stack && i > 0) bands.push({ series: [i + 1, i], fill: alpha(c, 0.5) });
  });
  const muted = css("--muted"), grid = { stroke: css("--grid"), width: 1 };
  const u = new uPlot({
    ...sizes(),
    padding: [6, () => (wide() ? 150 : 8), 0, 0],
    legend: { show: false },
    cursor: {
      y: false, points: { size: 5, width: 0 }, drag: { x: true, y: false, setScale: false, dist: 5 },
      sync: { key: "heapwright", setSeries: false, scales: ["x", null] as unknown as [string, string] },
    },
    select: { show: true, left: 0, top: 0, width: 0, height: 0 },
    scales: {
      x: { time: true, range: () => { const { line } = get(); return [line.from, line.to]; } },
      y: {
        distr: first.log ? 3 : 1,
        range: (_, low, high) => {
          const r = get().props.range;
          if (r) return r(low, high);
          if (low == null || high == null) return first.log ? [1e-6, 1] : [0, 1];
          return first.log ? [low / 1.5, high * 1.5] : [0, high > 0 ? high * 1.08 : 1];
        },
      },
    },
    axes: [
      { stroke: muted, grid: { show: false }, ticks: { stroke: css("--line"), width: 1, size: 4 }, font: axisFont, size: 24, gap: 2, space: 70, values: timeAxis },
      {
        stroke: muted, ticks: { show: false }, font: axisFont, size: 60,
        // Of a logarithmic scale only the powers of ten.
        grid: first.log ? { ...grid, filter: (_: uPlot, splits: number[]) => splits.map((v) => (Number.isInteger(Math.round(Math.log10(v) * 1e6) / 1e6) ? v : null)) } : grid, gap: 4, space: first.height < 130 ? 24 : 34,
        ...(first.bytes ? { incrs: byteSteps } : {}),
        values: (_, splits) => splits.map((v) => (v === null ? "" : short((first.axis ?? first.format)(v)))),
      },
    ],
    series, bands,
    hooks: {
      drawAxes: [under],
      draw: [over, tell],
      setCursor: [tell],
      setSelect: [(u) => {
        if (u.select.width < 5) return;
        const a = u.posToVal(u.select.left, "x"), b = u.posToVal(u.select.left + u.select.width, "x");
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        get().line.brush(a, b);
      }],
    },
  }, dataOf(first), host);
  host.append(ends, moment);
  moment.hidden = true;
  // A press that does not move is a click: uPlot keeps the click events to itself.
  let pressed = NaN;
  u.over.addEventListener("pointerdown", (e) => { pressed = e.button === 0 ? e.clientX : NaN; });
  u.over.addEventListener("pointerup", (e) => {
    if (!(Math.abs(e.clientX - pressed) < 4)) return;
    const { line, props } = get(), left = e.clientX - u.over.getBoundingClientRect().left;
    const i = nearest(line.ends, u.posToVal(left, "x"));
    if (i >= 0 && Math.abs(u.valToPos(line.ends[i]!, "x") - left) <= (props.reach ?? 6)) line.pick(line.cycles[i]!);
  });
  const resize = new ResizeObserver(() => {
    if (Math.abs(u.width - sizes().width) > 0.5) u.setSize(sizes());
  });
  resize.observe(host);
  return { u, destroy: () => { resize.disconnect(); u.destroy(); ends.remove(); moment.remove(); } };
}

function known(values: readonly Num[]): number {
  let n = 0;
  for (const v of values) if (v != null) n++;
  return n;
}

/** short leaves out the zeros that an axis does not need: 64.0 MiB is 64 MiB. */
function short(s: string): string {
  return s.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

function lastOf(values: readonly Num[] | undefined): Num {
  for (let i = (values?.length ?? 0) - 1; i >= 0; i--) if (values![i] != null) return values![i]!;
  return null;
}

function text(ctx: CanvasRenderingContext2D, s: string, x: number, y: number, c: string, halo: string, r: number): void {
  ctx.lineWidth = 3 * r;
  ctx.lineJoin = "round";
  ctx.strokeStyle = halo;
  ctx.strokeText(s, x, y);
  ctx.fillStyle = c;
  ctx.fillText(s, x, y);
}

const eventNames: Record<string, string> = { started: "started", exited: "ended", setting_changed: "setting changed", oom_kill: "killed: out of memory", lost_cycles: "cycles missed", gap: "not observed" };

export function eventText(e: Event): string {
  const name = eventNames[e.event] ?? e.event;
  return e.event === "setting_changed" && e.text ? e.text : name;
}
