// Calls ElevenLabs' own Node client. node.mjs documents the input and the output.

import { bytesOf, load, serve } from "./node.mjs";

const { ElevenLabsClient, ElevenLabsError } = load("@elevenlabs/elevenlabs-js");

const VOICE = "JBFqnCBsd6RMkjVDRZzb";
const REQUEST = {
  text: "Good morning. The gateway let this sentence through.",
  modelId: "eleven_flash_v2_5",
  outputFormat: "pcm_24000",
};

async function speak({ url, key, way }) {
  const client = new ElevenLabsClient({ apiKey: key, baseUrl: url });
  return bytesOf(await client.textToSpeech[way](VOICE, REQUEST));
}

function told(error) {
  const kind = error instanceof ElevenLabsError ? "ElevenLabsError" : undefined;
  const { statusCode: status, body, message } = error;
  const headers = Object.fromEntries(error.rawResponse?.headers ?? []);
  return { kind, status, headers, body, message };
}

await serve(speak, told);
