// Shared code for the scripts that call a Node client: a call per line on standard input, and its
// result per line on standard output, both in JSON.
//
// In:  {"url": …, "socketUrl": …, "key": …, "way": …}
// Out: {"seconds": …, "audio": base64} or {"seconds": …, "error": {…}}

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

/** Loads a client. */
export const load = createRequire(`${process.env.VOXGATE_NODE_MODULES}/`);

/** A call that takes longer has failed; retries.py has the same bound. */
const HANG_SECONDS = 30;

/** The bytes of a stream of chunks. */
export async function bytesOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/**
 * Makes the calls, one after the other. `speak` resolves to the audio. `told` turns an error of the
 * client into `{ kind, status, headers, body, message }`.
 */
export async function serve(speak, told) {
  for await (const line of createInterface({ input: process.stdin })) {
    const begin = performance.now();
    const spoken = speak(JSON.parse(line)).then(
      (audio) => ({ audio: Buffer.from(audio).toString("base64") }),
      (error) => ({ error: told(error) }),
    );
    let timer;
    const hung = new Promise((resolve) => {
      const result = { error: { kind: `no result within ${HANG_SECONDS} s` } };
      timer = setTimeout(() => resolve(result), HANG_SECONDS * 1000);
    });
    const result = await Promise.race([spoken, hung]);
    clearTimeout(timer);
    const seconds = (performance.now() - begin) / 1000;
    console.log(JSON.stringify({ seconds, ...result }));
  }
}
