// Runs src/**/*.test.ts with node's test runner: esbuild bundles each to a
// temporary directory, because node does not read TypeScript with JSX.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { spawnSync } from "node:child_process";
import * as esbuild from "esbuild";

process.chdir(dirname(fileURLToPath(import.meta.url)));
const tests = readdirSync("src", { recursive: true }).map(String).filter((f) => f.endsWith(".test.ts")).sort();
const out = mkdtempSync(join(tmpdir(), "heapwright-ui-"));
try {
  await esbuild.build({
    entryPoints: tests.map((f) => ({ in: join("src", f), out: f.replaceAll("/", "_").replace(/\.ts$/, "") })),
    bundle: true, outdir: out, outExtension: { ".js": ".mjs" }, format: "esm", platform: "node", target: "node20",
    jsx: "automatic", jsxImportSource: "preact", logLevel: "warning", loader: { ".css": "empty" },
  });
  const files = readdirSync(out).filter((f) => f.endsWith(".mjs")).map((f) => join(out, f));
  const run = spawnSync(process.execPath, ["--test", ...files], { stdio: "inherit" });
  process.exitCode = run.status ?? 1;
} finally {
  rmSync(out, { recursive: true, force: true });
}
