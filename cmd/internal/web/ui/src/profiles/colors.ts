// Colours of a flame graph. Text on each of them has a contrast of at least 4.5.

import { fromRuntime, split } from "./names.ts";
import { hash } from "./flame.ts";

export interface Palette {
  fill: (hue: number) => string; // of a package
  runtime: string;
  root: string;
  text: string;
  dim: string; // what a search does not find
  match: string;
  edge: string;
  ground: string;
  less: [number, number, number]; // all of it went
  same: [number, number, number];
  more: [number, number, number]; // all of it came
}

// Blue to vermilion: apart for all the usual kinds of colour blindness.
export const light: Palette = {
  fill: (h) => `hsl(${h} 52% 78%)`,
  runtime: "#d5dae0",
  root: "#e4e7ea",
  text: "#14181d",
  dim: "#eef0f2",
  match: "#b14bd6",
  edge: "#ffffff",
  ground: "#ffffff",
  less: [92, 158, 222],
  same: [233, 235, 238],
  more: [240, 128, 96],
};
export const dark: Palette = {
  fill: (h) => `hsl(${h} 30% 30%)`,
  runtime: "#3a434d",
  root: "#2a3139",
  text: "#f2f4f6",
  dim: "#1f252c",
  match: "#e29cff",
  edge: "#14181d",
  ground: "#14181d",
  less: [22, 96, 168],
  same: [50, 58, 67],
  more: [176, 62, 32],
};

// Hues that can be told apart, and none that the difference or a finding uses for
// its meaning alone: packages get their colour from their name.
const hues = [212, 188, 164, 96, 62, 42, 26, 262, 286, 322];

/** hue is a package's own. */
export function hue(name: string): number {
  const { path } = split(name);
  return hues[hash(path) % hues.length]!;
}

/** plain is the colour of a node in a profile of one moment. */
export function plain(p: Palette, name: string, root: boolean): string {
  if (root) return p.root;
  return fromRuntime(name) ? p.runtime : p.fill(hue(name));
}

/** Scale is what the colour of a difference stands for. */
export type Scale = "absolute" | "relative";

/**
 * growth places a change between -1 and 1: relative to what it was, where twice as
 * much is 1 and nothing left is -1; or absolute, as its share of the largest change.
 */
export function growth(value: number, base: number, scale: Scale, largest: number): number {
  const d = value - base;
  if (d === 0) return 0;
  const t = scale === "relative" ? (base > 0 ? d / base : 1) : largest > 0 ? d / largest : 0;
  return Math.max(-1, Math.min(1, t));
}

/** mix is the colour of a growth. Its root lifts small changes above the ground. */
export function mix(p: Palette, t: number): string {
  const to = t < 0 ? p.less : p.more;
  const k = Math.sqrt(Math.min(1, Math.abs(t)));
  const c = p.same.map((v, i) => Math.round(v + (to[i]! - v) * k));
  return `rgb(${c.join(" ")})`;
}
