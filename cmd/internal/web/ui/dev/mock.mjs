// A made-up agent for working on the pages: every endpoint of the API, deterministic
// data, and the content security policy of the real server. No dependencies.
//
//	node dev/mock.mjs [--port 8080] [--processes 200] [--break ENDPOINT] [--operator]
import { createServer } from "node:http";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const repo = join(here, "../../../../..");
const arg = (name, def) => { const i = process.argv.indexOf("--" + name); return i < 0 ? def : process.argv[i + 1] ?? true; };
const port = Number(arg("port", 8080)), count = Number(arg("processes", 200)), broken = arg("break", ""), operator = process.argv.includes("--operator");
const MiB = 1 << 20, GiB = 1 << 30, none = 9223372036854775807;
const begun = Date.now() / 1000;

function hash(...parts) {
  let h = 2166136261;
  for (const c of parts.join("/")) h = Math.imul(h ^ c.charCodeAt(0), 16777619);
  h ^= h >>> 15; h = Math.imul(h, 0x85ebca6b); h ^= h >>> 13; h = Math.imul(h, 0xc2b2ae35); h ^= h >>> 16;
  return h >>> 0;
}
const rnd = (...p) => hash(...p) / 4294967296;
const normal = (...p) => Math.sqrt(-2 * Math.log(rnd(...p, "a") + 1e-9)) * Math.cos(2 * Math.PI * rnd(...p, "b"));
// Smooth noise around 0, about ±1.
const drift = (seed, t, period) => { const x = t / period, i = Math.floor(x), f = x - i, s = f * f * (3 - 2 * f); return (rnd(seed, i) * (1 - s) + rnd(seed, i + 1) * s) * 2 - 1; };
const iso = (s) => (s === null ? null : new Date(s * 1000).toISOString());
const round = (v, d = 6) => (v === null || !Number.isFinite(v) ? null : Number(v.toPrecision(d)));
const human = (v) => { let i = 0; while (v >= 1000 && i < 4) { v /= 1024; i++; } return (v >= 100 || i === 0 ? v.toFixed(0) : v.toFixed(1)) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][i]; };

// ---- the processes

const names = ["nats-server", "etcd", "caddy", "prometheus", "orders-api", "billing", "gateway", "minio", "vault", "consul", "traefik", "imgproxy", "search-indexer", "mailer", "session-store", "ledger", "auth", "webhook-relay", "grafana", "loki", "tempo", "coredns", "registry", "node-exporter", "scheduler", "worker", "thumbnailer", "feed-builder", "rate-limiter", "audit-sink"];
const kinds = ["limit", "leak", "storm", "goroutines", "throttled", "ended", "restarted", "error", "calm", "calm", "idle", "calm", "pauses", "calm"];
const procs = [];
for (let i = 0; i < count; i++) {
  const name = names[i % names.length], k = Math.floor(i / names.length);
  const id = k === 0 ? name : `${name}:${k + 1}`;
  const kind = i < 8 ? kinds[i] : rnd("kind", i) < 0.85 ? "calm" : kinds[hash("k", i) % kinds.length];
  const size = Math.exp(Math.log(12) + rnd("size", i) * Math.log(80)) * MiB * (i < 6 ? 1.5 : 1);
  const gogc = kind === "storm" ? 50 : rnd("gogc", i) < 0.12 ? 200 : 100;
  const contained = kind === "limit" || kind === "leak" || kind === "storm" || kind === "throttled" || rnd("cont", i) < 0.7;
  const peak = size * (1 + gogc / 100) * 1.15 + 30 * MiB;
  const limit = contained ? Math.max(64, Math.ceil(peak / MiB * (kind === "limit" ? 1.02 : kind === "storm" ? 1.1 : 1.3 + 2 * rnd("lim", i)) / 64) * 64) * MiB : null;
  const period = kind === "idle" ? 110 : kind === "storm" ? 0.7 : 2 + 22 * rnd("per", i) ** 2;
  procs.push({
    id, name, i, kind, size, gogc, limit, period, pid: 1200 + i * 37,
    start: begun - (kind === "restarted" ? 1900 : 86400 * (0.3 + 9 * rnd("st", i))), ended: kind === "ended" ? begun - 640 : null,
    lives: kind === "restarted" ? 4 : rnd("lv", i) < 0.1 ? 2 : 1, memlimit: rnd("ml", i) < 0.3 && limit && kind !== "limit" ? Math.floor(limit * 0.9) : none,
    procs: [2, 4, 4, 8, 16][hash("gm", i) % 5], cores: 0.02 + 1.5 * rnd("cpu", i) ** 4, go: ["go1.26.2", "go1.26.1", "go1.25.6", "go1.24.11"][hash("go", i) % 4],
    goroutines: 12 + Math.floor(900 * rnd("gr", i) ** 3),
  });
}
const byID = new Map(procs.map((p) => [p.id, p]));

