// Makes a token with Inworld's Node SDK, or as its JWT sample does, and opens a realtime session with
// it. Reads one JSON object from standard input, and prints one:
//
//   {"how": "sdk" | "sample", "url", "socketUrl", "engineHost", "key", "secret", "workspace", "nonce"?,
//    "dateTime"?, "path"?, "body"?}
//   {"token", "type", "expirationTime", "sessionId", "message"}, or {"status", "body"}, or {"code", "details"}

import crypto from "node:crypto";
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(`${process.env.VOXGATE_NODE_MODULES}/`);
const asked = JSON.parse(await text(process.stdin));

// https://github.com/inworld-ai/inworld-nodejs-sdk, KeySignature
function authorization() {
  const now = new Date().toISOString();
  const dateTime = asked.dateTime ?? now.replace(/\D/g, "").slice(0, 14);
  const nonce = asked.nonce ?? crypto.randomBytes(16).toString("hex").slice(1, 12);
  const method = "ai.inworld.engine.WorldEngine/GenerateToken";
  const hmac = (key, part) => crypto.createHmac("sha256", key).update(part).digest();
  const parts = [dateTime, asked.engineHost.replace(":443", ""), method, nonce];
  const key = parts.reduce(hmac, `IW1${asked.secret}`);
  const signature = hmac(key, "iw1_request").toString("hex");
  return `IW1-HMAC-SHA256 ApiKey=${asked.key},DateTime=${dateTime},Nonce=${nonce},Signature=${signature}`;
}

async function bySample() {
  const answer = await fetch(asked.url + (asked.path ?? "/auth/v1/tokens/token:generate"), {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: authorization() },
    body: JSON.stringify(asked.body ?? { key: asked.key, resources: [asked.workspace] }),
  });
  const body = await answer.text();
  return answer.ok ? JSON.parse(body) : { status: answer.status, body };
}

async function bySdk() {
  process.env.NODE_SDK_INWORLD_ENGINE_HOST = asked.engineHost;
  process.env.NODE_SDK_INWORLD_ENGINE_SSL = "false";
  const { InworldClient } = require("@inworld/nodejs-sdk");
  const client = new InworldClient()
    .setApiKey({ key: asked.key, secret: asked.secret })
    .setScene(`${asked.workspace}/scenes/test`)
    .setOnError(() => {});
  try {
    const { token, type, expirationTime, sessionId } = await client.generateSessionToken();
    return { token, type, expirationTime, sessionId };
  } catch ({ code, details }) {
    return { code, details };
  }
}

function firstMessage(token) {
  const { WebSocket } = require("ws");
  const url = `${asked.socketUrl}/api/v1/realtime/session?key=voice-1&protocol=realtime`;
  const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${token}` } });
  return new Promise((done, failed) => {
    socket.on("open", () => socket.send(JSON.stringify({ type: "session.update", session: {} })));
    socket.on("message", (data) => {
      socket.close();
      done(JSON.parse(data.toString()));
    });
    socket.on("error", failed);
  });
}

const made = asked.how === "sdk" ? await bySdk() : await bySample();
if (made.token) made.message = await firstMessage(made.token);
console.log(JSON.stringify(made));
process.exit(0);
