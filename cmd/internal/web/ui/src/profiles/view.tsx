// Profiles of a process: who holds memory, who allocates, where goroutines are; at
// one moment, or as the difference of two.
import type { VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, post, url, useGet } from "../api/client.ts";
import type { Profile, Snapshot } from "../api/types.ts";
import { setParams } from "../router.ts";
import { Figure } from "../ui/Chart.tsx";
import { count, moment, percent, when } from "../ui/format.tsx";
import { useKeys } from "../ui/keys.ts";
import { Empty, Failure, Load, Loading, Stale } from "../ui/State.tsx";
import { Table, type Column } from "../ui/Table.tsx";
import { useTheme } from "../ui/theme.ts";
import { amount, relative, signed } from "./amount.ts";
import { dark, light, mix, type Palette, type Scale } from "./colors.ts";
import { find, functions, invert, layout, matcher, path, search, type Flame, type Row } from "./flame.ts";
import { FlameCanvas, largest } from "./flamecanvas.tsx";
import { Goroutines } from "./goroutines.tsx";
import { has, pick, typeOf, types, type TypeInfo } from "./moments.ts";
import { short } from "./names.ts";
import { says, Strip } from "./strip.tsx";
import "./profiles.css";

interface Snapshots { snapshots: Snapshot[] | null }
type Layout = "flame" | "icicle" | "table" | "groups";

const about = {
  what: "Each box is a function; it stands on the one that called it, and it is as wide as what it and all that it called account for. Wide boxes are where to look. The order from left to right is by size and has nothing to do with time.",
  good: "A few wide boxes that you know: caches, buffers, tables.",
  bad: "In the difference of two moments, a box that grows each time you look.",
  source: "From the runtime's own profiles, read without touching the process. Click a box to see it alone; the line above the picture leads back.",
};

const empty: Snapshot[] = [];

export function View(props: { params: URLSearchParams; process?: string }): VNode {
  const { params, process } = props;
  const list = useGet<Snapshots>(process ? url("snapshots", { process, from: "now-30d", to: "now" }) : null, { every: 15000 });
  if (!process) return <Empty title="Profiles belong to a process">Choose one in the fleet.</Empty>;
  return (
    <div class="profiles">
      <Load of={list} what="the snapshots" rows={3}>
        {(d) => <Snaps process={process} params={params} list={d.snapshots ?? empty} reload={list.reload} />}
      </Load>
    </div>
  );
}

/** Take asks for a snapshot now. */
function Take(props: { process: string; done: () => void }): VNode {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const take = (): void => {
    setBusy(true);
    setError(null);
    post("snapshots", { process: props.process }).then(props.done, (e: unknown) => setError(e instanceof ApiError ? e : new ApiError(String(e), "", 0))).finally(() => setBusy(false));
  };
  return (
    <>
      <button type="button" onClick={take} disabled={busy} title="Reads the goroutines and profiles of the process now. It is stopped for none of it.">{busy ? "Taking a snapshot…" : "Take a snapshot now"}</button>
      {error && <span class="note bad" role="alert">{error.message}{error.hint && ". " + error.hint}</span>}
    </>
  );
}