const alive = (p, t) => t >= p.start - (p.lives > 1 ? 86400 : 0) && (p.ended === null || t <= p.ended) && !(p.kind === "restarted" && t > p.start - 6 && t < p.start);
const lifeStart = (p, t) => (p.kind === "restarted" ? (t >= p.start ? p.start : p.start - 5400) : p.start);
function marked(p, t) {
  let live = p.size * (1 + 0.08 * drift(p.id + "L", t, 900) + 0.03 * drift(p.id + "l", t, 70));
  if (p.kind === "leak") live *= 0.45 + 0.55 * Math.min(1.4, Math.max(0, (t - (begun - 6000)) / 6000));
  if (p.kind === "restarted") live *= Math.min(1, 0.15 + (t - lifeStart(p, t)) / 1500);
  if (p.kind === "storm" && t > begun - 1500) live *= 1.25;
  return live;
}
const goal = (p, t) => Math.max(4 * MiB, Math.min(marked(p, t) * (1 + p.gogc / 100), p.memlimit === none ? Infinity : Math.max(p.memlimit * 0.86, marked(p, t) * 1.08)));
const storming = (p, t) => p.kind === "storm" && t > begun - 1500;
function sampleAt(p, t) {
  if (!alive(p, t) || p.kind === "error") return null;
  const ph = t / p.period, n = Math.floor(ph), at = n * p.period, f = ph - n, m = marked(p, at), g = goal(p, at);
  const live = m + (g * 0.985 - m) * f, top = Math.max(goal(p, at - p.period), g, goal(p, at - 3 * p.period));
  const rss = top * 1.06 + 14 * MiB + 5 * MiB * drift(p.id + "r", t, 200) + (p.kind === "goroutines" ? grow(p, t) * 3000 : 0);
  const gc = storming(p, t) ? 0.31 + 0.05 * drift(p.id + "g", t, 8) : Math.max(0.0004, (0.008 + 0.05 * rnd("gc", p.i)) * (1 + 0.4 * drift(p.id + "g", t, 30)) * (p.kind === "idle" ? 0.02 : 1));
  const burst = Math.max(0, drift(p.id + "b", t, 45) - 0.55) * 2;
  return {
    live, goal: g, marked: m, rss, limit: p.limit, usage: p.limit ? Math.min(p.limit * 0.999, rss + 4 * MiB) : null, gc, assist: storming(p, t) ? gc * 0.35 : gc * 0.04 * burst,
    cpu: p.cores * (1 + 0.35 * drift(p.id + "c", t, 25)) * (storming(p, t) ? 1.6 : 1), alloc: (g - m) / p.period, goroutines: Math.round(p.goroutines * (1 + 0.1 * drift(p.id + "q", t, 40)) + grow(p, t)), cycles: 1 / p.period, burst,
    throttled: p.kind === "throttled" ? Math.max(0, 0.12 + 0.2 * drift(p.id + "t", t, 20)) : 0, memstall: storming(p, t) ? 0.02 : 0, cpustall: 0.004 + 0.05 * burst,
  };
}
const grow = (p, t) => (p.kind === "goroutines" ? Math.max(0, (t - (begun - 5000)) * 1.4) : 0);
function cycleOf(p, n) {
  const end = n * p.period, before = end - p.period;
  if (!alive(p, end) || p.kind === "error") return null;
  const m = marked(p, end), g = goal(p, before), mark = (0.0004 + m / (1.4 * GiB)) * (1 + 0.25 * rnd(p.id, n, "m")) * (storming(p, end) ? 2.2 : 1);
  let pause = Math.exp(Math.log(0.00009) + 0.55 * normal(p.id, n, "p"));
  if (rnd(p.id, n, "out") < (p.kind === "pauses" ? 0.06 : 0.008)) pause *= 20 + 60 * rnd(p.id, n, "big");
  const term = pause * (0.35 + 0.3 * rnd(p.id, n, "t")), s = sampleAt(p, end) ?? { burst: 0 }, assist = mark * p.procs * (storming(p, end) ? 0.3 : 0.02 * s.burst);
  const start = g * (0.9 + 0.03 * rnd(p.id, n, "s"));
  const detail = p.period > 0.4 || n % 2 === 0;
  const d = (v) => (detail ? round(v) : null);
  return {
    n: n - Math.floor(lifeStart(p, end) / p.period), end: iso(end), pause_seconds: round(pause), sweep_termination_seconds: d(pause - term), mark_seconds: d(mark), mark_termination_seconds: d(term),
    assist_cpu_seconds: d(assist), dedicated_cpu_seconds: d(mark * Math.max(1, p.procs * 0.25)), fractional_cpu_seconds: d(0), idle_cpu_seconds: d(mark * p.procs * 0.3 * rnd(p.id, n, "i")),
    heap_start_bytes: d(Math.round(start)), heap_end_bytes: d(Math.round(start * (1.01 + 0.04 * rnd(p.id, n, "e")))), heap_marked_bytes: d(Math.round(m)), heap_goal_bytes: d(Math.round(g)),
    stack_scan_bytes: d(p.goroutines * 2400), globals_scan_bytes: d(480000), forced: rnd(p.id, n, "f") < 0.004, procs: detail ? p.procs : null,
  };
}

// ---- findings

function ev(name, value, unit, source, text) { return { name, value, unit, source, text: text ?? (unit === "bytes" ? human(value) : unit === "ratio" ? (value * 100).toFixed(1) + "%" : unit === "bytes_per_second" ? human(value) + "/s" : String(round(value, 3))) }; }
const site = (func, file, line, role, text) => ({ func, file, line, role, text });
function findingsOf(p) {
  const s = sampleAt(p, p.ended ?? begun), out = [];
  if (!s) return out;
  const f = (id, severity, title, evidence, cause, remedy, sites) => out.push({ id, severity, confidence: "high", confidence_reason: "6 of 6 windows agree", title, evidence, cause, remedy, ...(sites ? { sites } : {}) });
  if (p.kind === "limit") f("HW1001", "critical", "The container has a memory limit and GOMEMLIMIT is not set", [ev("container_limit_bytes", p.limit, "bytes", "cgroup"), ev("projected_peak_bytes", s.goal * 1.12 + 40 * MiB, "bytes", "remote"), ev("heap_goal_bytes", s.goal, "bytes", "remote"), ev("outside_bytes", 14 * MiB, "bytes", "proc")],
    "The runtime sizes the heap by GOGC alone: at the next rise of the live heap the goal passes what the container can hold, and the kernel kills the process although half of its heap is garbage.", `Set GOMEMLIMIT=${Math.floor(p.limit / MiB * 0.9)}MiB in the environment of the container. Leave GOGC as it is.`);
  if (p.kind === "leak") f("HW3001", "warning", "The live heap rises from cycle to cycle", [ev("heap_live_growth_bytes_per_second", p.size * 0.55 / 6000, "bytes_per_second", "cycles"), ev("heap_marked_bytes", s.marked, "bytes", "cycles"), ev("cycles_risen_ratio", 0.94, "ratio", "cycles"), ev("time_to_limit_seconds", 8300, "seconds", "cgroup", "2 h 18 min")],
    "After each collection more stays alive than after the one before. Something keeps references that it does not need any more: a map without eviction, a slice that is only appended to, or goroutines that do not end.", "Compare two heap profiles an hour apart and look at what grew. The site below holds most of the growth.", [site("github.com/acme/orders/cache.(*Store).put", "cache/store.go", 118, "allocates", "71% of the growth"), site("encoding/json.Unmarshal", "encoding/json/decode.go", 108, "allocates", "12%")]);
  if (p.kind === "storm") { f("HW2003", "critical", "The collector takes a large share of the process's CPU", [ev("gc_cpu_ratio", s.gc, "ratio", "remote"), ev("gc_cycles_per_second", s.cycles, "per_second", "remote", s.cycles.toFixed(2) + "/s"), ev("alloc_bytes_per_second", s.alloc, "bytes_per_second", "remote")], "GOGC=50 makes the collector run twice as often as the default, and the allocation rate is high.", "Set GOGC=100, or GOGC=200 where memory allows it. `heapwright tune` computes both.");
    f("HW2002", "warning", "Mark assists take CPU from requests", [ev("assist_ratio", s.assist, "ratio", "remote")], "Goroutines that allocate have to mark before they may: the background workers do not keep up.", "Give the collector room: raise GOGC, or the memory limit.", [site("github.com/acme/feed.(*Builder).Render", "feed/builder.go", 88, "allocates", "34% of allocation")]); }
  if (p.kind === "goroutines") f("HW3002", "warning", "The number of goroutines rises", [ev("goroutines", s.goroutines, "count", "remote"), ev("growth_per_second", 1.4, "per_second", "remote", "1.4/s")], "Goroutines are started and do not end: they wait for a channel that nobody sends to.", "Give the receive a way out: select on the request's context beside the channel.", [site("github.com/acme/gateway.(*Hub).Subscribe", "hub.go", 71, "created_by", "6,912 of 7,430"), site("github.com/acme/gateway.(*Hub).wait", "hub.go", 94, "blocked_at", "chan receive")]);
  if (p.kind === "throttled") f("HW4004", "warning", "Not the GC: look at CPU throttling", [ev("throttled_ratio", 0.14, "ratio", "cgroup"), ev("gc_cpu_ratio", s.gc, "ratio", "remote")], "The container's CPU quota is used up in most periods: all threads stand still until the next.", "Raise the CPU limit of the container or lower GOMAXPROCS to the quota.");
  if (p.kind === "pauses") f("HW4001", "info", "GC pauses stand out", [ev("pause_max_seconds", 0.0062, "seconds", "cycles", "6.2 ms"), ev("pause_p50_seconds", 0.00009, "seconds", "cycles", "90 µs")], "A few pauses are far longer than the rest.", "Look at what else ran on the machine at these moments.");
  if (p.i % 9 === 3) f("HW3007", "info", "The scavenger is behind: free memory is not given back", [ev("heap_idle_bytes", p.size * 0.4, "bytes", "remote")], "Free spans stay resident.", "Nothing needs to be done unless memory is short.");
  return out;
}
const rank = { info: 1, warning: 2, critical: 3 };
const worstOf = (fs) => fs.reduce((w, f) => (w === null || rank[f.severity] > rank[w] ? f.severity : w), null);
function episodesOf(p) {
  const out = [];
  for (const f of findingsOf(p)) {
    const began = { limit: 9000, leak: 4800, storm: 1460, goroutines: 4700, throttled: 30000, pauses: 2600 }[p.kind] ?? 40000;
    out.push({ process: p.id, id: f.id, severity: f.severity, began: iso(begun - began), seen: iso(p.ended ?? Date.now() / 1000), ended: iso(p.ended), finding: f });
  }
  if (p.i < 40 && p.i % 3 === 0) for (let k = 0; k < 3; k++) {
    const b = begun - 900 - 5000 * (k + rnd("ep", p.i, k));
    out.push({ process: p.id, id: "HW4003", severity: k ? "info" : "warning", began: iso(b), seen: iso(b + 420), ended: iso(b + 480), finding: { id: "HW4003", severity: k ? "info" : "warning", confidence: "medium", confidence_reason: "2 of 6 windows agree", title: "Runnable goroutines wait long for a P", evidence: [ev("sched_latency_p99_seconds", 0.0042, "seconds", "remote", "4.2 ms"), ev("runnable_goroutines", 41, "count", "remote")], cause: "More goroutines are ready to run than there are processors.", remedy: "Raise GOMAXPROCS or the CPU quota, or do less at once." } });
  }
  return out;
}

