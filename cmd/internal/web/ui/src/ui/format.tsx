// Numbers, times and ranges as people read them. Pure: the same input gives the
// same text; an unknown is "–".
import type { Num, Severity } from "../api/types.ts";

export const unknown = "–";

function known(v: Num | undefined): v is number {
  return v !== null && v !== undefined && Number.isFinite(v);
}

/** sig writes a number with three significant digits, without an exponent. */
function sig(v: number): string {
  const a = Math.abs(v);
  if (a >= 100 || a === 0) return v.toFixed(0);
  if (a >= 10) return v.toFixed(1);
  return v.toFixed(2);
}

/** bytes writes 12.3 MiB. */
export function bytes(v: Num | undefined): string {
  if (!known(v)) return unknown;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0, x = Math.abs(v);
  while (x >= 999.5 && i < units.length - 1) {
    x /= 1024;
    i++;
  }
  return (v < 0 ? "−" : "") + (i === 0 ? x.toFixed(0) : sig(x)) + " " + units[i];
}

/** count writes 1,234 and 1.23 M. */
export function count(v: Num | undefined): string {
  if (!known(v)) return unknown;
  const a = Math.abs(v);
  if (a >= 1e9) return sig(v / 1e9) + " G";
  if (a >= 1e6) return sig(v / 1e6) + " M";
  if (Number.isInteger(v) || a >= 1000) return Math.round(v).toString().replace(/\B(?=(\d{3})+$)/g, ",");
  return sig(v);
}

/** percent writes a ratio (1 is everything) as 12.3 %. */
export function percent(ratio: Num | undefined): string {
  if (!known(ratio)) return unknown;
  const p = ratio * 100, a = Math.abs(p);
  return (a >= 99.95 || a === 0 ? p.toFixed(0) : a >= 10 ? p.toFixed(1) : a >= 0.1 ? p.toFixed(2) : a >= 0.001 ? p.toFixed(3) : "<0.001") + "%";
}

/** seconds writes a duration: 340 µs, 1.25 s, 3 h 20 min. */
export function seconds(v: Num | undefined): string {
  if (!known(v)) return unknown;
  const a = Math.abs(v);
  if (a === 0) return "0 s";
  if (a < 1e-6) return sig(v * 1e9) + " ns";
  if (a < 1e-3) return sig(v * 1e6) + " µs";
  if (a < 1) return sig(v * 1e3) + " ms";
  if (a < 60) return sig(v) + " s";
  const s = Math.round(a), sign = v < 0 ? "−" : "";
  const two = (big: number, small: number, of: string, sub: string) =>
    sign + Math.floor(s / big) + " " + of + (Math.floor((s % big) / small) ? " " + Math.floor((s % big) / small) + " " + sub : "");
  if (s < 3600) return two(60, 1, "min", "s");
  if (s < 86400) return two(3600, 60, "h", "min");
  return two(86400, 3600, "d", "h");
}

/** rate writes bytes per second. */
export function byteRate(v: Num | undefined): string {
  return known(v) ? bytes(v) + "/s" : unknown;
}

/** value writes a number in a unit of the API: bytes, seconds, ratio, percent, cores, count, per_second, ... */
export function value(v: Num | undefined, unit: string): string {
  switch (unit) {
    case "bytes": return bytes(v);
    case "bytes_per_second": case "bytes/s": return byteRate(v);
    case "seconds": case "s": return seconds(v);
    case "ratio": return percent(v);
    case "percent": return known(v) ? sig(v) + "%" : unknown;
    case "cores": return known(v) ? sig(v) + (v === 1 ? " core" : " cores") : unknown;
    case "per_second": case "1/s": return known(v) ? count(v) + "/s" : unknown;
  }
  return count(v);
}

/** gogc writes the GOGC of a process: below 0 is off. */
export function gogc(v: Num | undefined): string {
  return known(v) ? (v < 0 ? "off" : String(v)) : unknown;
}

/** gomemlimit writes a memory limit; the runtime's "none" is 2^63-1. */
export function gomemlimit(v: Num | undefined): string {
  return known(v) ? (v >= 2 ** 62 ? "none" : bytes(v)) : unknown;
}

const pad = (n: number, w = 2) => String(n).padStart(w, "0");

