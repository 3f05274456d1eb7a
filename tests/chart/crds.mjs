// Validates custom resources. Reads JSON of the objects from standard input, and writes JSON of the
// problems to standard output.
//
// The packages of types are generated from the operators' sources. Their validators check patterns
// and types of values; the compiler finds unknown fields.
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules] = process.argv.slice(2);
const ts = createRequire(join(modules, "x.js"))("typescript");
const packages = {
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator",
  "gateway.networking.k8s.io/v1": "@kubernetes-models/gateway-api",
};

const objects = JSON.parse(readFileSync(0, "utf8"));
const problems = [];
const source = [];

for (const [index, object] of objects.entries()) {
  const { apiVersion, kind } = object;
  const home = packages[apiVersion];
  if (home === undefined) throw new Error(`no package of types for ${apiVersion}`);
  const file = pathToFileURL(join(modules, home, apiVersion, `${kind}.js`));
  const { [kind]: Model } = await import(file);
  try {
    new Model(object).validate();
  } catch (error) {
    problems.push(`${kind} ${object.metadata.name}: ${error.message}`);
  }
  source.push(
    `import type { I${kind} as I${index} } from "${home}/${apiVersion}/${kind}";`,
    `export const o${index}: I${index} = ${JSON.stringify(object)};`,
  );
}

// In the directory of the packages, so that the compiler finds them.
const file = join(modules, "..", "objects.mts");
writeFileSync(file, source.join("\n"));
const program = ts.createProgram([file], {
  noEmit: true,
  strict: true,
  skipLibCheck: true,
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: [],
});
for (const found of ts.getPreEmitDiagnostics(program)) {
  problems.push(ts.flattenDiagnosticMessageText(found.messageText, " "));
}
console.log(JSON.stringify(problems));
