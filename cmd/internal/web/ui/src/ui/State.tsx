// What stands where data should: while it is on its way, when there is none, when
// it is old, and when it cannot be had.
import type { ComponentChildren, VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { ApiError, Loadable } from "../api/client.ts";
import { clock } from "./format.tsx";

export function Loading(props: { what?: string; rows?: number }): VNode {
  // Quick answers should not flash a message.
  const [late, set] = useState(false);
  useEffect(() => {
    const t = setTimeout(() => set(true), 250);
    return () => clearTimeout(t);
  }, []);
  return (
    <div class="state loading" role="status" aria-live="polite">
      <span class={late ? "" : "unseen"}>Loading{props.what ? " " + props.what : ""}…</span>
      {Array.from({ length: props.rows ?? 0 }, () => <i aria-hidden="true" />)}
    </div>
  );
}

export function Empty(props: { title: string; children?: ComponentChildren }): VNode {
  return <div class="state empty"><b>{props.title}</b>{props.children && <p>{props.children}</p>}</div>;
}

export function Failure(props: { error: ApiError; retry?: () => void; what?: string }): VNode {
  return (
    <div class="state failure" role="alert">
      <b>{props.what ? `Cannot show ${props.what}: ` : ""}{props.error.message}</b>
      {props.error.hint && <p>{props.error.hint}</p>}
      {props.error.status === 401 && <a class="button" href={"/login?next=" + encodeURIComponent(location.pathname + location.search)} target="_self">Sign in</a>}
      {props.retry && <button type="button" onClick={props.retry}>Try again</button>}
    </div>
  );
}

/** Stale says that what is shown is old, and why. */
export function Stale(props: { at: number; error: ApiError; retry?: () => void }): VNode {
  return (
    <div class="stale" role="status">
      <span>As of {clock(props.at)}: {props.error.message}.{props.error.hint && " " + props.error.hint}</span>
      {props.retry && <button type="button" class="quiet" onClick={props.retry}>Try again</button>}
    </div>
  );
}

/** Load draws data when it is there, and else says what is the matter. */
export function Load<T>(props: { of: Loadable<T>; what?: string; rows?: number; children: (data: T) => ComponentChildren }): VNode {
  const { data, error, at, reload } = props.of;
  if (data === null) return error ? <Failure error={error} retry={reload} what={props.what} /> : <Loading what={props.what} rows={props.rows} />;
  return <>{error && <Stale at={at} error={error} retry={reload} />}{props.children(data)}</>;
}
