// Which stretch of time is shown: lengths, steps, a range that is pasted, and another
// stretch to compare with.
import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { setParams } from "../router.ts";
import { clock, day, readRange, seconds, stamp, when } from "../ui/format.tsx";
import { Pop } from "../ui/Help.tsx";
import { Copy } from "../ui/Copy.tsx";
import { useKeys } from "../ui/keys.ts";
import { pan, presets, type Window } from "./window.ts";

export function TimeBar({ w, params, open, now, up }: { w: Window; params: URLSearchParams; open: boolean; now: number; up: boolean }): VNode {
  const compare = params.get("with");
  const preset = w.live ? w.range.from.replace(/^now-/, "") : "";
  const zoom = (by: number) => {
    const mid = (w.from + w.to) / 2, half = ((w.to - w.from) / 2) * by;
    if (w.live) setParams({ from: `now-${Math.max(2, Math.round((half * 2) / 1000))}s`, to: "now", at: null });
    else setParams({ from: stamp(mid - half), to: stamp(Math.min(mid + half, now)), at: null });
  };
  const live = () => up && setParams(w.live ? { from: stamp(w.from), to: stamp(w.to), at: null } : { from: `now-${Math.round((w.to - w.from) / 1000)}s`, to: "now", at: null });
  useKeys([
    { key: "[", does: "back in time", run: () => pan(w, -1, now) },
    { key: "]", does: "forward in time", run: () => pan(w, 1, now) },
    { key: "-", does: "zoom out", run: () => zoom(2) },
    { key: "+", does: "zoom in", run: () => zoom(0.5) },
    { key: "l", does: "live, or hold", run: live },
  ]);
  // A range that is pasted anywhere on the page is shown.
  useEffect(() => {
    const paste = (e: ClipboardEvent) => {
      if (e.target instanceof HTMLInputElement || e.target instanceof HTMLTextAreaElement) return;
      const r = readRange(e.clipboardData?.getData("text/plain").slice(0, 2000) ?? "", Date.now());
      if (r) setParams({ from: r.from, to: r.to, at: null }, false);
    };
    window.addEventListener("paste", paste);
    return () => window.removeEventListener("paste", paste);
  }, []);
  const same = day(w.from) === day(w.to);
  return (
    <div class="timebar" role="toolbar" aria-label="Time">
      <span class="group">
        {presets.map((p) => <button type="button" key={p} aria-pressed={preset === p} onClick={() => setParams({ from: "now-" + p, to: "now", at: null }, false)}>{p}</button>)}
      </span>
      <span class="group">
        <button type="button" title="Back ( [ )" aria-label="Back in time" onClick={() => pan(w, -1, now)}>‹</button>
        <button type="button" title="Forward ( ] )" aria-label="Forward in time" disabled={w.live} onClick={() => pan(w, 1, now)}>›</button>
        <button type="button" title="Zoom out ( - ); drag over a chart to zoom in" aria-label="Zoom out" onClick={() => zoom(2)}>−</button>
      </span>
      <button type="button" class="livebutton" aria-pressed={w.live} disabled={!up} title={up ? "Follow the process ( l )" : "The process has ended"} onClick={live}><i class={open ? "on" : ""} aria-hidden="true" />Live</button>
      <Pop kind="span" title="Choose or paste a range" label={<>{day(w.from) === day(now) && same ? "" : day(w.from) + " "}{clock(w.from)} – {same ? "" : day(w.to) + " "}{clock(w.to)} <small>{seconds(Math.round((w.to - w.from) / 1000))}</small></>}>
        <RangeForm w={w} now={now} />
      </Pop>
      <Pop kind={"quiet" + (compare ? " on" : "")} title="Compare with another stretch" label={compare ? `Compared with ${compareText(compare)}` : "Compare"}>
        <CompareForm w={w} now={now} compare={compare} />
      </Pop>
      {compare && <button type="button" class="quiet" onClick={() => setParams({ with: null })}>Do not compare</button>}
    </div>
  );
}

export function compareText(t: string): string {
  const m = /^-(\d+(?:\.\d+)?)([smhdw])$/.exec(t);
  if (!m) return when(t);
  const s = Number(m[1]) * { s: 1, m: 60, h: 3600, d: 86400, w: 604800 }[m[2] as "s"]!;
  return s === 86400 ? "a day before" : s === 604800 ? "a week before" : seconds(s) + " before";
}

function RangeForm({ w, now }: { w: Window; now: number }): VNode {
  const [text, set] = useState(""), range = text.trim() ? readRange(text, now) : null;
  const link = () => location.origin + location.pathname + `?from=${stamp(w.from)}&to=${stamp(w.to)}`;
  return (
    <form onSubmit={(e) => {
      e.preventDefault();
      if (range) {
        setParams({ from: range.from, to: range.to, at: null }, false);
        (e.currentTarget.closest("[popover]") as HTMLElement | null)?.hidePopover();
      }
    }}>
      <label for="range"><b>A range</b></label>
      <textarea id="range" rows={2} placeholder={`${stamp(w.from)} - ${stamp(w.to)}`} value={text} onInput={(e) => set(e.currentTarget.value)} />
      <p class={text && !range ? "bad" : "note"}>{text && !range ? "This is not understood as a range." : "Two times (RFC 3339, unix seconds, now-2h), a length (90m), or an address of this page."}</p>
      <div class="row"><button type="submit" class="primary" disabled={!range}>Show</button>
        <Copy label="Copy this range" text={() => `${stamp(w.from)} - ${stamp(w.to)}`} /><Copy label="Copy a link to it" text={link} /></div>
    </form>
  );
}

function CompareForm({ w, now, compare }: { w: Window; now: number; compare: string | null }): VNode {
  const [text, set] = useState(""), length = Math.round((w.to - w.from) / 1000), t = readRange(text, now), at = t ? t.from : text;
  const offer = [[`-${length}s`, "just before"], ["-1h", "an hour before"], ["-1d", "a day before"], ["-1w", "a week before"]] as const;
  const use = (v: string, e: Event) => {
    setParams({ with: v }, false);
    (e.currentTarget as Element).closest<HTMLElement>("[popover]")?.hidePopover();
  };
  return (
    <>
      <h3>Compare with the stretch</h3>
      <div class="choices">{offer.map(([v, name]) => <button type="button" key={v} aria-pressed={compare === v} onClick={(e) => use(v, e)}>{name}</button>)}</div>
      <form onSubmit={(e) => { e.preventDefault(); if (at.trim()) use(at.trim(), e); }}>
        <label>or that begins at <input value={text} placeholder={stamp(w.from - 864e5)} onInput={(e) => set(e.currentTarget.value)} /></label>
      </form>
      <p class="note">It is as long as what is shown, drawn as dotted lines from the same left edge, and put beside it in a table.</p>
    </>
  );
}
