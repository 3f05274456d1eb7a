// Calls the WebSocket client of Cartesia's own Node client, which speaks only TLS. node.mjs documents
// the input and the output.

import { load, serve } from "./node.mjs";

const { Cartesia } = load("@cartesia/cartesia-js");

const OPTIONS = {
  model_id: "sonic-3",
  voice: { mode: "id", id: "6ccbfb76-1fc6-48f7-b71d-91ac6298247b" },
  output_format: { container: "raw", encoding: "pcm_s16le", sample_rate: 24000 },
};

async function speak({ url, key }) {
  const client = new Cartesia({ apiKey: key, baseURL: url });
  const socket = await client.tts.websocket();
  try {
    const context = socket.context(OPTIONS);
    await context.push({ transcript: "Good morning. The gateway let this sentence through." });
    await context.no_more_inputs();
    const chunks = [];
    for await (const event of context.receive({ timeout: 20000 })) {
      if (event.type === "chunk") chunks.push(Buffer.from(event.data, "base64"));
    }
    return Buffer.concat(chunks);
  } finally {
    socket.close();
  }
}

await serve(speak, (error) => ({ kind: error?.constructor?.name, message: String(error?.message) }));