function row(p, t, full) {
  const at = p.ended ?? t, s = sampleAt(p, at), fs = findingsOf(p);
  const bound = p.limit ?? (p.memlimit === none ? 16 * GiB : p.memlimit), head = s ? bound - (s.usage ?? s.rss) : null;
  const spark = { end: iso(at), step_seconds: 10, rss_bytes: [], heap_live_bytes: [], gc_cpu_ratio: [] };
  for (let k = 59; k >= 0; k--) {
    const x = sampleAt(p, at - k * 10);
    spark.rss_bytes.push(x ? round(x.rss, 4) : null); spark.heap_live_bytes.push(x ? round(x.live, 4) : null); spark.gc_cpu_ratio.push(x ? round(x.gc, 3) : null);
  }
  const error = p.kind === "error";
  return {
    id: p.id, name: p.name, pid: p.pid, up: p.ended === null, first_seen: iso(begun - 86400 * 6), last_seen: iso(at), ended: iso(p.ended), lives: p.lives,
    go_version: p.go, module: `github.com/acme/${p.name}`, module_version: `v${p.i % 4}.${p.i % 13}.${p.i % 7}`, user: p.i % 5 ? "acme" : "root", container_id: p.limit ? hash("c", p.i).toString(16).padStart(8, "0") + "9f3a77c1" : null, unit: p.limit ? null : p.name + ".service", stripped: p.i % 6 === 0,
    uptime_seconds: round(at - p.start, 9), sample_interval_seconds: p.kind === "idle" ? 5 : 1,
    rss_bytes: s && Math.round(s.rss), heap_live_bytes: s && Math.round(s.live), heap_marked_bytes: s && Math.round(s.marked), heap_goal_bytes: s && Math.round(s.goal),
    limit_bytes: error ? null : bound, limit_kind: error ? null : p.limit ? "container" : p.memlimit === none ? "host" : "gomemlimit", headroom_bytes: head && Math.round(head), headroom_ratio: head === null ? null : round(head / bound, 4),
    gc_cpu_ratio: s && round(s.gc, 4), assist_ratio: s && round(s.assist, 4), gc_cycles_per_second: s && round(s.cycles, 4), alloc_bytes_per_second: s && Math.round(s.alloc), cpu_cores: s && round(s.cpu, 4),
    time_to_limit_seconds: p.kind === "leak" ? 2700 : 2592000,
    outlook: error ? null : p.kind === "leak"
      ? { state: "reaches", reason: "memory rises steadily", at: iso(at), need_bytes: s && Math.round(s.goal), killed: iso(at + 2700), killed_low: iso(at + 2200), killed_high: iso(at + 3500), not_before: null, gc_hurts: null }
      : { state: "none", reason: "memory does not rise for sure", at: iso(at), need_bytes: s && Math.round(s.goal), killed: null, killed_low: null, killed_high: null, not_before: iso(at + 3000), gc_hurts: null },
    goroutines: s && s.goroutines, goroutine_growth_ratio: s && (p.kind === "goroutines" ? 0.4 : 0.01), gogc_percent: error ? null : p.gogc, gomemlimit_bytes: error ? null : p.memlimit, gomaxprocs: error ? null : p.procs,
    trouble: round((rank[worstOf(fs)] ?? 0) * 10 + (head === null ? 0 : Math.max(0, 1 - head / bound)) * 5 + (s?.gc ?? 0) * 10 + (error ? 12 : 0) - (p.ended ? 8 : 0), 4), worst: worstOf(fs),
    findings: full ? fs : fs.map((f) => ({ id: f.id, severity: f.severity, title: f.title })), spark,
    error: error ? "reading the process's memory: permission denied" : null, hint: error ? "Run the agent as the same user, or give it CAP_SYS_PTRACE." : null,
  };
}
const rows = (t) => procs.map((p) => row(p, t)).sort((a, b) => b.trouble - a.trouble || (a.id < b.id ? -1 : 1));
const unseen = [{ pid: 412, name: "containerd", reason: "it runs as root", hint: "Run the agent as root, or with CAP_SYS_PTRACE." }, { pid: 977, name: "legacy-billing", reason: "go1.17 is older than what is read", hint: "Build it with Go 1.20 or later." }, { pid: 2211, name: "tailscaled", reason: "it runs as root", hint: "Run the agent as root, or with CAP_SYS_PTRACE." }];

