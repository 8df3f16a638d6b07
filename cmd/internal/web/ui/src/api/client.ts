// Asks the HTTP API. Every request goes to this server; there is no other.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { Session } from "./types.ts";

export const base = "/api/heapwright/v1/";

/** What the server says when it cannot answer, with what to do. */
export class ApiError extends Error {
  constructor(message: string, readonly hint: string, readonly status: number) {
    super(message);
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>;

/** url returns the address of an endpoint; parameters without a value are left out. */
export function url(path: string, query: Query = {}): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(query)) if (v !== null && v !== undefined && v !== "") q.set(k, String(v));
  const s = q.toString();
  return base + path + (s ? "?" + s : "");
}

async function answer<T>(res: Response): Promise<T> {
  let body: unknown = null;
  if ((res.headers.get("content-type") ?? "").includes("json")) body = await res.json().catch(() => null);
  if (res.ok && body !== null) return body as T;
  const e = (body ?? {}) as { error?: string; hint?: string };
  if (res.status === 401) throw new ApiError("you are not signed in", "Open /login and enter the token of this agent.", 401);
  throw new ApiError(e.error ?? `the agent answered ${res.status} ${res.statusText}`.trim(), e.hint ?? "", res.status);
}

function unreachable(err: unknown): never {
  if (err instanceof ApiError || (err instanceof DOMException && err.name === "AbortError")) throw err;
  throw new ApiError("the agent does not answer", "Is heapwright serve still running? This page tries again by itself.", 0);
}

export async function get<T>(address: string, signal?: AbortSignal): Promise<T> {
  try {
    return await answer<T>(await fetch(address, { signal, headers: { Accept: "application/json" }, credentials: "same-origin" }));
  } catch (err) {
    return unreachable(err);
  }
}

let session: Promise<Session> | null = null;

/** getSession returns who this page is signed in as; it is asked for once. */
export function getSession(): Promise<Session> {
  session ??= get<Session>(url("session")).catch((err: unknown) => {
    session = null;
    throw err;
  });
  return session;
}

/** post sends JSON, with the token that protects against requests of other sites. */
export async function post<T>(path: string, body: unknown): Promise<T> {
  const send = async () => {
    const s = await getSession();
    const headers: Record<string, string> = { "Content-Type": "application/json", Accept: "application/json" };
    if (s.csrf) headers[s.csrf.header] = s.csrf.token;
    return fetch(url(path), { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin" });
  };
  try {
    let res = await send();
    if (res.status === 403) { // the agent restarted: its token is a new one
      session = null;
      res = await send();
    }
    return await answer<T>(res);
  } catch (err) {
    return unreachable(err);
  }
}

/** What is known about something that is asked for again and again. Old data stays while new is on its way. */
export interface Loadable<T> {
  data: T | null;
  error: ApiError | null;
  loading: boolean; // an answer is awaited
  at: number; // when data came, ms since the epoch
  reload: () => void;
}

/**
 * useGet asks for an address, again each `every` ms while the page is visible, and
 * when the address changes. null asks for nothing. Data of another address is not
 * shown as this one's unless `keep` says that it looks the same (a moved range).
 */
export function useGet<T>(address: string | null, options: { every?: number; keep?: boolean } = {}): Loadable<T> {
  const [state, set] = useState<{ of: string | null; data: T | null; error: ApiError | null; loading: boolean; at: number }>(
    { of: null, data: null, error: null, loading: address !== null, at: 0 });
  const [tick, bump] = useState(0);
  const every = options.every ?? 0;
  const keep = options.keep ?? false;
  const latest = useRef(address);
  latest.current = address;

  useEffect(() => {
    if (address === null) return;
    const abort = new AbortController();
    let timer = 0;
    const ask = () => {
      if (document.hidden) {
        timer = window.setTimeout(ask, 1000);
        return;
      }
      set((s) => (s.loading ? s : { ...s, loading: true }));
      get<T>(address, abort.signal).then(
        (data) => set({ of: address, data, error: null, loading: false, at: Date.now() }),
        (err: unknown) => {
          if (abort.signal.aborted) return;
          const e = err instanceof ApiError ? err : new ApiError(String(err), "", 0);
          set((s) => ({ ...s, data: s.of === address || keep ? s.data : null, of: address, error: e, loading: false }));
        },
      ).finally(() => {
        if (every > 0 && !abort.signal.aborted) timer = window.setTimeout(ask, every);
      });
    };
    ask();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [address, every, tick, keep]);

  const reload = useCallback(() => bump((n) => n + 1), []);
  const current = state.of === address || keep;
  return {
    data: current ? state.data : null,
    error: current ? state.error : null,
    loading: address !== null && (state.loading || state.of !== address),
    at: state.at,
    reload,
  };
}

/** useSession returns the session, null until it is known. */
export function useSession(): Session | null {
  const [s, set] = useState<Session | null>(null);
  useEffect(() => {
    let on = true;
    getSession().then((v) => on && set(v), () => {});
    return () => { on = false; };
  }, []);
  return s;
}

/**
 * live opens the stream of events, and opens it again when it breaks; `state` hears
 * of both.
 */
export function live(process: string | null, on: (event: string, data: unknown) => void, state: (open: boolean) => void): () => void {
  let source: EventSource, timer = 0;
  const open = () => {
    source = new EventSource(url("live", { process }));
    for (const name of ["processes", "sample"]) {
      source.addEventListener(name, (e) => {
        try {
          on(name, JSON.parse((e as MessageEvent<string>).data));
        } catch { /* a cut message: the next one is whole */ }
      });
    }
    source.onopen = () => state(true);
    source.onerror = () => {
      state(false);
      // The browser tries again by itself after a break, but not after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED) timer = window.setTimeout(open, 5000);
    };
  };
  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