function Snaps(props: { process: string; params: URLSearchParams; list: Snapshot[]; reload: () => void }): VNode {
  const { process, params, list } = props;
  const taken = (): void => {
    setParams({ at: null });
    props.reload();
  };
  // There may be a thousand, which are not to be made again at each key of a search.
  const [options, baseOptions] = useMemo(() => {
    const all = (): VNode[] => list.slice().reverse().map((s) => <option key={s.key} value={s.key}>{says(s)}</option>);
    return [all(), all()];
  }, [list]);
  const now = Date.now();
  const at = pick(list, params.get("at"), (t) => moment(t, now));
  if (!at) {
    return (
      <Empty title="There is no snapshot of this process yet">
        The agent takes one every few minutes, and when a finding begins. <Take process={process} done={taken} />
      </Empty>
    );
  }
  const named = params.get("base");
  const base = named ? list.find((s) => s.key === named) ?? null : null;
  const i = list.indexOf(at);
  const toAt = (s: Snapshot): void => setParams({ at: s === list[list.length - 1] ? null : s.key, base: s.key === base?.key ? null : base?.key });
  const toBase = (s: Snapshot | null): void => setParams({ at: at.key, base: s && s.key !== at.key ? s.key : null });
  return (
    <>
      <Keys older={() => i > 0 && toAt(list[i - 1]!)} newer={() => i + 1 < list.length && toAt(list[i + 1]!)} />
      <section class="moments" aria-label="Snapshots">
        <Strip list={list} at={at} base={base} onAt={toAt} onBase={toBase} />
        <div class="controls">
          <label class="at"><span>Moment</span>
            <select value={at.key} onChange={(e) => { const s = list.find((x) => x.key === e.currentTarget.value); if (s) toAt(s); }}>{options}</select>
          </label>
          <label class="base"><span>Compared with</span>
            <select value={base?.key ?? ""} onChange={(e) => toBase(list.find((x) => x.key === e.currentTarget.value) ?? null)}>
              <option value="">nothing</option>
              {baseOptions}
            </select>
          </label>
          <span class="quick">
            {i > 0 && base !== list[i - 1] && <button type="button" class="quiet" onClick={() => toBase(list[i - 1]!)}>The one before</button>}
            {i > 1 && base !== list[0] && <button type="button" class="quiet" onClick={() => toBase(list[0]!)}>The oldest</button>}
            {base && <button type="button" class="quiet" onClick={() => setParams({ at: base === list[list.length - 1] ? null : base.key, base: at.key })}>Swap</button>}
          </span>
          <Take process={process} done={taken} />
        </div>
        {named && !base && <p class="note">The snapshot to compare with is not kept any more.</p>}
      </section>
      <Body process={process} params={params} at={at} base={base} />
    </>
  );
}

function Keys(props: { older: () => void; newer: () => void }): null {
  useKeys([
    { key: "[", does: "the snapshot before", run: props.older },
    { key: "]", does: "the snapshot after", run: props.newer },
  ]);
  return null;
}

function Body(props: { process: string; params: URLSearchParams; at: Snapshot; base: Snapshot | null }): VNode {
  const { process, params, at, base } = props;
  const type = typeOf(params.get("type"));
  const choice = params.get("layout") as Layout | null;
  const layout: Layout = choice && ["flame", "icicle", "table", "groups"].includes(choice) ? choice : type.id === "goroutines" ? "groups" : "flame";
  const groups = type.id === "goroutines" && layout === "groups";
  const shapes: [Layout, string][] = [["flame", "Flame graph"], ["icicle", "Icicle"], ["table", "Table"]];
  if (type.id === "goroutines") shapes.unshift(["groups", "Groups"]);
  return (
    <>
      <div class="controls">
        <div class="group" role="group" aria-label="What is profiled">
          {types.map((t) => (
            <button key={t.id} type="button" aria-pressed={t.id === type.id} class={has(at, t) ? "" : "missing"} title={has(at, t) ? t.what : t.missing}
              onClick={() => setParams({ type: t.id === types[0]!.id ? null : t.id, zoom: null, layout: layout === "groups" ? null : choice })}>{t.label}</button>
          ))}
        </div>
        <div class="group" role="group" aria-label="How it is drawn">
          {shapes.map(([id, label]) => <button key={id} type="button" aria-pressed={id === layout} onClick={() => setParams({ layout: id === "flame" && type.id !== "goroutines" ? null : id })}>{label}</button>)}
        </div>
      </div>
      {!has(at, type) ? <Empty title={`No profile: ${type.label.toLowerCase()}`}>{type.missing}</Empty>
        : groups ? <Goroutines key={base ? "compared" : ""} process={process} params={params} at={at} base={base} />
        : <Fetched key={type.id + (base ? " compared" : "")} process={process} params={params} type={type} at={at} base={base} layout={layout} />}
    </>
  );
}

