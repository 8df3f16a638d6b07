// The agent's own state in words: what it is, and what to do about it. Pure: the
// document of /status may have more than is known here, and all of it is shown.
import { bytes, byteRate, count, percent, seconds, unknown, when } from "./ui/format.tsx";

export type Value = string | number | boolean | null | Value[] | { [key: string]: Value };
export type Part = { [key: string]: Value };

const unit = /_(ns|total)$/;

const capital = (s: string): string => s.charAt(0).toUpperCase() + s.slice(1);

/** label writes a key for people: rss_bytes is RSS. */
export function label(key: string): string {
  const t = key.replace(unit, "").replace(/_(bytes_per_second|per_second|seconds|bytes|ratio)$/, "").replaceAll("_", " ").trim();
  if (t === "" || t === "max") return capital(key.replaceAll("_", " "));
  return capital(t.replace(/\b(gc|rss|cpu|id|pid|gogc|gomemlimit|gomaxprocs|url|oom)\b/g, (w) => w.toUpperCase()).replace(/\bwal\b/, "log"));
}

/** text writes a value; its key has the unit. */
export function text(key: string, v: Value): string {
  if (v === null || v === "" || (typeof v === "string" && v.startsWith("0001-01-01"))) return unknown;
  if (typeof v === "boolean") return v ? "yes" : "no";
  if (typeof v === "number") {
    if (/_ns$/.test(key)) return seconds(v / 1e9);
    if (/bytes_per_second$/.test(key)) return byteRate(v);
    if (/(^|_)bytes(_|$)/.test(key)) return v >= 2 ** 62 ? "none" : /^max_|_max_/.test(key) && v === 0 ? "no bound" : bytes(v);
    if (/_seconds$/.test(key)) return seconds(v);
    if (/_ratio$/.test(key)) return percent(v);
    if (/_percent$/.test(key)) return v < 0 ? "off" : count(v);
    return count(v);
  }
  if (typeof v === "string") return /^\d{4}-\d\d-\d\dT/.test(v) ? when(v) : v;
  return JSON.stringify(v);
}

const isPart = (v: Value | undefined): v is Part => typeof v === "object" && v !== null && !Array.isArray(v);
export const num = (v: Value | undefined): number | null => (typeof v === "number" ? v : null);
const str = (v: Value | undefined): string => (typeof v === "string" ? v : "");

/** flat lists the plain values of a part; those of parts inside have both keys. */
export function flat(p: Part, before = ""): [string, Value][] {
  const out: [string, Value][] = [];
  for (const [k, v] of Object.entries(p)) {
    if (Array.isArray(v)) continue;
    if (isPart(v)) out.push(...flat(v, before + k + "_"));
    else out.push([before + k, v]);
  }
  return out;
}

/** facts are the plain values of a part with their labels; where two would have the same, the key says which is which. */
export function facts(p: Part): [string, string][] {
  const all = flat(p);
  const labels = all.map(([k]) => label(k));
  return all.map(([k, v], i) => [labels.filter((l) => l === labels[i]).length > 1 ? capital(k.replaceAll("_", " ")) : labels[i]!, text(k, v)]);
}

/** behind is how far a forwarder lags, in seconds. */
export function behind(f: Part): number | null {
  const ns = num(f.behind_ns);
  return num(f.behind_seconds) ?? (ns === null ? null : ns / 1e9);
}

/** A Hint is something that somebody should do, or know. */
export interface Hint { bad: boolean; text: string; todo: string }

/** hints says what is wrong with the agent, and what to do. */
export function hints(d: Part, unseen: number): Hint[] {
  const out: Hint[] = [];
  const agent = isPart(d.agent) ? d.agent : {};
  const problem = str(agent.last_problem);
  if (problem) out.push({ bad: false, text: `The last problem, ${text("problem_at", agent.problem_at ?? null)}: ${problem}.`, todo: "The agent goes on by itself; its log has more." });
  const store = isPart(d.store) ? d.store : {};
  const dropped = isPart(store.dropped) ? flat(store.dropped).filter(([k, v]) => /failed|full/.test(k) && (num(v) ?? 0) > 0) : [];
  if (dropped.length > 0) out.push({ bad: true, text: "Samples could not be stored.", todo: "Is the disk of the data directory full? Make room, or lower storage retention; it recovers by itself." });
  const free = num(store.free_bytes);
  if (free !== null && free >= 0 && free < 512 * 1048576) out.push({ bad: true, text: `Only ${bytes(free)} are free where the history is kept.`, todo: "Make room, or bound the store in the configuration." });
  for (const f of Array.isArray(d.forward) ? d.forward.filter(isPart) : []) {
    const lag = behind(f), error = str(f.last_error);
    const name = str(f.name) || str(f.kind) || "a destination";
    if (lag !== null && lag > 120) out.push({ bad: true, text: `${name} is ${seconds(lag)} behind${error ? ": " + error : ""}.`, todo: "Nothing is lost while the store keeps it: it is sent when the other side takes it again. Check its address and whether it runs." });
    const lost = num(f.dropped_total) ?? num(f.dropped) ?? 0;
    if (lost > 0) out.push({ bad: false, text: `${name} did not want ${count(lost)} samples.`, todo: "The other side refused them for good (too old, or out of order for it); its log says why." });
  }
  const vault = isPart(d.vault) ? d.vault : {};
  const used = num(vault.bytes), most = num(vault.max_bytes);
  if (used !== null && most !== null && most > 0 && used > 0.95 * most) out.push({ bad: false, text: "The room for snapshots is used up: old ones go early.", todo: "Raise snapshots.max_bytes if older ones matter." });
  const found = isPart(d.discovery) ? d.discovery : {};
  const many = num(found.too_many);
  if (many) out.push({ bad: true, text: `${count(many)} processes are not watched: there are more than the agent may watch.`, todo: "Raise max_processes, or leave out some with patterns." });
  const late = num(agent.late_rounds), samples = num(agent.samples);
  if (late && samples && late > samples / 100) out.push({ bad: false, text: "The agent is often late.", todo: "The machine is busy, or there are many processes: lower the sampling rate." });
  if (unseen > 0) out.push({ bad: false, text: `${count(unseen)} ${unseen === 1 ? "process" : "processes"} cannot be looked into.`, todo: "The list below says why, and what helps." });
  return out;
}