// ---- questions

function moment(text, now) {
  if (text === null || text === "" || text === "now") return now;
  const m = /^now-(\d+(?:\.\d+)?)(s|m|h|d|w)$/.exec(text);
  if (m) return now - m[1] * { s: 1, m: 60, h: 3600, d: 86400, w: 604800 }[m[2]];
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  const d = new Date(text).getTime() / 1000;
  if (!Number.isFinite(d)) throw fail(400, `parsing a time: ${text}`, "Times are RFC 3339, unix seconds or now-1h.");
  return d;
}
const fail = (status, error, hint) => Object.assign(new Error(error), { status, hint });
function ask(q) {
  const now = Date.now() / 1000, p = byID.get(q.get("process"));
  const from = moment(q.get("from") ?? "now-1h", now), to = moment(q.get("to"), now);
  if (to <= from) throw fail(400, "the time ends before it begins", "Give from before to.");
  return { p, from, to: Math.min(to, now), now };
}
const must = (p) => { if (!p) throw fail(404, "no process is called so", "/processes lists the ids"); return p; };

function lines(p, set, s) {
  const n = (name, label, unit, v) => ({ name, label, unit, v });
  switch (set) {
    case "memory": return [n("heap_live_bytes", "live heap", "bytes", s && s.live), n("heap_goal_bytes", "heap goal", "bytes", s && s.goal), n("heap_marked_bytes", "found alive by the last GC", "bytes", s && s.marked), n("stack_in_use_bytes", "goroutine stacks", "bytes", s && s.goroutines * 4096),
      n("runtime_ready_bytes", "held by the Go runtime", "bytes", s && s.rss - 14 * MiB), n("rss_bytes", "resident", "bytes", s && s.rss), n("container_usage_bytes", "charged to the container", "bytes", s && s.usage), n("gomemlimit_bytes", "GOMEMLIMIT", "bytes", s && (p.memlimit === none ? null : p.memlimit)), n("container_limit_bytes", "container's limit", "bytes", s && s.limit)];
    case "gc": return [n("gc_cpu_ratio", "GC CPU", "ratio", s && s.gc), n("assist_ratio", "assists", "ratio", s && s.assist), n("pause_ratio", "world stopped", "ratio", s && s.cycles * 0.0001), n("gc_cycles_per_second", "GC cycles", "per_second", s && s.cycles), n("alloc_bytes_per_second", "allocated", "bytes_per_second", s && s.alloc), n("gogc_percent", "GOGC", "percent", s && p.gogc)];
    case "cpu": return [n("cpu_cores", "process", "cores", s && s.cpu), n("gc_cores", "GC, by the runtime's clock", "cores", s && s.cpu * s.gc), n("gomaxprocs", "GOMAXPROCS", "cores", s && p.procs)];
    case "goroutines": return s === null ? [] : [n("goroutines", "goroutines", "count", s.goroutines), n("runnable", "waiting for a processor", "count", Math.round(s.burst * 20)), n("threads", "threads", "count", p.procs + 6)].concat([["waiting", "chan receive", 0.35 + (p.kind === "goroutines" ? 0.3 : 0)], ["waiting", "select", 0.25], ["waiting", "IO wait", 0.2], ["waiting", "sleep", 0.08], ["waiting", "sync.Mutex.Lock", 0.03 * (1 + s.burst * 4)], ["syscall", "", 0.01], ["running", "", 0.005]]
      .map(([state, reason, share]) => n("goroutines_" + state + (reason && "/" + reason), reason || state, "count", Math.round(s.goroutines * share * (p.kind === "goroutines" && reason !== "chan receive" ? 0.55 : 1)))));
    case "sched": return [n("runnable", "waiting for a processor", "count", s && Math.round(s.burst * 20)), n("latency_p50_seconds", "half waited less", "seconds", s && 4e-6 * (1 + s.burst)), n("latency_p99_seconds", "1 of 100 waited longer", "seconds", s && 9e-5 * (1 + s.burst * 25)), n("latency_p999_seconds", "1 of 1000 waited longer", "seconds", s && 4e-4 * (1 + s.burst * 35))];
    case "pressure": return [n("memory_stall_ratio", "waiting for memory", "ratio", s && s.memstall), n("cpu_stall_ratio", "waiting for a CPU", "ratio", s && s.cpustall), n("throttled_ratio", "held up by the CPU quota", "ratio", s && s.throttled), n("container_usage_bytes", "charged to the container", "bytes", s && s.usage), n("container_limit_bytes", "container's limit", "bytes", s && s.limit)];
  }
  throw fail(400, `there is no set ${set}`, "memory, gc, cpu, goroutines, sched, pressure");
}
const bounds = []; for (let e = -7; e < 0; e++) for (const m of [1, 2.5, 5]) bounds.push(m * 10 ** e);

