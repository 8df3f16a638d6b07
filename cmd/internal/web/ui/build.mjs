// Bundles src to dist. The same sources and lock file give the same bytes, so that
// dist is committed and a check can build it again and compare.
import { readFileSync, writeFileSync, mkdirSync, rmSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
process.chdir(here);

const options = {
  entryPoints: { app: "src/main.tsx" },
  bundle: true,
  outdir: "dist",
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  metafile: true,
  logLevel: "warning",
};

// The licences of what is bundled, from the packages themselves.
function licences(metafile) {
  const names = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const m = input.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (m) names.add(m[1]);
  }
  return [...names].sort().map((name) => {
    const dir = join("node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
    return `${name} ${version} (${license})\n\n${readFileSync(join(dir, "LICENSE"), "utf8").trim()}\n`;
  });
}

function finish(result) {
  const parts = licences(result.metafile);
  writeFileSync("dist/LICENSES.txt",
    "app.js and app.css hold parts of these packages.\n\n" + parts.join("\n" + "-".repeat(72) + "\n\n"));
  writeFileSync("dist/index.html", readFileSync("src/index.html"));
}

if (process.argv.includes("--watch")) {
  mkdirSync("dist", { recursive: true });
  const ctx = await esbuild.context({
    ...options,
    logLevel: "info",
    plugins: [{ name: "finish", setup: (b) => b.onEnd((r) => { if (r.metafile) finish(r); }) }],
  });
  await ctx.watch();
} else {
  rmSync("dist", { recursive: true, force: true });
  mkdirSync("dist", { recursive: true });
  finish(await esbuild.build(options));
  let total = 0;
  for (const f of ["index.html", "app.js", "app.css"]) {
    const raw = readFileSync(join("dist", f));
    const gz = gzipSync(raw, { level: 9 }).length;
    total += gz;
    console.log(`${f.padEnd(12)}${String(raw.length).padStart(9)} bytes ${String(gz).padStart(8)} gzipped`);
  }
  console.log(`${"all".padEnd(12)}${"".padStart(15)} ${String(total).padStart(8)} gzipped`);
  if (total > 150 * 1024) {
    console.error("error: the bundle is larger than 150 KiB gzipped");
    process.exit(1);
  }
}
