// The snapshots of a process as a strip to choose from.
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Snapshot } from "../api/types.ts";
import { bytes, count, when } from "../ui/format.tsx";

const high = 54;
const foot = 10; // below the lowest point

export function says(s: Snapshot): string {
  return [when(s.time), s.heap_in_use_bytes ? bytes(s.heap_in_use_bytes) + " in use" : "", s.goroutines ? count(s.goroutines) + " goroutines" : "", s.reason === "periodic" ? "" : s.reason]
    .filter(Boolean).join(" · ");
}

/** Strip draws the snapshots side by side, each as high as its heap. A click chooses one, with shift the one to compare with. */
export function Strip(props: { list: readonly Snapshot[]; at: Snapshot; base: Snapshot | null; onAt: (s: Snapshot) => void; onBase: (s: Snapshot) => void }): VNode {
  const { list, at, base } = props;
  const [over, setOver] = useState<Snapshot | null>(null);
  const most = Math.max(...list.map((s) => s.heap_in_use_bytes ?? 0), 1);
  const share = (i: number): number => (i + 0.5) / list.length;
  const y = (s: Snapshot): number => high - foot - ((s.heap_in_use_bytes ?? 0) / most) * (high - 2 * foot);
  const under = (e: MouseEvent): Snapshot | null => {
    const r = (e.currentTarget as Element).getBoundingClientRect();
    return list[Math.max(0, Math.min(list.length - 1, Math.floor(((e.clientX - r.left) / r.width) * list.length)))] ?? null;
  };
  const line = list.map((s, i) => (i ? "L" : "M") + (share(i) * 1000).toFixed(1) + " " + y(s).toFixed(1)).join("");
  const bar = (s: Snapshot, kind: string): VNode | null => {
    const i = list.indexOf(s);
    const x = (share(i) * 100).toFixed(2) + "%";
    return i < 0 ? null : <g class={kind}><line x1={x} x2={x} y1={0} y2={high} /><circle cx={x} cy={y(s)} r={5} /></g>;
  };
  const shown = over ?? at;
  return (
    <div class="snapstrip">
      <svg width="100%" height={high} aria-hidden="true"
        onMouseMove={(e) => setOver(under(e))} onMouseLeave={() => setOver(null)}
        onClick={(e) => { const s = under(e); if (s) (e.shiftKey ? props.onBase : props.onAt)(s); }}>
        <svg viewBox={`0 0 1000 ${high}`} width="100%" height={high} preserveAspectRatio="none">
          <path class="area" d={`${line}L${(share(list.length - 1) * 1000).toFixed(1)} ${high}L${(share(0) * 1000).toFixed(1)} ${high}Z`} />
          <path class="line" d={line} />
        </svg>
        {list.length <= 120 && list.map((s, i) => <circle key={s.key} class={s.reason === "periodic" ? "dot" : "dot asked"} cx={(share(i) * 100).toFixed(2) + "%"} cy={y(s)} r={s.reason === "periodic" ? 2 : 3} />)}
        {over && over !== at && over !== base && bar(over, "over")}
        {base && bar(base, "base")}
        {bar(at, "at")}
      </svg>
      <p class="note"><span>{when(list[0]!.time)}</span><span class="here">{says(shown)}</span><span>{when(list[list.length - 1]!.time)}</span></p>
    </div>
  );
}
