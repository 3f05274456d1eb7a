// Calls Cartesia's own Node client. node.mjs documents the input and the output.

import { load, serve } from "./node.mjs";

const { Cartesia } = load("@cartesia/cartesia-js");

const REQUEST = {
  model_id: "sonic-3",
  voice: { mode: "id", id: "6ccbfb76-1fc6-48f7-b71d-91ac6298247b" },
  output_format: { container: "raw", encoding: "pcm_s16le", sample_rate: 24000 },
  transcript: "Good morning. The gateway let this sentence through.",
};

async function speak({ url, key, way }) {
  const client = new Cartesia({ apiKey: key, baseURL: url });
  if (way === "bytes") return (await client.tts.generate(REQUEST)).arrayBuffer();
  const chunks = [];
  for await (const event of await client.tts.generateSSE(REQUEST)) {
    if (event.type === "chunk") chunks.push(Buffer.from(event.data, "base64"));
  }
  return Buffer.concat(chunks);
}

function told(error) {
  const kind = ["AuthenticationError", "RateLimitError", "APIError"].find(
    (name) => error instanceof Cartesia[name],
  );
  const { status, error: body, message } = error;
  return { kind, status, headers: Object.fromEntries(error.headers ?? []), body, message };
}

await serve(speak, told);