/** Fetched asks for a profile. Going from one moment to the next, the picture stays until the next is there. */
function Fetched(props: { process: string; params: URLSearchParams; type: TypeInfo; at: Snapshot; base: Snapshot | null; layout: Layout }): VNode {
  const { process, type, at, base } = props;
  const profile = useGet<Profile>(url("profile", { process, at: at.key, base: base?.key, type: type.id }), { keep: true });
  const { data, error } = profile;
  if (data === null) return error ? <Failure error={error} retry={profile.reload} what="the profile" /> : <Loading what="the profile" rows={8} />;
  return (
    <div class={profile.loading ? "busy" : ""}>
      {error && <Stale at={profile.at} error={error} retry={profile.reload} />}
      <Tree {...props} profile={data} pprof={url("profile", { process, at: at.key, type: type.id, format: "pprof" })} />
    </div>
  );
}

function Tree(props: { profile: Profile; params: URLSearchParams; type: TypeInfo; at: Snapshot; base: Snapshot | null; layout: Layout; pprof: string }): VNode {
  const { profile, params, type, base } = props;
  const inverted = params.get("invert") === "1";
  const diff = base !== null && !type.rises;
  const f = useMemo(() => layout(inverted ? invert(profile.root) : profile.root, diff), [profile, inverted, diff]);
  const { unit } = profile;
  const zoom = find(f, params.get("zoom"));
  const text = params.get("q") ?? "";
  const m = useMemo(() => matcher(text), [text]);
  const found = useMemo(() => (typeof m === "function" ? search(f, m, zoom) : null), [f, m, zoom]);
  const scale: Scale = params.get("scale") === "relative" ? "relative" : "absolute";
  const palette = useTheme() === "dark" ? dark : light;
  const [picked, setPicked] = useState(-1);
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => setPicked(-1), [f]);
  const up = props.layout !== "icicle";
  const goTo = (i: number): void => setParams({ zoom: i === 0 ? null : f.key[i]! }, false);
  const toggle = (): void => setParams({ invert: inverted ? null : 1, zoom: null });
  useKeys([
    { key: "/", does: "search in the profile", run: () => box.current?.focus() },
    { key: "i", does: "turn the profile over: callers or callees first", run: toggle },
    { key: "0", does: "show the whole profile", run: () => goTo(0) },
  ]);
  const total = diff ? Math.max(f.total, f.baseTotal) : f.total;
  const head = (
    <>
      {amount(profile.total, unit)}{unit === "objects" || unit === "goroutines" ? " " + unit : ""} {word(type, base !== null && !diff)}
      {diff && <>, <b>{signed(profile.total - (profile.base_total ?? 0), unit)}</b> {relative(profile.total, profile.base_total ?? 0)} since {when(base.time)}</>}
      {base !== null && !diff && <> between {when(base.time)} and {when(props.at.time)}</>}
      {profile.truncated ? "; small boxes are left out" : ""}
    </>
  );
  const tools = <a class="button quiet" href={props.pprof} download title="For go tool pprof, speedscope, and whatever else reads pprof files">Download pprof</a>;
  const named = zoom === 0 ? null : short(f.nodes[zoom]!.name);
  return (
    <Figure title={type.label} about={{ ...about, what: <>{type.what} {about.what}</> }} says={head} actions={tools}>
      <div class="controls">
        <label class="find"><span class="away">Search for a function</span>
          <input ref={box} type="search" placeholder="Search: a part of a name, or /expression/" value={text} spellcheck={false}
            aria-invalid={typeof m === "string"}
            onInput={(e) => setParams({ q: e.currentTarget.value })}
            onKeyDown={(e) => { if (e.key === "Enter" && found && found.first >= 0) setPicked(found.first); }} />
        </label>
        <label class="tick"><input type="checkbox" checked={inverted} onChange={toggle} /> Callers below (invert)</label>
        <span class="note" role="status">
          {typeof m === "string" ? "Not an expression: " + m
            : found ? (found.count === 0 ? "Nothing matches" : `${count(found.count)} ${found.count === 1 ? "box matches" : "boxes match"}: ${amount(found.value, unit)}, ${percent(total > 0 ? found.value / total : 0)} of all${diff ? ", " + signed(found.value - found.base, unit) : ""}`)
            : ""}
        </span>
      </div>
      {zoom !== 0 && <Crumbs flame={f} zoom={zoom} go={goTo} />}
      {f.total <= 0 && f.baseTotal <= 0 ? <Empty title="Nothing in this profile">Either there is none of it, or too little was sampled.</Empty>
        : props.layout === "table" ? <Functions flame={f} zoom={zoom} unit={unit} diff={diff} match={typeof m === "function" ? m : null} params={params} />
        : (
          <>
            <FlameCanvas flame={f} zoom={zoom} up={up} hits={found && found.count > 0 ? found.hits : null} scale={scale} palette={palette} picked={picked}
              label={`${type.label}${named ? " below " + named : ""}: ${amount(f.total, unit)} in ${f.count} boxes. Arrow keys walk, enter zooms, escape goes back. The table has the same numbers.`}
              onPick={setPicked} onZoom={goTo} onReset={() => goTo(0)} />
            <Detail flame={f} i={picked < 0 || picked >= f.count ? zoom : picked} unit={unit} />
            <Legend diff={diff} scale={scale} palette={palette} most={diff ? largest(f) : 0} unit={unit} />
          </>
        )}
    </Figure>
  );
}

