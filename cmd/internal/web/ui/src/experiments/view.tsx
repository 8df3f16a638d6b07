import type { VNode } from "preact";
import { Loading } from "../ui/State.tsx";

export function View(_: { params: URLSearchParams; process?: string }): VNode {
  return <Loading />;
}
