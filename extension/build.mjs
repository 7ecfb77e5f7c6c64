// Builds what the Python package ships: mlops_magics/widgets/monitor.js and monitor.css.
//
//   node build.mjs             one build
//   node build.mjs --watch     build again at every change
//   node build.mjs --gallery   serve every state of every view at http://127.0.0.1:8765
//   node build.mjs --test      run tests/*.test.ts under node's own test runner

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const asked = new Set(process.argv.slice(2));

/** @type {esbuild.BuildOptions} */
const shared = {
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  target: ["es2022"],
  charset: "utf8",
  logLevel: "info",
};

/** @type {esbuild.BuildOptions} */
const widgets = {
  ...shared,
  entryPoints: ["src/monitor.ts"],
  outdir: "../mlops_magics/widgets",
  minify: true,
  legalComments: "eof", // uPlot's licence travels with its code
};

if (asked.has("--test")) {
  const out = mkdtempSync(join(tmpdir(), "mlops-extension-"));
  const tests = readdirSync(join(here, "tests")).filter((name) => name.endsWith(".test.ts"));
  await esbuild.build({
    ...shared,
    entryPoints: tests.map((name) => join("tests", name)),
    outdir: out,
    outExtension: { ".js": ".mjs" },
    platform: "node",
    logLevel: "warning",
  });
  const files = readdirSync(out).map((name) => join(out, name));
  const { status } = spawnSync(process.execPath, ["--test", "--test-timeout=60000", ...files], { stdio: "inherit" });
  rmSync(out, { recursive: true });
  process.exit(status ?? 1);
} else if (asked.has("--gallery")) {
  const context = await esbuild.context({
    ...shared,
    entryPoints: ["gallery/gallery.ts"],
    outdir: "gallery/built",
    write: false,
    sourcemap: "inline",
  });
  await context.watch();
  const { port } = await context.serve({
    host: "127.0.0.1",
    port: Number(process.env.PORT ?? 8765),
    servedir: "gallery",
  });
  console.log(`gallery: http://127.0.0.1:${port}/  (append ?theme=dark&width=420&only=drifted)`);
} else if (asked.has("--watch")) {
  await (await esbuild.context(widgets)).watch();
} else {
  await esbuild.build(widgets);
}