const api = {
  session: () => ({ schema: "heapwright.session/1", role: operator ? "operator" : "reader", changes_enabled: operator, csrf: { header: "X-Heapwright-Csrf", token: "mock" }, version: "0.6.0-mock", host: "build-7.acme.example", store: { kind: "embedded", url: null }, now: iso(Date.now() / 1000) }),
  processes: () => ({ schema: "heapwright.processes/1", now: iso(Date.now() / 1000), processes: rows(Date.now() / 1000), unseen }),
  process: (_, id) => {
    const p = must(byID.get(id)), r = row(p, Date.now() / 1000, true);
    return { schema: "heapwright.process/1", now: iso(Date.now() / 1000), ...r, identity: { pid: p.pid, start_time: iso(p.start), name: p.name, exe: `/usr/local/bin/${p.name}`, main_package: r.module + "/cmd/" + p.name, module: r.module, module_version: r.module_version, go_version: p.go, goos: "linux", goarch: "amd64", build_settings: { "-trimpath": "true", CGO_ENABLED: "0", "vcs.revision": hash("v", p.i).toString(16) + "c0ffee11aa22bb33", "vcs.time": "2026-10-30T08:11:02Z" }, build_id: "Zk3/" + hash("b", p.i).toString(36), stripped: r.stripped, pie: false, static: true, cgo: false, race: false, uid: 1000, user: r.user, cgroup_path: p.limit ? "/kubepods.slice/pod1/" + r.container_id : "/system.slice/" + r.unit, go_env: { GOGC: String(p.gogc) }, memory_limit_bytes: p.limit ?? undefined, cpu_quota_cores: p.limit ? 2 : undefined, host_memory_bytes: 16 * GiB, host_cpus: 8 },
      settings: { gogc_percent: p.gogc, gomemlimit_bytes: p.memlimit, gomaxprocs: p.procs, container_limit_bytes: p.limit, cpu_quota_cores: p.limit ? 2 : null, environment: { GOGC: String(p.gogc) } }, sample: null };
  },
  series: (q) => {
    const { p, from, to } = ask(q); must(p);
    const set = q.get("set") ?? "memory", points = Math.min(2000, Math.max(10, Number(q.get("points") ?? 400)));
    const step = Math.max(set === "goroutines" ? 60 : set === "sched" || set === "pressure" ? 10 : 1, (to - from) / points), out = { schema: "heapwright.series/1", process: p.id, set, from: iso(from), to: iso(to), step_seconds: step, time: [], series: [], heat: null, warnings: [] };
    const first = lines(p, set, sampleAt(p, Math.min(to, p.ended ?? to) - 1)).map(({ v, ...l }) => ({ ...l, values: [], min: [], max: [] }));
    out.series = first;
    if (set === "sched") out.heat = { bounds_seconds: bounds, counts: [] };
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      out.time.push(round(t, 13));
      const sub = step > 2 ? 5 : 1, seen = [];
      for (let k = 0; k < sub; k++) { const s = sampleAt(p, t - (k * step) / sub); seen.push(s ? lines(p, set, s) : null); }
      first.forEach((l, i) => {
        const vs = seen.map((x) => x?.[i]?.v ?? null).filter((v) => v !== null);
        l.values.push(vs.length ? round(vs[0]) : null); l.min.push(vs.length ? round(Math.min(...vs)) : null); l.max.push(vs.length ? round(Math.max(...vs)) : null);
      });
      if (out.heat) {
        const s = sampleAt(p, t);
        out.heat.counts.push(s ? [...bounds, Infinity].map((b) => { const x = Math.log10(Math.min(b, 3)), a = Math.exp(-(((x + 5.4 - 0.3 * s.burst) / 0.55) ** 2)), c = 0.02 * s.burst * Math.exp(-(((x + 2.8) / 0.5) ** 2)); return Math.round(3000 * s.cpu * step * (a + c) * (0.8 + 0.4 * rnd(p.id, t, b))); }) : null);
      }
    }
    return out;
  },
  cycles: (q) => {
    const { p, from, to } = ask(q); must(p);
    const limit = Number(q.get("limit") ?? 2000), a = Math.ceil(from / p.period), b = Math.floor(to / p.period), total = Math.max(0, b - a + 1), every = Math.max(1, Math.ceil(total / limit));
    const cycles = [];
    for (let n = a; n <= b; n++) {
      if (every > 1 && n % every && rnd(p.id, n, "out") > 0.004) continue;
      const c = cycleOf(p, n); if (c) cycles.push(c);
    }
    return { schema: "heapwright.cycles/1", process: p.id, from: iso(from), to: iso(to), total: every > 1 ? total : cycles.length, thinned: every > 1, cycles };
  },
  findings: (q) => {
    const { p, from, to } = q.get("from") ? ask(q) : { p: byID.get(q.get("process")), from: 0, to: Infinity };
    let all = (p ? [p] : procs).flatMap(episodesOf);
    if (q.get("open") === "1") all = all.filter((e) => !e.ended);
    all = all.filter((e) => new Date(e.began) / 1000 <= to && (e.ended === null || new Date(e.ended) / 1000 >= from));
    return { schema: "heapwright.findings/1", episodes: all.sort((a, b) => (a.began < b.began ? 1 : -1)) };
  },
  events: (q) => {
    const { p, from, to } = ask(q), out = [];
    for (const x of p ? [p] : procs) {
      const add = (t, event, text, data) => { if (t >= from && t <= to) out.push({ process: x.id, time: iso(t), event, text: text ?? "", data: data ?? {} }); };
      add(x.start, "started", "observation began");
      if (x.kind === "restarted") { add(x.start - 6, "exited", "killed by signal 9"); add(x.start - 7, "oom_kill", "the kernel killed a process of the container"); }
      if (x.ended) add(x.ended, "exited", "exit status 2");
      if (x.kind === "storm") add(begun - 1500, "setting_changed", "GOGC 100 -> 50", { setting: "GOGC", from: "100", to: "50" });
      if (x.i % 7 === 0) add(begun - 2400, "gap", "the agent was restarted");
    }
    return { schema: "heapwright.events/1", events: out.sort((a, b) => (a.time < b.time ? -1 : 1)) };
  },
  explain: (_, id) => {
    const file = join(repo, "docs/findings", id + ".md");
    if (!/^HW\d+$/.test(id) || !existsSync(file)) throw fail(404, `there is no finding ${id}`, "docs/findings lists them");
    const text = readFileSync(file, "utf8").replace(/^<!--.*-->\n*/, "");
    return { schema: "heapwright.explanation/1", id, title: /^# \w+: (.*)$/m.exec(text)?.[1] ?? id, text };
  },
  snapshots: (q) => {
    const { p, from, to } = ask(q); must(p);
    const all = [], every = 600;
    for (let t = Math.ceil(from / every) * every; t < to; t += every) { const s = sampleAt(p, t); if (s) all.push({ key: String(Math.round(t)), time: iso(t), reason: t % 3600 === 0 ? "HW3001" : "periodic", bytes: 180000 + s.goroutines * 40, goroutines: s.goroutines, heap_in_use_bytes: Math.round(s.marked * 1.2), kinds: ["goroutines", "heap", "block", "mutex"] }); }
    return { schema: "heapwright.snapshots/1", process: p.id, snapshots: all.concat(taken.filter((s) => s.process === p.id)) };
  },
  profile: (q) => {
    const p = must(byID.get(q.get("process"))), type = q.get("type") ?? "inuse_space", at = Number(q.get("at")), base = q.get("base") ? Number(q.get("base")) : null;
    const total = type === "goroutines" ? sampleAt(p, at)?.goroutines ?? 100 : type.endsWith("objects") ? 180000 : type === "block" || type === "mutex" ? 40 : Math.round(marked(p, at)), unit = { goroutines: "goroutines", block: "seconds", mutex: "seconds" }[type] ?? (type.endsWith("objects") ? "objects" : "bytes");
    const baseTotal = base === null ? 0 : total * 0.78;
    return { schema: "heapwright.flame/1", process: p.id, type, unit, at: iso(at), base: iso(base), total, base_total: round(baseTotal), truncated: 0, period_bytes: unit === "bytes" ? 524288 : null, root: tree(p.id + type, total, baseTotal) };
  },
  goroutines: (q) => {
    const p = must(byID.get(q.get("process"))), s = sampleAt(p, Number(q.get("at"))) ?? sampleAt(p, begun - 60), total = s.goroutines, base = q.get("base") ? Math.round(total * 0.7) : 0;
    const shape = [["waiting", "chan receive", "Hub).Subscribe", 0.45, 5400], ["waiting", "select", "Server).serve", 0.2, 60], ["waiting", "IO wait", "conn).readLoop", 0.2, 300], ["waiting", "sleep", "Ticker).loop", 0.06, 20], ["waiting", "sync.Mutex.Lock", "Store).put", 0.04, 0.4], ["syscall", null, "os/signal.loop", 0.01, null], ["running", null, "worker", 0.01, null], ["waiting", "GC worker (idle)", "runtime.gcBgMarkWorker", 0.03, 10]];
    const groups = shape.map(([status, wait, fn, share, max], i) => { const c = Math.max(1, Math.round(total * share)), b = base ? Math.max(1, Math.round(base * share * (i === 0 ? 0.4 : 1))) : 0; const f = fn.includes(")") ? `github.com/acme/${p.name}.(*${fn}` : fn; return { count: c, base: b, growth: c - b, status, wait_reason: wait, wait_max_seconds: max, created_by: i === 7 ? { func: "runtime.gcBgMarkStartWorkers", file: "runtime/mgc.go", line: 1400 } : { func: f.replace("Subscribe", "Accept"), file: p.name + "/hub.go", line: 60 + i * 13 }, stack: [{ func: "runtime.gopark", file: "runtime/proc.go", line: 462 }, { func: f, file: p.name + "/hub.go", line: 71 + i }, { func: "net/http.HandlerFunc.ServeHTTP", file: "net/http/server.go", line: 2322 }, { func: "net/http.(*conn).serve", file: "net/http/server.go", line: 2130 }], labels: i === 0 ? { tenant: "acme" } : {}, system: i === 7 }; });
    return { schema: "heapwright.goroutines/1", process: p.id, at: iso(Number(q.get("at"))), base: base ? iso(Number(q.get("base"))) : null, total, base_total: base, truncated: 0, groups };
  },
  forecast: (q) => {
    const p = must(byID.get(q.get("process")));
    if (p.kind === "error" || p.kind === "ended") return { schema: "heapwright.forecast/1", process: p.id, predictions: [], current: null, missing: ["no GC cycle was seen in the last minutes"], error: "there is not enough to forecast from" };
    const list = (k, d) => (q.get(k) ? q.get(k).split(",") : d), limits = list("gomemlimit", [String(p.memlimit === none ? "off" : p.memlimit)]), out = [];
    const size = (s) => { const m = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB)?$/.exec(s); return m ? Number(m[1]) * { B: 1, KiB: 1024, MiB, GiB }[m[2] ?? "B"] : none; };
    const limit = q.get("limit") && q.get("limit") !== "off" ? size(q.get("limit")) : p.limit;
    out.push(predict(p, p.gogc, p.memlimit, limit, true));
    for (const g of list("gogc", [String(p.gogc)])) for (const l of limits) out.push(predict(p, g === "off" ? -1 : Number(g), l === "off" ? none : size(l), limit, false));
    const okay = out.filter((x) => !x.fails); okay.sort((a, b) => a.gc_cpu_ratio.estimate - b.gc_cpu_ratio.estimate); if (okay[0]) okay[0].best = true;
    return { schema: "heapwright.forecast/1", process: { pid: p.pid, start_time: iso(p.start), name: p.name }, go_version: p.go, span_seconds: 600, predictions: out, current: out[0], storm_floor_bytes: qty(p.size * 1.15, 0.06), parameters: [{ name: "alloc_bytes_per_second", value: qty(p.size / p.period, 0.05), from: "cycles" }], missing: [], error: null };
  },
  front: (q) => {
    const p = must(byID.get(q.get("process"))), out = [predict(p, p.gogc, p.memlimit, p.limit, true)];
    for (const g of [25, 50, 75, 100, 150, 200, 300, 400, 600, 800, -1]) for (const l of [none, ...(p.limit ? [p.limit * 0.9, p.limit * 0.75, p.limit * 0.6] : [])]) if (g > 0 || l !== none) out.push(predict(p, g, l, p.limit, false));
    for (const a of out) a.efficient = !a.fails && !out.some((b) => !b.fails && b.gc_cpu_ratio.estimate < a.gc_cpu_ratio.estimate - 1e-9 && b.rss_peak_bytes.estimate < a.rss_peak_bytes.estimate);
    const best = out.filter((x) => !x.fails && x.efficient).sort((a, b) => a.gc_cpu_ratio.estimate - b.gc_cpu_ratio.estimate)[0]; if (best) best.best = true;
    return { schema: "heapwright.front/1", process: { pid: p.pid, name: p.name, start_time: iso(p.start) }, go_version: p.go, span_seconds: 600, predictions: out, current: out[0], storm_floor_bytes: qty(p.size * 1.15, 0.06), parameters: [], missing: [], error: null };
  },
  plan: (q) => {
    const p = must(byID.get(q.get("process"))), m = q.get("memory_limit"), limit = m ? Number.parseFloat(m) * (m.endsWith("GiB") ? GiB : m.endsWith("KiB") ? 1024 : m.endsWith("MiB") ? MiB : 1) : p.limit ?? 512 * MiB, lim = Math.floor(limit * 0.9 / MiB) * MiB, gogc = 200, text = (lim / MiB) + "MiB";
    return { schema: "heapwright.plan/1", process: { pid: p.pid, name: p.name, start_time: iso(p.start) }, objective: { name: q.get("objective") ?? "least_gc_cpu", max_gc_cpu_ratio: null, max_pause_ratio: null, max_assist_ratio: null, price_per_gib_hour: null, price_per_core_hour: null }, plan: { keep: false, gogc_percent: gogc, gomemlimit_bytes: lim, gomaxprocs: null, gomaxprocs_advice: "leave it alone", container_request_bytes: Math.round(p.size * 2.4), container_limit_bytes: limit, non_go_bytes: 14 * MiB, beside_bytes: 4 * MiB, spare_bytes: 32 * MiB, set_in_code: [] },
      current: predict(p, p.gogc, p.memlimit, limit, true), expected: predict(p, gogc, lim, limit, false), why: ["The live heap is " + human(p.size) + "; at GOGC=200 a cycle starts half as often.", "GOMEMLIMIT keeps the peak under the container's limit."], risk: ["When the live heap doubles the collector runs more often."], falsifiers: [{ quantity: "gc_cpu_ratio", above: 0.05, gc_cycles: 30, text: "GC CPU above 5% after 30 cycles" }], alternatives: [{ name: "GOGC=off and the limit alone", fits: true, lost: "the peak is always at the limit", forecast: predict(p, -1, lim, limit, false) }], notes: [], confidence: "medium", confidence_reason: "10 minutes were seen", parameters: [], manifest: null, file: null, live: null,
      apply: { env: `GOGC=${gogc}\nGOMEMLIMIT=${text}\n`, systemd: `[Service]\nEnvironment=GOGC=${gogc}\nEnvironment=GOMEMLIMIT=${text}\n`, docker: `docker run --memory=${limit} --env GOGC=${gogc} --env GOMEMLIMIT=${text} IMAGE\n`, compose: `services:\n  ${p.name}:\n    mem_limit: ${limit}\n    environment:\n      GOGC: "${gogc}"\n      GOMEMLIMIT: ${text}\n`, k8s: `spec:\n  template:\n    spec:\n      containers:\n        - name: ${p.name}\n          env:\n            - {name: GOGC, value: "${gogc}"}\n            - {name: GOMEMLIMIT, value: ${text}}\n` } };
  },
  experiments: () => ({ schema: "heapwright.experiments/1", experiments: exps().map((e) => { const d = JSON.parse(readFileSync(e.file, "utf8")); return { id: e.id, name: d.name ?? e.id, verdict: d.verdict ?? null, time: d.ended ?? d.started ?? "2026-11-20T10:00:00Z", running: !d.ended, variants: (d.variants ?? []).map((v) => v.name), blocks: d.blocks ?? 0, pairs: d.pairs ?? null, goal: d.metrics?.find((m) => m.role === "goal")?.name ?? null, file: e.id + ".hwcmp", bytes: 88000, error: null }; }) }),
  experiment: (_, id) => { const e = exps().find((x) => x.id === id); if (!e) throw fail(404, "there is no such experiment", "/experiments lists them"); return JSON.parse(readFileSync(e.file, "utf8")); },
  alerts: () => ({ schema: "heapwright.alerts/1", active: procs.filter((p) => ["limit", "storm", "leak"].includes(p.kind)).slice(0, 6).map((p) => { const f = findingsOf(p)[0]; return { rule: p.kind === "storm" ? "gc-cpu" : p.kind === "limit" ? "headroom" : "finding", process: p.id, severity: f?.severity ?? "warning", state: "firing", since: iso(begun - 1300), at: iso(Date.now() / 1000), value: p.kind === "storm" ? 0.31 : 0.04, threshold: p.kind === "storm" ? 0.25 : 0.1, title: f?.title ?? "", evidence: f?.evidence ?? [], remedy: f?.remedy ?? "", link: `/ui/process/${p.id}?at=${iso(begun - 1300)}` }; }),
    rules: [{ name: "headroom", severity: "critical", process: "*", signal: "headroom_ratio", below: 0.1, above: null, for_seconds: 60, clear_below: null, clear_above: 0.15, clear_for_seconds: 300 }, { name: "gc-cpu", severity: "warning", process: "*", signal: "gc_cpu_ratio", above: 0.25, for_seconds: 120, clear_below: 0.18, clear_for_seconds: 300 }, { name: "goroutine-growth", severity: "warning", process: "*", signal: "goroutine_growth_ratio", above: 0.5, for_seconds: 600, clear_below: 0.1, clear_for_seconds: 600 }, { name: "finding", severity: "warning", process: "*", signal: "finding", level: "warning", for_seconds: 0, clear_for_seconds: 180 }] }),
  status: () => ({ schema: "heapwright.status/1", agent: { pid: 991, cpu_cores: 0.0074, rss_bytes: 61 * MiB, uptime_seconds: 86400 * 3.2, samples_per_second: count * 1.02, version: "0.6.0-mock", started: iso(begun - 86400 * 3.2), gogc_percent: 100, gomemlimit_bytes: 110 * MiB }, discovery: { processes: count, up: count - 1, unseen: unseen.length, last_scan: iso(Date.now() / 1000 - 2), scan_seconds: 0.012 },
    store: { kind: "embedded", series: count * 96, samples_appended: 412345678, dropped: { out_of_order: 12, duplicate: 0, too_old: 0 }, bytes: 1.6 * GiB, bytes_blocks: 1.3 * GiB, bytes_wal: 220 * MiB, bytes_head: 90 * MiB, oldest: iso(begun - 86400 * 6), newest: iso(Date.now() / 1000), retention_seconds: 1296000, max_bytes: 0 }, vault: { snapshots: 4312, bytes: 640 * MiB, max_bytes: GiB, oldest: iso(begun - 86400 * 3) },
    forward: [{ name: "mimir", kind: "remote_write", sent: 99123456, failed: 0, dropped: 0, behind_seconds: 15.2, last_error: null, since: iso(begun - 86400) }, { name: "collector", kind: "otlp", sent: 8812345, failed: 311, dropped: 0, behind_seconds: 842, last_error: "connection refused", since: iso(begun - 86400) }] }),
};
const taken = [];
const qty = (v, spread) => ({ estimate: round(v), low: round(v * (1 - spread)), high: round(v * (1 + spread)) });
function predict(p, gogc, memlimit, limit, now) {
  const byGogc = gogc < 0 ? Infinity : p.size * (1 + gogc / 100), byLimit = memlimit >= 2 ** 62 ? Infinity : Math.max(memlimit - 40 * MiB, p.size * 1.02), heap = Math.min(byGogc, byLimit, 14 * GiB);
  const room = Math.max(heap - p.size, p.size * 0.02), rate = p.size / p.period, per = rate / room, cores = per * p.size / (1.1 * GiB), gc = Math.min(0.5, cores / (cores + p.cores)), rss = heap * 1.06 + 24 * MiB, fails = limit && rss * 1.02 > limit ? "oom" : gc > 0.25 ? "storm" : null;
  return { now, best: false, efficient: false, fails, gogc_percent: gogc, gomemlimit_bytes: memlimit, container_limit_bytes: limit, gomaxprocs: null, gc_cycles_per_second: qty(per, 0.12), gc_cpu_ratio: qty(gc, 0.15), gc_cpu_cores: qty(cores, 0.15), assist_ratio: qty(gc > 0.2 ? gc * 0.3 : gc * 0.03, 0.4), pause_ratio: qty(per * 0.0001, 0.3), heap_p50_bytes: qty((p.size + heap) / 2, 0.06), heap_p90_bytes: qty(heap * 0.95, 0.06), heap_peak_bytes: qty(heap, 0.06), rss_p50_bytes: qty(rss * 0.95, 0.06), rss_p90_bytes: qty(rss, 0.06), rss_peak_bytes: qty(rss * 1.02, 0.06), oom_probability: { estimate: limit ? round(1 / (1 + Math.exp(-(rss / limit - 0.98) * 60)), 3) : 0, low: 0, high: limit ? round(Math.min(1, 1.5 / (1 + Math.exp(-(rss / limit - 0.98) * 60))), 3) : 0 }, limiter_probability: qty(gc > 0.25 ? 0.6 : 0.01, 0.5), notes: gogc > 400 ? ["far from what was measured"] : [] };
}
function exps() {
  const dir = join(repo, "cmd/internal/experiment/report/testdata");
  return existsSync(dir) ? readdirSync(dir).filter((f) => /^(pass|same|sweep|two|oom|interrupted)\.json$/.test(f)).map((f) => ({ id: f.slice(0, -5), file: join(dir, f) })) : [];
}
function tree(seed, total, baseTotal) {
  const pk = ["net/http.(*conn).serve", "net/http.HandlerFunc.ServeHTTP", "github.com/acme/orders/api.(*Handler).List", "encoding/json.Unmarshal", "encoding/json.(*decodeState).object", "reflect.MakeMapWithSize", "github.com/acme/orders/cache.(*Store).put", "bytes.growSlice", "bufio.NewReaderSize", "compress/flate.NewWriter", "runtime.mallocgc", "google.golang.org/protobuf/proto.Unmarshal", "strings.(*Builder).grow", "database/sql.(*Rows).Next", "github.com/acme/orders/search.(*Index).Add", "crypto/tls.(*Conn).readRecordOrCCS", "sync.(*Pool).Get", "regexp.Compile"];
  const make = (name, value, base, depth, path) => {
    const node = { name, file: name.split(".")[0] + "/" + (hash(name) % 9 ? "file.go" : "decode.go"), line: 20 + hash(name) % 400, value: round(value), base: round(base), self: 0 };
    let left = value, baseLeft = base;
    const children = [], kids = depth > 11 ? 0 : 1 + hash(seed, path, "n") % (depth < 4 ? 4 : 3);
    for (let i = 0; i < kids && left > total * 0.002; i++) {
      const share = depth === 0 ? 0.45 : 0.2 + 0.65 * rnd(seed, path, i), v = left * share, b = baseLeft * Math.min(1, share * (0.6 + 0.7 * rnd(seed, path, i, "b")));
      children.push(make(pk[(hash(seed, path, i, "f") + depth) % pk.length], v, b, depth + 1, path + i)); left -= v; baseLeft -= b;
    }
    node.self = round(left); if (children.length) node.children = children.sort((a, b) => b.value - a.value); else node.self = node.value;
    return node;
  };
  const root = make("root", total, baseTotal, 0, "r"); delete root.file; delete root.line; return root;
}

