// Who the process is, how it is set, and what was found.
import type { ComponentChildren, VNode } from "preact";
import type { Episode, Outlook, Process } from "../api/types.ts";
import { href, merge, setParams } from "../router.ts";
import { ago, bytes, gogc, gomemlimit, seconds, severityMark, severityRank, when } from "../ui/format.tsx";
import { Pop } from "../ui/Help.tsx";

function Fact(props: { of: string; title?: string; children: ComponentChildren }): VNode {
  return <div title={props.title}><dt>{props.of}</dt><dd>{props.children}</dd></div>;
}

/** The forecast in a line: nothing where nothing is in sight. */
function Ahead({ o }: { o: Outlook }): VNode | null {
  const hurts = o.gc_hurts && <> From {when(o.gc_hurts)} on the collector takes a quarter of the CPU to stay below GOMEMLIMIT.</>;
  if (o.state === "reaches" || o.state === "over") {
    return (
      <p class="stale" title={o.reason}>
        Memory reaches its limit {ago(o.killed)}, at {when(o.killed)} (95%: {o.killed_high ? <>{when(o.killed_low)} to {when(o.killed_high)}</> : <>not before {when(o.killed_low)}</>}).{hurts}
      </p>
    );
  }
  return hurts ? <p class="stale" title={o.reason}>{hurts}</p> : null;
}

export function Header({ p }: { p: Process }): VNode {
  const s = p.settings, env = s.environment ?? {}, i = p.identity;
  return (
    <header class="phead">
      <div class="ptitle">
        <h1>{p.id}</h1>
        <span class={"pstate " + (p.error ? "warning" : p.up ? "up" : "ended")}>{p.error ? "cannot be read" : p.up ? "up" : "ended"}</span>
        <span class="note">
          pid {p.pid}{p.up ? <>, for {seconds(p.uptime_seconds)}</> : <>, {ago(p.ended)} after {seconds(p.uptime_seconds)}</>}
          {p.lives > 1 && <>, seen {p.lives} times: {p.lives - 1} restart{p.lives > 2 ? "s" : ""}</>}
        </span>
      </div>
      <dl class="facts">
        <Fact of="Version" title={p.module ?? undefined}>{p.module_version || "–"}</Fact>
        <Fact of="Go">{p.go_version?.replace(/^go/, "") ?? "–"}</Fact>
        <Fact of="GOGC" title={env.GOGC ? `started with GOGC=${env.GOGC}` : "the default, or set by the program"}>{gogc(s.gogc_percent)}</Fact>
        <Fact of="GOMEMLIMIT" title={env.GOMEMLIMIT ? `started with GOMEMLIMIT=${env.GOMEMLIMIT}` : undefined}>{gomemlimit(s.gomemlimit_bytes)}</Fact>
        <Fact of="GOMAXPROCS">{s.gomaxprocs ?? "–"}{s.cpu_quota_cores !== null && <small> of {s.cpu_quota_cores} quota</small>}</Fact>
        <Fact of="Container's limit">{s.container_limit_bytes === null ? "none" : bytes(s.container_limit_bytes)}</Fact>
        <Fact of={p.unit ? "Unit" : p.container_id ? "Container" : "User"}>{p.unit ?? (p.container_id ? <span class="mono">{p.container_id.slice(0, 12)}</span> : p.user ?? "–")}</Fact>
        <Pop label="All about it" title="Everything known about the process">
          <h3>{p.id}</h3>
          <dl class="whole">
            {([
              ["executable", i.exe], ["main package", i.main_package], ["module", [i.module, i.module_version].filter(Boolean).join(" ")], ["Go", [i.go_version, i.goos, i.goarch].filter(Boolean).join(" ")],
              ["revision", i.build_settings?.["vcs.revision"]], ["of", i.build_settings?.["vcs.time"]], ["build ID", i.build_id], ["started", when(i.start_time)], ["first seen", when(p.first_seen)], ["last seen", when(p.last_seen)],
              ["sampled every", seconds(p.sample_interval_seconds)], ["user", i.user], ["cgroup", i.cgroup_path], ["container", i.container_id], ["host memory", i.host_memory_bytes ? bytes(i.host_memory_bytes) : ""], ["host CPUs", i.host_cpus],
              ["built", [i.stripped && "stripped", i.static && "static", i.pie && "PIE", i.cgo && "cgo", i.race && "race detector"].filter(Boolean).join(", ")],
              ...Object.entries(env).map(([k, v]): [string, string] => [k, v]),
            ] as [string, string | number | undefined][]).filter(([, v]) => v !== undefined && v !== "").map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}
          </dl>
        </Pop>
      </dl>
      {p.up && p.outlook && <Ahead o={p.outlook} />}
      {p.error && <p class="stale">{p.error}. {p.hint}</p>}
    </header>
  );
}

/** The findings that are there, and those of the stretch that is shown. */
export function Strip(props: { process: string; episodes: readonly Episode[]; chosen: string | null; params: URLSearchParams }): VNode | null {
  const list = props.episodes.slice().sort((a, b) => Number(!!a.ended) - Number(!!b.ended) || severityRank[b.severity] - severityRank[a.severity]);
  if (list.length === 0) return null;
  const once = list.filter((e, i) => list.findIndex((x) => x.id === e.id) === i);
  return (
    <ul class="strip" aria-label="Findings">
      {once.slice(0, 6).map((e) => (
        <li key={e.id} class={e.severity + (e.ended ? " over" : "")}>
          <button type="button" aria-pressed={props.chosen === e.id} title={props.chosen === e.id ? "Show it no longer on the charts" : "Show it on the chart that it comes from"}
            onClick={() => {
              const on = props.chosen !== e.id;
              setParams({ finding: on ? e.id : null });
              if (on) requestAnimationFrame(() => document.querySelector(".figure.has")?.scrollIntoView({ block: "nearest" }));
            }}>
            <i class="tone" role="img" aria-label={e.severity}>{severityMark[e.severity]}</i><b>{e.finding.title}</b><small>{e.ended ? `ended ${ago(e.ended)}` : `for ${ago(e.began).replace(" ago", "")}`}</small>
          </button>
          <a href={href("findings", props.process, merge(new URLSearchParams(), { sel: `${e.id}@${e.began}` }))} aria-label={`Evidence and remedy: ${e.finding.title}`}>what to do</a>
        </li>
      ))}
      {once.length > 6 && <li><a href={href("findings", props.process)}>{once.length - 6} more</a></li>}
    </ul>
  );
}
