// Which stretch of time is shown, from the address.
import { useEffect, useState } from "preact/hooks";
import { moment, span, stamp, type Range } from "../ui/format.tsx";
import { setParams } from "../router.ts";

export const presets = ["5m", "15m", "1h", "6h", "24h", "7d"] as const;

export interface Window {
  range: Range; // as the address has it
  from: number; // ms
  to: number;
  live: boolean; // it ends now
  at: number | null; // a moment that a link points at
}

/** windowOf reads the range, or the surroundings of a moment: ?at=. Without either it is the last quarter of an hour. */
export function windowOf(params: URLSearchParams, now: number): Window {
  const atText = params.get("at"), at = atText ? moment(atText, now) : NaN;
  const range: Range = { from: params.get("from") ?? "", to: params.get("to") ?? "" };
  if (!range.from && !range.to && Number.isFinite(at)) {
    const to = Math.min(at + 10 * 60e3, now);
    range.from = stamp(at - 15 * 60e3);
    range.to = stamp(Math.max(to, at + 60e3));
  }
  range.from ||= "now-15m";
  range.to ||= "now";
  const s = span(range, now) ?? span({ from: "now-15m", to: "now" }, now)!;
  if (!span(range, now)) Object.assign(range, { from: "now-15m", to: "now" });
  return { range, ...s, live: range.to.trim() === "now", at: Number.isFinite(at) ? at : null };
}

/** useNow is the time, that goes on every second while it should. */
export function useNow(on: boolean): number {
  const [now, set] = useState(() => Date.now());
  useEffect(() => {
    if (!on) return;
    set(Date.now());
    const t = setInterval(() => { if (!document.hidden) set(Date.now()); }, 1000);
    return () => clearInterval(t);
  }, [on]);
  return now;
}

const least = 2000; // ms; no shorter stretch is shown

/** show puts a range into the address. */
export function show(from: number, to: number, replace = false): void {
  if (to - from < least) {
    const mid = (from + to) / 2;
    from = mid - least / 2;
    to = mid + least / 2;
  }
  setParams({ from: stamp(from), to: stamp(to), at: null }, replace);
}

/** pan moves by half of what is shown; forward ends at now, and is live there. */
export function pan(w: Window, by: number, now: number): void {
  const d = ((w.to - w.from) / 2) * by;
  if (by > 0 && w.to + d >= now) {
    const s = Math.round((w.to - w.from) / 1000);
    setParams({ from: `now-${s}s`, to: "now", at: null });
  } else show(w.from + d, w.to + d, true);
}

/** compareOf reads the second range; it is as long as the first, and aligned at the start. */
export function compareOf(params: URLSearchParams, w: Window, now: number): { from: number; to: number } | null {
  const text = params.get("with");
  if (!text) return null;
  const ago = /^-(\d+(?:\.\d+)?)(s|m|h|d|w)$/.exec(text); // so long before
  const length = w.to - w.from;
  const from = ago ? w.from - Number(ago[1]) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 }[ago[2] as "s"]! : moment(text, now);
  return Number.isFinite(from) && length > 0 ? { from, to: from + length } : null;
}
