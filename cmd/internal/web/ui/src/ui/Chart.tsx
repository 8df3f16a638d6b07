// The frame that every chart stands in: what it is called, what it says now, what it
// is, and the same data as a table.
import type { ComponentChildren, VNode } from "preact";
import { useState } from "preact/hooks";
import { Help, type About } from "./Help.tsx";
import { Table, type Column } from "./Table.tsx";

export interface Tabular<R> { columns: Column<R>[]; rows: readonly R[] }

/**
 * Figure frames a chart. `says` is one sentence with the current numbers. `table`
 * gives the same data as rows; it is made only when it is looked at.
 */
export function Figure<R>(props: {
  title: string;
  unit?: string;
  says?: ComponentChildren;
  about: About;
  table?: () => Tabular<R>;
  actions?: ComponentChildren;
  id?: string;
  class?: string;
  children: ComponentChildren;
}): VNode {
  const [asTable, set] = useState(false);
  return (
    <section class={"figure " + (props.class ?? "")} id={props.id} aria-label={props.title}>
      <header>
        <h2>{props.title}{props.unit && <small>{props.unit}</small>}</h2>
        {props.says && <p class="says">{props.says}</p>}
        <div class="tools">
          {props.actions}
          {props.table && <button type="button" class="quiet" aria-pressed={asTable} onClick={() => set(!asTable)}>{asTable ? "Chart" : "Table"}</button>}
          <Help of={props.title} about={props.about} />
        </div>
      </header>
      {asTable && props.table ? <AsTable make={props.table} label={props.title} /> : props.children}
    </section>
  );
}

function AsTable<R>(props: { make: () => Tabular<R>; label: string }): VNode {
  const { columns, rows } = props.make();
  return <Table columns={columns} rows={rows} label={props.label} />;
}