function word(t: TypeInfo, between: boolean): string {
  switch (t.id) {
    case "inuse_space": case "inuse_objects": return "in use";
    case "alloc_space": case "alloc_objects": return between ? "allocated" : "allocated since the start";
    case "block": case "mutex": return between ? "waited" : "waited since the start";
    case "goroutines": return "";
  }
}

function Crumbs(props: { flame: Flame; zoom: number; go: (i: number) => void }): VNode {
  const way = path(props.flame, props.zoom);
  // A deep path is shown by its ends.
  const shown = way.length > 7 ? [way[0]!, -1, ...way.slice(-5)] : way;
  return (
    <nav class="crumbs" aria-label="From the root to what is shown">
      <ol>
        {shown.map((i) => (
          <li key={i}>
            {i < 0 ? "…" : i === props.zoom ? <b aria-current="true">{short(props.flame.nodes[i]!.name)}</b>
              : <button type="button" class="link" title={props.flame.nodes[i]!.name} onClick={() => props.go(i)}>{i === 0 ? "all" : short(props.flame.nodes[i]!.name)}</button>}
          </li>
        ))}
      </ol>
      <button type="button" class="quiet" onClick={() => props.go(0)}>Show all</button>
    </nav>
  );
}

/** Detail says what a box is. */
function Detail(props: { flame: Flame; i: number; unit: string }): VNode {
  const { flame: f, i, unit } = props;
  const n = f.nodes[i]!;
  const self = f.self[i]!;
  return (
    <div class="detail" aria-live="polite">
      <p class="what"><code>{i === 0 ? "all" : n.name}</code>{n.file && <span class="note">{n.file.replace(/^.*\/(?=[^/]*\/[^/]*$)/, "…/")}{n.line ? ":" + n.line : ""}</span>}</p>
      <dl>
        <div><dt>With what it calls</dt><dd>{amount(n.value, unit)} <small>{percent(f.total > 0 ? n.value / f.total : 0)}</small></dd></div>
        <div><dt>Itself</dt><dd>{amount(self, unit)} <small>{percent(f.total > 0 ? self / f.total : 0)}</small></dd></div>
        {f.diff && <div><dt>Before</dt><dd>{amount(n.base ?? 0, unit)}</dd></div>}
        {f.diff && <div><dt>Change</dt><dd>{signed(n.value - (n.base ?? 0), unit)} <small>{relative(n.value, n.base ?? 0)}</small></dd></div>}
      </dl>
    </div>
  );
}

