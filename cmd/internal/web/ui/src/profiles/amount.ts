// Values of profiles, and how they changed. Pure.
import { bytes, count, percent, seconds } from "../ui/format.tsx";

/** amount writes a value of a profile. */
export function amount(v: number, unit: string): string {
  switch (unit) {
    case "bytes": return bytes(v);
    case "seconds": return seconds(v);
    default: return count(Math.round(v));
  }
}

/** signed writes a change, with its sign. */
export function signed(v: number, unit: string): string {
  if (v === 0) return "±0";
  return (v > 0 ? "+" : "−") + amount(Math.abs(v), unit);
}

/** relative writes a change as a share of what was. */
export function relative(value: number, base: number): string {
  if (base <= 0) return value > 0 ? "new" : "";
  if (value <= 0) return "gone";
  const r = value / base - 1;
  if (Math.abs(r) < 0.0005) return "";
  if (r >= 9.995) return "×" + count(value / base);
  return (r > 0 ? "+" : "−") + percent(Math.abs(r));
}
