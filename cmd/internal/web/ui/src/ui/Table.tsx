// A table of data: it sorts, copies and stays readable on a narrow screen.
import type { ComponentChildren, VNode } from "preact";
import { useMemo, useState } from "preact/hooks";
import { Copy } from "./Copy.tsx";

export interface Column<R> {
  key: string;
  label: string;
  title?: string; // what the column is
  num?: boolean; // numbers stand to the right
  /** value is what sorts and what is copied; null is unknown. */
  value: (row: R) => string | number | null;
  /** cell is what is shown, the value without it. */
  cell?: (row: R) => ComponentChildren;
}

/** tsv writes rows as a spreadsheet and an editor take them. */
export function tsv<R>(columns: Column<R>[], rows: readonly R[]): string {
  const clean = (v: string | number | null) => (v === null ? "" : String(v).replace(/[\t\r\n]+/g, " "));
  return [columns.map((c) => clean(c.label)), ...rows.map((r) => columns.map((c) => clean(c.value(r))))].map((r) => r.join("\t")).join("\n") + "\n";
}

/** sorted returns rows by a column; unknown ones come last in both directions. */
export function sorted<R>(rows: readonly R[], column: Column<R> | undefined, down: boolean): R[] {
  const out = rows.slice();
  if (!column) return out;
  return out.sort((a, b) => {
    const x = column.value(a), y = column.value(b);
    if (x === null || y === null) return x === y ? 0 : x === null ? 1 : -1;
    const c = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
    return down ? -c : c;
  });
}

/**
 * Table shows rows. Sorting is its own unless `sort` and `onSort` are given, which
 * hold it in the address: a key, with "-" before it for falling.
 */
export function Table<R>(props: {
  columns: Column<R>[];
  rows: readonly R[];
  label: string; // for those who hear the page
  sort?: string;
  onSort?: (sort: string) => void;
  copy?: boolean;
  limit?: number; // rows that are drawn; a button shows the rest
  rowKey?: (row: R, i: number) => string | number;
  rowClass?: (row: R) => string | undefined;
}): VNode {
  const [own, setOwn] = useState("");
  const [all, setAll] = useState(false);
  const sort = props.onSort ? props.sort ?? "" : own;
  const key = sort.replace(/^-/, ""), down = sort.startsWith("-");
  const rows = useMemo(() => sorted(props.rows, props.columns.find((c) => c.key === key), down), [props.rows, props.columns, key, down]);
  const limit = all ? Infinity : props.limit ?? 500;
  const by = (c: Column<R>) => {
    // Numbers fall at first: the largest is what one looks for.
    const next = key === c.key ? (down ? c.key : "-" + c.key) : (c.num ? "-" : "") + c.key;
    (props.onSort ?? setOwn)(next);
  };
  return (
    <div class="tablebox">
      <div class="scroll" tabIndex={0} role="region" aria-label={props.label}>
        <table>
          <thead>
            <tr>
              {props.columns.map((c) => (
                <th key={c.key} class={c.num ? "n" : undefined} scope="col" aria-sort={key === c.key ? (down ? "descending" : "ascending") : undefined}>
                  <button type="button" class="sort" title={c.title} onClick={() => by(c)}>{c.label}<i aria-hidden="true">{key === c.key ? (down ? "↓" : "↑") : ""}</i></button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, limit).map((r, i) => (
              <tr key={props.rowKey ? props.rowKey(r, i) : i} class={props.rowClass?.(r)}>
                {props.columns.map((c) => <td key={c.key} class={c.num ? "n" : undefined} data-h={c.label}>{c.cell ? c.cell(r) : c.value(r) ?? "–"}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {(rows.length > limit || props.copy !== false) && (
        <p class="tablefoot">
          {rows.length > limit && <button type="button" class="quiet" onClick={() => setAll(true)}>Show all {rows.length} rows</button>}
          {props.copy !== false && <Copy label="Copy table" text={() => tsv(props.columns, rows)} />}
        </p>
      )}
    </div>
  );
}
