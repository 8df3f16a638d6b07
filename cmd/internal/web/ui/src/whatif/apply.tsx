// Changing a process that runs: the plan of the change first, then a question, then
// the change, which the agent takes back by itself.
import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ApiError, post, useSession } from "../api/client.ts";
import { href } from "../router.ts";
import { gogc, gomemlimit, when } from "../ui/format.tsx";
import { Help } from "../ui/Help.tsx";
import { percentageText, sizeText, type Forecast } from "./model.ts";

const lease = 600; // seconds

interface Step { symbol: string; old: string; new: string }
interface Change { pid: number; steps: Step[] | null; outcome: string; text: string; notes: string[] | null; until: string | null }

const about = {
  what: "The agent writes the chosen settings into the memory of the running process, as heapwright tune --apply live does: the runtime uses them from its next collection on. It shows each word before it writes it.",
  good: "GC CPU and memory go where the forecast says, on the timeline.",
  bad: "It is not kept: after the lease the old settings are put back. To keep them, set them where the process is started.",
  source: "Every change stands in the agent's audit log, with who asked and why.",
};

export function Apply(props: { process: string; now: Forecast; chosen: Forecast | null }): VNode | null {
  const session = useSession();
  if (!session) return null;
  const able = session.changes_enabled && session.role === "operator";
  return (
    <section class="figure live" aria-label="Apply live">
      <header><h2>Try it live</h2><div class="tools"><Help of="Try it live" about={about} /></div></header>
      {able ? <Form {...props} /> : (
        <p class="note">
          {session.changes_enabled ? "Only operators may change a running process: sign in with the operator's token." : "This agent only reads. To let operators change GOGC and GOMEMLIMIT of a running process for some minutes, set access.allow_changes, an operator token and an audit log in its configuration, and restart it."}
          {" "}From a terminal: <code>heapwright tune {props.process.replace(/:\d+$/, "")} --apply live</code>
        </p>
      )}
    </section>
  );
}

function Form(props: { process: string; now: Forecast; chosen: Forecast | null }): VNode {
  const { process, now, chosen } = props;
  const [reason, setReason] = useState("");
  const [plan, setPlan] = useState<Change | null>(null);
  const [done, setDone] = useState<Change | null>(null);
  const [said, say] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const key = chosen ? `${chosen.gogc_percent} ${chosen.gomemlimit_bytes}` : "";
  // What was shown is what is asked about: other settings need to be shown again.
  useEffect(() => setPlan(null), [key]);
  const send = (path: string, body: object, then: (c: Change) => void): void => {
    setBusy(true);
    setError(null);
    post<Change>(path, body).then(then, (e: unknown) => setError(e instanceof ApiError ? e : new ApiError(String(e), "", 0))).finally(() => setBusy(false));
  };
  // To apply is to change the very process that was looked at, and not one that was started in its place since.
  const change = (shown: Change | null): object => ({
    process, lease_seconds: lease, dry_run: !shown, reason, ...(shown ? { pid: shown.pid } : {}),
    ...(chosen && chosen.gogc_percent !== now.gogc_percent ? { gogc: percentageText(chosen.gogc_percent) } : {}),
    ...(chosen && chosen.gomemlimit_bytes !== now.gomemlimit_bytes ? { gomemlimit: sizeText(chosen.gomemlimit_bytes) } : {}),
  });
  const takeBack = (label: string): VNode => (
    <button type="button" class={done ? "" : "quiet"} disabled={busy} onClick={() => send("undo", { process, reason: "taken back from the page" }, (c) => { say(c.text); setDone(null); setPlan(null); })}>{label}</button>
  );
  if (done) {
    return (
      <div role="status">
        <p><b>{done.outcome === "nothing_to_change" ? "Nothing was changed." : "Changed for 10 minutes."}</b> {done.text}</p>
        {done.until && <p>The agent puts the old settings back at {when(done.until)}. Watch the <a href={href("process", process)}>timeline</a> meanwhile.</p>}
        {takeBack("Take it back now")}
        {error && <Problem error={error} />}
      </div>
    );
  }
  const after = <>{said && <p role="status">{said}</p>}{error && <Problem error={error} />}</>;
  if (!chosen || (chosen.gogc_percent === now.gogc_percent && chosen.gomemlimit_bytes === now.gomemlimit_bytes)) {
    return <>{after}<p class="note">Choose other settings above: then they can be tried on the running process for 10 minutes. {takeBack("Take back an earlier change")}</p></>;
  }
  const what: [string, string][] = [];
  if (chosen.gogc_percent !== now.gogc_percent) what.push(["GOGC", gogc(chosen.gogc_percent)]);
  if (chosen.gomemlimit_bytes !== now.gomemlimit_bytes) what.push(["GOMEMLIMIT", gomemlimit(chosen.gomemlimit_bytes)]);
  return (
    <form onSubmit={(e) => { e.preventDefault(); send("change", change(null), setPlan); }}>
      {after}
      <p>Sets {what.map(([name, to], i) => <>{i > 0 && " and "}{name} to <b>{to}</b></>)} in the running process, for 10 minutes. A container's limit is left alone.</p>
      <label>Why, for the audit log <input type="text" value={reason} maxLength={200} required onInput={(e) => setReason(e.currentTarget.value)} /></label>{" "}
      <button type="submit" disabled={busy || reason.trim() === ""}>Show what would be written</button> {takeBack("Take back an earlier change")}
      {plan && (
        <div class="steps" role="status">
          <p><b>This would be written:</b></p>
          <ul>{(plan.steps ?? []).map((s, i) => <li key={i}><code>{s.symbol}</code>: {s.old} → <b>{s.new}</b></li>)}</ul>
          {plan.text && <p>{plan.text}</p>}
          {(plan.notes ?? []).map((n) => <p class="note" key={n}>{n}</p>)}
          <button type="button" class="danger" disabled={busy || plan.outcome === "nothing_to_change"} onClick={() => send("change", change(plan), setDone)}>Apply for 10 minutes</button>{" "}
          <button type="button" onClick={() => setPlan(null)}>Leave it</button>
        </div>
      )}
    </form>
  );
}

function Problem(props: { error: ApiError }): VNode {
  return <p class="bad" role="alert">{props.error.message}{props.error.hint && ". " + props.error.hint}</p>;
}