function Legend(props: { diff: boolean; scale: Scale; palette: Palette; most: number; unit: string }): VNode {
  if (!props.diff) return <p class="legend note">A colour for each package; grey is the runtime. Click a box to see it alone.</p>;
  const steps = Array.from({ length: 21 }, (_, i) => i / 10 - 1);
  const rel = props.scale === "relative";
  return (
    <div class="legend note">
      <span>{rel ? "all gone" : signed(-props.most, props.unit)}</span>
      <svg width="210" height="12" aria-hidden="true">{steps.map((t, i) => <rect key={i} x={i * 10} width="10" height="12" fill={mix(props.palette, t)} />)}</svg>
      <span>{rel ? "twice as much, or new" : signed(props.most, props.unit)}</span>
      <span class="group" role="group" aria-label="What the colour stands for">
        <button type="button" aria-pressed={!rel} onClick={() => setParams({ scale: null })}>Amount</button>
        <button type="button" aria-pressed={rel} onClick={() => setParams({ scale: "relative" })}>Share</button>
      </span>
      <span>Blue shrank, orange grew; a box is as wide as the larger of the two.</span>
    </div>
  );
}

function Functions(props: { flame: Flame; zoom: number; unit: string; diff: boolean; match: ((n: string) => boolean) | null; params: URLSearchParams }): VNode {
  const { flame: f, unit, diff, match } = props;
  const all = useMemo(() => functions(f, props.zoom), [f, props.zoom]);
  const rows = useMemo(() => (match ? all.filter((r) => match(r.name)) : all), [all, match]);
  const columns = useMemo((): Column<Row>[] => {
    const of = f.total > 0 ? f.total : 1;
    const num = (key: string, label: string, title: string, value: (r: Row) => number, show: (r: Row) => string): Column<Row> => ({ key, label, title, num: true, value, cell: show });
    const out: Column<Row>[] = [
      num("flat", "Itself", "By the function itself", (r) => r.flat, (r) => amount(r.flat, unit)),
      num("flatp", "%", "Share of all", (r) => r.flat / of, (r) => percent(r.flat / of)),
      num("cum", "With calls", "With what it calls", (r) => r.cum, (r) => amount(r.cum, unit)),
      num("cump", "%", "Share of all", (r) => r.cum / of, (r) => percent(r.cum / of)),
    ];
    if (diff) {
      out.push(
        num("dflat", "Change itself", "Against the moment before", (r) => r.flat - r.flatBase, (r) => signed(r.flat - r.flatBase, unit)),
        num("dcum", "Change with calls", "Against the moment before", (r) => r.cum - r.cumBase, (r) => signed(r.cum - r.cumBase, unit)),
        { key: "rel", label: "Change %", title: "Change with calls, relative to before", num: true, value: (r) => (r.cumBase > 0 ? r.cum / r.cumBase - 1 : null), cell: (r) => relative(r.cum, r.cumBase) || "±0" },
      );
    }
    out.push({
      key: "name", label: "Function", value: (r) => r.name,
      cell: (r) => <button type="button" class="link func" title={"Show in the flame graph: " + r.name} onClick={() => setParams({ layout: null, q: r.name }, false)}>{short(r.name)}</button>,
    });
    return out;
  }, [f, unit, diff]);
  return <Table columns={columns} rows={rows} label="Functions of the profile" limit={200} rowKey={(r) => r.name}
    sort={props.params.get("sort") ?? (diff ? "-dcum" : "-flat")} onSort={(s) => setParams({ sort: s })} />;
}
