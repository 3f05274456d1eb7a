// Calls OpenAI's own Node client. node.mjs documents the input and the output.

import { load, serve } from "./node.mjs";

const { OpenAI } = load("openai");

async function speak({ url, key }) {
  const client = new OpenAI({ apiKey: key, baseURL: `${url}/v1` });
  const answer = await client.audio.speech.create({
    model: "tts-1",
    voice: "alloy",
    input: "Good morning. The gateway let this sentence through.",
    response_format: "pcm",
  });
  return answer.arrayBuffer();
}

function told(error) {
  const kind = ["AuthenticationError", "RateLimitError", "APIError"].find(
    (name) => error instanceof OpenAI[name],
  );
  const { status, error: body, message } = error;
  return { kind, status, headers: Object.fromEntries(error.headers ?? []), body, message };
}

await serve(speak, told);
