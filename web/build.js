// Bundle report.js for the reports: one script, which stands inside every report.html. Needs `npm ci`.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const three = JSON.parse(await readFile(here("node_modules/three/package.json"), "utf8"));
const license = await readFile(here("node_modules/three/LICENSE"), "utf8");

await build({
  entryPoints: [here("report.js")],
  outfile: process.argv[2] ?? here("../platform/diffusiontalker/report/face.bundle.js"),
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  banner: {
    js: `/* Generated from web/report.js by "npm run build"; do not edit. It holds three.js ${three.version}:\n\n${license.trim()}\n*/`,
  },
});
