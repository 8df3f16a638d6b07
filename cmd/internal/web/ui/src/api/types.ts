// The documents of /api/heapwright/v1, as docs/api.md describes them. Times are
// RFC 3339, null is unknown, units are in the names.

export type Severity = "info" | "warning" | "critical";
export type Num = number | null;

export interface Session {
  role: "none" | "reader" | "operator";
  changes_enabled: boolean;
  csrf: { header: string; token: string };
  version: string;
  host: string;
  store: { kind: string; url: string | null };
  now: string;
}

export interface FindingHead { id: string; severity: Severity; title: string }

export interface Spark { end: string; step_seconds: number; rss_bytes: Num[]; heap_live_bytes: Num[]; gc_cpu_ratio: Num[] }

export interface Row {
  id: string; name: string; pid: number; up: boolean;
  first_seen: string; last_seen: string; ended: string | null; lives: number;
  go_version: string | null; module: string | null; module_version: string | null; user: string | null; container_id: string | null; unit: string | null; stripped: boolean;
  uptime_seconds: Num; sample_interval_seconds: Num;
  rss_bytes: Num; heap_live_bytes: Num; heap_marked_bytes: Num; heap_goal_bytes: Num;
  limit_bytes: Num; limit_kind: "container" | "gomemlimit" | "host" | null; headroom_bytes: Num; headroom_ratio: Num;
  gc_cpu_ratio: Num; assist_ratio: Num; gc_cycles_per_second: Num; alloc_bytes_per_second: Num; cpu_cores: Num;
  time_to_limit_seconds: Num; outlook: Outlook | null;
  goroutines: Num; goroutine_growth_ratio: Num; gogc_percent: Num; gomemlimit_bytes: Num; gomaxprocs: Num;
  trouble: number; worst: Severity | null;
  findings: FindingHead[];
  spark: Spark | null;
  error: string | null; hint: string | null;
}

export interface Unseen { pid: number; name: string; reason: string; hint: string | null }
export interface Processes { now: string; processes: Row[]; unseen: Unseen[] }

export interface Evidence { name: string; value: number; unit: string; source: string; text: string }
export interface Site { func: string; file?: string; line?: number; role: string; text: string }
export interface Finding {
  id: string; severity: Severity; confidence: string; confidence_reason: string; title: string;
  evidence: Evidence[]; cause: string; remedy: string; sites?: Site[];
}

export interface Identity {
  pid: number; start_time: string; name: string; exe?: string; main_package?: string; module?: string; module_version?: string;
  go_version?: string; goos?: string; goarch?: string; build_settings?: Record<string, string>; build_id?: string;
  stripped?: boolean; pie?: boolean; static?: boolean; cgo?: boolean; race?: boolean; uid?: number; user?: string;
  cgroup_path?: string; container_id?: string; pod_uid?: string; go_env?: Record<string, string>;
  memory_limit_bytes?: number; cpu_quota_cores?: number; host_memory_bytes?: number; host_cpus?: number;
}

/** One process: the row, with everything about who it is and what was found. */
/** When memory will reach its limit, as it was said last. */
export interface Outlook {
  state: "none" | "rising" | "reaches" | "over"; reason: string; at: string | null; need_bytes: Num;
  killed: string | null; killed_low: string | null; killed_high: string | null; not_before: string | null; gc_hurts: string | null;
}

export interface Process extends Omit<Row, "findings"> {
  findings: Finding[];
  identity: Identity;
  settings: {
    gogc_percent: Num; gomemlimit_bytes: Num; gomaxprocs: Num; container_limit_bytes: Num; cpu_quota_cores: Num;
    environment: Record<string, string>;
  };
}

export interface SeriesLine { name: string; label: string; unit: string; values: Num[]; min: Num[] | null; max: Num[] | null }
export type SeriesSet = "memory" | "gc" | "cpu" | "goroutines" | "sched" | "pressure";
export interface Series {
  from: string; to: string; step_seconds: number; time: number[];
  series: SeriesLine[];
  // counts[i] are those of the step that ends at time[i], one more than bounds.
  heat: { bounds_seconds: number[]; counts: (Num[] | null)[] } | null;
  warnings: string[] | null;
}

export interface Cycle {
  n: number; end: string; pause_seconds: Num;
  sweep_termination_seconds: Num; mark_seconds: Num; mark_termination_seconds: Num;
  assist_cpu_seconds: Num; dedicated_cpu_seconds: Num; fractional_cpu_seconds: Num; idle_cpu_seconds: Num;
  heap_start_bytes: Num; heap_end_bytes: Num; heap_marked_bytes: Num; heap_goal_bytes: Num;
  stack_scan_bytes: Num; globals_scan_bytes: Num;
  forced: boolean; procs: Num;
}
export interface Cycles { total: number; thinned: boolean; looked_from: string; cycles: Cycle[] }

export interface Episode {
  process: string; id: string; severity: Severity; began: string; seen: string; ended: string | null; finding: Finding;
  changes: { time: string; severity: Severity }[]; returns: number;
}
export interface Event { process: string; time: string; event: string; text: string; data: Record<string, string> | null }
export interface Explanation { id: string; title: string; text: string }

export interface Snapshot { key: string; time: string; reason: string; bytes: number; goroutines: Num; heap_in_use_bytes: Num; kinds: string[] }

export interface Frame { func: string; file?: string; line?: number }
export interface ProfileNode { name: string; file?: string; line?: number; value: number; base: number; self: number; children?: ProfileNode[] }
export interface Profile {
  type: string; unit: string; at: string; base: string | null; total: number; base_total: number;
  truncated: boolean; left_out: number; // places
  period_bytes: Num; notes: string[]; root: ProfileNode;
}
export interface GoroutineGroup {
  count: number; base: number; growth: number; status: string; wait_reason: string | null; wait_max_seconds: Num;
  created_by: Frame | null; stack: Frame[] | null; labels: Record<string, string> | null; system: boolean;
}
export interface Goroutines {
  at: string; base: string | null; total: number; base_total: Num;
  missing: number; // goroutines that are in no group
  left_out: number; // groups
  groups: GoroutineGroup[];
}

export interface Alert {
  rule: string; process: string; severity: Severity; state: "firing" | "resolved"; since: string; at: string;
  value: Num; threshold: Num; title: string; evidence: Evidence[] | null; remedy: string; link: string;
}
export interface Experiment {
  id: string; name: string; verdict: string | null; time: string; running: boolean; variants: string[]; blocks: number;
  pairs: Num; goal: string | null; goal_ratio: Num; file: string; bytes: number; error: string | null;
}

export interface LiveSample {
  id: string; time: string; up: boolean; heap_live_bytes: Num; heap_goal_bytes: Num; rss_bytes: Num; limit_bytes: Num;
  goroutines: Num; gc_cpu_ratio: Num; cycles: Cycle[] | null;
}