// ---- the server

const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain; charset=utf-8" };
const security = { "Content-Security-Policy": csp, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-cache" };
const send = (res, status, body) => res.writeHead(status, { ...security, "Content-Type": "application/json" }).end(JSON.stringify(body));

function body(req) { return new Promise((ok) => { let s = ""; req.on("data", (c) => (s += c)).on("end", () => { try { ok(JSON.parse(s || "{}")); } catch { ok({}); } }); }); }

createServer(async (req, res) => {
  const u = new URL(req.url, "http://localhost"), path = u.pathname, q = u.searchParams;
  try {
    if (path.startsWith("/api/heapwright/v1/")) {
      const rest = path.slice("/api/heapwright/v1/".length).split("/").map(decodeURIComponent);
      if (rest[0] === broken) throw fail(503, "the store does not answer", "It comes back by itself; the agent's log says why.");
      if (rest[0] === "live") return live(req, res, q);
      if (req.method === "POST") {
        const b = await body(req);
        if (rest[0] === "snapshots") { const p = must(byID.get(b.process)), now = Date.now() / 1000, s = { process: p.id, key: String(Math.round(now)), time: iso(now), reason: "asked", bytes: 210000, goroutines: sampleAt(p, now)?.goroutines ?? 0, heap_in_use_bytes: Math.round(p.size * 1.2), kinds: ["goroutines", "heap", "block", "mutex"] }; taken.push(s); return send(res, 200, { schema: "heapwright.snapshot/1", ...s }); }
        if (!operator) throw fail(403, "changes are off", "Set allow_changes in the agent's configuration and sign in as operator.");
        return send(res, 200, { schema: "heapwright.change/1", process: b.process, dry_run: Boolean(b.dry_run), steps: [{ symbol: "runtime.gcController.gcPercent", old: "100", new: String(b.gogc ?? "") }], outcome: b.dry_run ? "dry_run" : "applied", lease_seconds: b.lease_seconds ?? null });
      }
      const name = { processes: rest[1] ? "process" : "processes", experiments: rest[1] ? "experiment" : "experiments" }[rest[0]] ?? rest[0];
      if (rest[0] === "experiments" && rest[2] === "report") {
        const f = join(repo, "cmd/internal/experiment/report/testdata/refused.html");
        return res.writeHead(200, { "Content-Type": types[".html"], "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'" }).end(readFileSync(f));
      }
      if (!api[name]) throw fail(404, "there is nothing here", "docs/api.md lists what there is");
      return send(res, 200, api[name](q, rest[1]));
    }
    const file = normalize(join(here, "../dist", path === "/" ? "index.html" : path));
    const inside = file.startsWith(join(here, "../dist")) && extname(file) !== "" && !path.startsWith("/ui/") && existsSync(file);
    if (!inside && path !== "/" && !path.startsWith("/ui")) return res.writeHead(404, security).end();
    const f = inside ? file : join(here, "../dist/index.html");
    res.writeHead(200, { ...security, "Content-Type": types[extname(f)] ?? "application/octet-stream" }).end(readFileSync(f));
  } catch (err) {
    if (!err.status) console.error(err);
    send(res, err.status ?? 500, { schema: "heapwright.error/1", error: err.message, hint: err.hint ?? null });
  }
}).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/`));

function live(req, res, q) {
  res.writeHead(200, { ...security, "Content-Type": "text/event-stream" });
  const p = byID.get(q.get("process"));
  let last = Date.now() / 1000;
  const tell = () => {
    const now = Date.now() / 1000;
    if (!p) { res.write(`event: processes\ndata: ${JSON.stringify({ schema: "heapwright.processes/1", now: iso(now), processes: rows(now), unseen })}\n\n`); return; }
    const s = sampleAt(p, now), cycles = [];
    for (let n = Math.ceil(last / p.period); n <= Math.floor(now / p.period); n++) { const c = cycleOf(p, n); if (c) cycles.push(c); }
    last = now + 1e-6;
    if (s) res.write(`event: sample\ndata: ${JSON.stringify({ id: p.id, time: iso(now), heap_live_bytes: Math.round(s.live), heap_goal_bytes: Math.round(s.goal), rss_bytes: Math.round(s.rss), limit_bytes: p.limit, goroutines: s.goroutines, gc_cpu_ratio: round(s.gc, 4), cycles })}\n\n`);
  };
  tell();
  const timer = setInterval(tell, p ? 1000 : 2000);
  req.on("close", () => clearInterval(timer));
}
