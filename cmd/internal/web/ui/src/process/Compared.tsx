// Two stretches of time side by side, in numbers.
import type { VNode } from "preact";
import { Figure } from "../ui/Chart.tsx";
import { percent, value } from "../ui/format.tsx";
import type { Column } from "../ui/Table.tsx";
import { differences, type Difference, type Measured } from "./data.ts";
import { compareText } from "./TimeBar.tsx";

function change(d: Difference): number | null {
  return d.a === null || d.b === null || d.b === 0 ? null : d.a / d.b - 1;
}

function tone(d: Difference): string {
  const c = change(d);
  // What moves by less than a twentieth is as good as the same.
  if (c === null || Math.abs(c) < 0.05 || d.better === null) return "";
  return c > 0 === (d.better === "more") ? "good" : "bad";
}

function changeText(c: number | null): string {
  if (c === null) return "–";
  return c > 1 ? `×${(c + 1).toFixed(1)}` : (c > 0 ? "+" : c < 0 ? "−" : "±") + percent(Math.abs(c));
}

export function Compared(props: { a: Measured; b: Measured; with: string }): VNode {
  const rows = differences(props.a, props.b);
  const columns: Column<Difference>[] = [
    { key: "name", label: "What", value: (d) => d.name },
    { key: "a", label: "Shown", num: true, value: (d) => d.a, cell: (d) => value(d.a, d.unit) },
    { key: "b", label: compareText(props.with), num: true, value: (d) => d.b, cell: (d) => value(d.b, d.unit) },
    { key: "change", label: "Change", num: true, value: change, cell: (d) => <span class={tone(d)}>{changeText(change(d))}</span> },
  ];
  return (
    <Figure title={`Compared with ${compareText(props.with)}`} table={() => ({ columns, rows })} says="The dotted lines in the charts are the other stretch, from the same left edge."
      about={{ what: "Two stretches of the same length, and what differs between them.", good: "less memory and less GC CPU at the same load.", bad: "differences in what is allocated or in the CPU say that the load was another: then the rest says little.", source: "Means over time; quantiles of pauses over the cycles. One stretch against one other is no proof: heapwright compare makes an experiment of it." }}>
      <dl class="diffs">
        {rows.map((d) => {
          const c = change(d);
          return <div key={d.name}><dt>{d.name}</dt><dd><b>{value(d.a, d.unit)}</b> <span class="note">was {value(d.b, d.unit)}</span> <span class={"n " + tone(d)}>{changeText(c)}</span></dd></div>;
        })}
      </dl>
    </Figure>
  );
}