/** day writes 2026-11-21 in the reader's time zone. */
export function day(t: number | string | Date): string {
  const d = new Date(t);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}`;
}

/** clock writes 22:15:03 in the reader's time zone, with ms when asked. */
export function clock(t: number | string | Date, ms = false): string {
  const d = new Date(t);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}` + (ms ? "." + pad(d.getMilliseconds(), 3) : "");
}

/** when writes a moment: the time today, and the day too when it is another. */
export function when(t: number | string | Date | null | undefined, now: number = Date.now()): string {
  if (t === null || t === undefined || t === "") return unknown;
  const d = new Date(t);
  if (Number.isNaN(d.getTime())) return unknown;
  return day(d) === day(now) ? clock(d) : `${day(d)} ${clock(d)}`;
}

/** ago writes how long a moment is past: 3 min ago. */
export function ago(t: number | string | Date | null | undefined, now: number = Date.now()): string {
  if (t === null || t === undefined) return unknown;
  const s = (now - new Date(t).getTime()) / 1000;
  if (!Number.isFinite(s)) return unknown;
  if (s < 1.5 && s > -1.5) return "now";
  if (Math.abs(s) < 60) return s < 0 ? `in ${Math.round(-s)} s` : `${Math.round(s)} s ago`;
  return s < 0 ? "in " + seconds(-s) : seconds(s).replace(/ \d+ (s|min|h)$/, "") + " ago";
}

export const severityMark: Record<Severity, string> = { critical: "▲", warning: "◆", info: "●" };
export const severityRank: Record<Severity, number> = { critical: 3, warning: 2, info: 1 };

/** A stretch of time as the address holds it: RFC 3339, unix seconds or now-15m. */
export interface Range { from: string; to: string }

/** moment reads one end of a range; NaN when it is not understood. ms since the epoch. */
export function moment(text: string, now: number): number {
  const t = text.trim();
  if (t === "now") return now;
  const rel = /^now\s*-\s*(\d+(?:\.\d+)?)(s|m|h|d|w)$/.exec(t);
  if (rel) return now - Number(rel[1]) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 }[rel[2] as "s"]!;
  if (/^\d{9,11}(\.\d+)?$/.test(t)) return Number(t) * 1000;
  if (/^\d{12,14}$/.test(t)) return Number(t);
  if (/^\d{4}-\d\d-\d\d/.test(t)) return new Date(t.includes("T") ? t : t.replace(" ", "T")).getTime();
  return NaN;
}

/** span resolves a range to ms; null when it is not understood or is empty. */
export function span(r: Range, now: number): { from: number; to: number } | null {
  const from = moment(r.from, now), to = moment(r.to, now);
  return Number.isFinite(from) && Number.isFinite(to) && to > from ? { from, to } : null;
}

/** stamp writes ms since the epoch as the address holds it. */
export function stamp(ms: number): string {
  return new Date(Math.round(ms)).toISOString().replace(".000Z", "Z");
}

/**
 * readRange reads a range that somebody pasted: "FROM - TO", "FROM to TO", "FROM/TO"
 * or two lines, an address of this page with from and to, or a length such as 30m.
 */
export function readRange(text: string, now: number): Range | null {
  const t = text.trim();
  const link = /[?&]from=([^&\s#]+)&to=([^&\s#]+)/.exec(t);
  if (link) {
    const p = new URLSearchParams(link[0]!.slice(1)); // it tolerates broken escapes
    const r = { from: p.get("from") ?? "", to: p.get("to") ?? "" };
    return span(r, now) ? r : null;
  }
  if (/^\d+(\.\d+)?[smhdw]$/.test(t)) return { from: "now-" + t, to: "now" };
  for (const cut of [/\s+(?:to|until|–|-|\.\.)\s+/, /\s*\n\s*/, /\//, /\s*,\s*/, /\.\./, /\s+(?=now|\d{4}-)/]) {
    const parts = t.split(cut).filter(Boolean);
    if (parts.length === 2) {
      const r = { from: parts[0]!.trim(), to: parts[1]!.trim() };
      // A bare time of the day at the end belongs to the day of the start.
      if (/^\d\d:\d\d(:\d\d)?$/.test(r.to) && /^\d{4}-\d\d-\d\d/.test(r.from)) r.to = r.from.slice(0, 10) + "T" + r.to;
      if (span(r, now)) return r;
    }
  }
  return null;
}
