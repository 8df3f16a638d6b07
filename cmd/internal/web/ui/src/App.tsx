// The frame around the views: navigation, theme, keys.
import { type FunctionComponent, type VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useGet, useSession, url } from "./api/client.ts";
import type { Alert } from "./api/types.ts";
import { View as Agent } from "./agent.tsx";
import { View as Alerts } from "./alerts.tsx";
import { View as Cycle } from "./cycle/view.tsx";
import { View as Experiments } from "./experiments/view.tsx";
import { View as Findings } from "./findings/view.tsx";
import { View as Fleet } from "./fleet/view.tsx";
import { View as Postmortems } from "./postmortems/view.tsx";
import { View as Process } from "./process/view.tsx";
import { View as Profiles } from "./profiles/view.tsx";
import { follow, go, href, merge, useRoute, type Route, type ViewName } from "./router.ts";
import { choice, choose, type Choice } from "./ui/theme.ts";
import { allKeys, useKeys, type Key } from "./ui/keys.ts";
import { View as WhatIf } from "./whatif/view.tsx";

const views: Record<ViewName, { title: string; View: FunctionComponent<{ params: URLSearchParams; process?: string }> }> = {
  fleet: { title: "Fleet", View: Fleet },
  process: { title: "Timeline", View: Process },
  cycle: { title: "GC cycle", View: Cycle },
  findings: { title: "Findings", View: Findings },
  profiles: { title: "Profiles", View: Profiles },
  whatif: { title: "What if", View: WhatIf },
  oom: { title: "Post-mortems", View: Postmortems },
  experiments: { title: "Experiments", View: Experiments },
  alerts: { title: "Alerts", View: Alerts },
  agent: { title: "Agent", View: Agent },
};

const top: ViewName[] = ["fleet", "findings", "alerts", "oom", "experiments", "agent"];
const tabs: ViewName[] = ["process", "findings", "profiles", "whatif"];
// What stays when one goes from one view of a process to another: the time.
const carried = ["from", "to", "at"];

function carry(params: URLSearchParams): URLSearchParams {
  const p = new URLSearchParams();
  for (const k of carried) {
    const v = params.get(k);
    if (v) p.set(k, v);
  }
  return p;
}

export function App(): VNode {
  const route = useRoute();
  const session = useSession();
  const alerts = useGet<{ active: Alert[] | null }>(url("alerts"), { every: 30000 });
  const help = useRef<HTMLDialogElement>(null);
  const [keys, setKeys] = useState<Key[]>([]);
  const firing = (alerts.data?.active ?? []).filter((a) => a.state === "firing").length;
  const { title, View } = views[route.view];

  useEffect(() => {
    document.title = (route.process ? route.process + " · " : "") + title + " · Heapwright";
  }, [route.process, title]);

  useKeys([
    { key: "?", does: "these keys", run: () => { setKeys(allKeys()); help.current?.showModal(); } },
    { key: "g", does: "the fleet", run: () => go(href("fleet")) },
    ...(route.process ? tabs.map((t, i): Key => ({ key: String(i + 1), does: views[t].title, run: () => go(href(t, route.process, carry(route.params))) })) : []),
    { key: "Escape", does: "back: to the process, to the fleet", run: (e) => up(route, e) },
  ]);

  return (
    <div class="app" onClick={follow}>
      <a class="skip" href="#main">Skip to the content</a>
      <nav class="bar" aria-label="Views">
        <a class="brand" href="/ui/fleet"><Mark />Heapwright</a>
        <ul>
          {top.map((v) => (
            <li key={v}><a href={href(v)} aria-current={route.view === v && !route.process ? "page" : undefined}>
              {views[v].title}{v === "alerts" && firing > 0 && <b class="badge" aria-label={`${firing} firing`}>{firing}</b>}
            </a></li>
          ))}
        </ul>
        <span class="host" title={session ? `heapwright ${session.version}, ${session.store.kind} store, ${session.role}` : undefined}>{session?.host}</span>
        <Theme />
        <button type="button" class="round" title="Keys (?)" aria-label="Keys" onClick={() => { setKeys(allKeys()); help.current?.showModal(); }}>?</button>
      </nav>
      {route.process !== undefined && (
        <nav class="tabs" aria-label={"Views of " + route.process}>
          {route.view !== "process" && <b class="of">{route.process}</b>}
          <ul>
            {tabs.map((v) => (
              <li key={v}><a href={href(v, route.process, carry(route.params))} aria-current={route.view === v || (v === "process" && route.view === "cycle") ? "page" : undefined}>{views[v].title}</a></li>
            ))}
          </ul>
        </nav>
      )}
      <main id="main" tabIndex={-1}>
        <View key={route.view + " " + (route.process ?? "")} params={route.params} process={route.process} />
      </main>
      <dialog ref={help} class="keys" aria-label="Keys" onClick={(e) => { if (e.target === help.current) help.current?.close(); }}>
        <h2>Keys</h2>
        <dl>{keys.map((k) => <div key={k.key + k.does}><dt><kbd>{k.key === "Escape" ? "esc" : k.key === "Enter" ? "enter" : k.key}</kbd></dt><dd>{k.does}</dd></div>)}</dl>
        <button type="button" onClick={() => help.current?.close()}>Close</button>
      </dialog>
    </div>
  );
}

function up(route: Route, e: KeyboardEvent): void {
  const t = e.target;
  if (t instanceof HTMLInputElement || t instanceof HTMLTextAreaElement) {
    t.blur();
    return;
  }
  if (document.querySelector("dialog[open],:popover-open")) return;
  if (route.process && route.view !== "process") go(href("process", route.process, carry(route.params)));
  else if (route.process || route.view !== "fleet") go(href("fleet"));
  else if (route.params.get("q")) go(href("fleet", undefined, merge(route.params, { q: null })));
}

function Theme(): VNode {
  const [c, set] = useState<Choice>(choice);
  const order: Choice[] = ["system", "light", "dark"];
  const next = order[(order.indexOf(c) + 1) % order.length]!;
  return (
    <button type="button" class="round" title={`Theme: ${c}; click for ${next}`} aria-label={`Theme: ${c}`} onClick={() => { choose(next); set(next); }}>
      {{ system: "◐", light: "○", dark: "●" }[c]}
    </button>
  );
}

function Mark(): VNode {
  return <svg viewBox="0 0 16 16" width="18" height="18" aria-hidden="true"><path d="M1.5 13 6 4v9l4.5-9v9L15 4" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" /></svg>;
}
