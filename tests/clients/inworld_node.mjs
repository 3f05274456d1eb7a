// Calls Inworld's own Node client: JSON in on standard input, JSON out on standard output.
//
// In:  [{"baseUrl": …, "apiKey": …, "method": …, "argument": …}, …]
// Out: [{"audio": base64} | {"value": …} | {"error": {…}}, …], in the same order

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(`${process.env.VOXGATE_NODE_MODULES}/`);
const { createClient, ApiError, InworldTTSError } = require("@inworld/tts");

async function call({ baseUrl, apiKey, method, argument }) {
  // The client retries only after a 5xx status, which no test expects.
  const client = createClient({ baseUrl, apiKey, maxRetries: 0 });
  if (method === "stream") {
    const chunks = [];
    for await (const chunk of client.stream(argument)) chunks.push(chunk);
    return { audio: Buffer.concat(chunks).toString("base64") };
  }
  const value = await client[method](argument);
  return value instanceof Uint8Array
    ? { audio: Buffer.from(value).toString("base64") }
    : { value: value ?? null };
}

function told(error) {
  const kind =
    error instanceof ApiError ? "ApiError"
    : error instanceof InworldTTSError ? "InworldTTSError"
    : null;
  const { name, message, code, details } = error;
  return { error: { kind, name, message, code, details } };
}

const answers = [];
for (const asked of JSON.parse(await text(process.stdin))) {
  answers.push(await call(asked).catch(told));
}
console.log(JSON.stringify(answers));
