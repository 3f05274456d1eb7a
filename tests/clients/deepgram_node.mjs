// Calls Deepgram's own Node client. node.mjs documents the input and the output.

import { bytesOf, load, serve } from "./node.mjs";

const { DeepgramClient, DeepgramError } = load("@deepgram/sdk");

const TEXT = "Good morning. The gateway let this sentence through.";
const MODEL = "aura-2-thalia-en";

async function speak({ url, socketUrl, key, way }) {
  const environment = { base: url, production: socketUrl, agent: socketUrl, agentRest: url };
  const client = new DeepgramClient({ apiKey: key, environment });
  if (way === "http") {
    const answer = await client.speak.v1.audio.generate({ text: TEXT, model: MODEL });
    return bytesOf(answer.stream());
  }
  const socket = await client.speak.v1.connect({
    model: MODEL,
    encoding: "linear16",
    sample_rate: 24000,
  });
  const chunks = [];
  const flushed = new Promise((resolve, reject) => {
    socket.on("message", (message) => {
      if (message.type === "Flushed") resolve();
      else if (message instanceof Blob) chunks.push(message);
    });
    socket.on("error", reject);
  });
  // waitForOpen throws the same error if the handshake is refused.
  flushed.catch(() => {});
  socket.connect();
  await socket.waitForOpen();
  socket.sendText({ type: "Speak", text: TEXT });
  socket.sendFlush({ type: "Flush" });
  await flushed;
  socket.sendClose({ type: "Close" });
  return new Blob(chunks).arrayBuffer();
}

function told(error) {
  const kind = error instanceof DeepgramError ? "DeepgramError" : undefined;
  const { statusCode: status, body, message } = error;
  const headers = Object.fromEntries(error.rawResponse?.headers ?? []);
  return { kind, status, headers, body, message };
}

await serve(speak, told);
