// An OpenID provider (the package `oidc-provider`) on a loopback address. A backend gets access tokens
// from it by the grant `client_credentials`. Reads one JSON object from standard input:
//
//   {"port", "jwks", "clientSecret", "audiences": {RESOURCE: AUDIENCE}}
//
// Prints one JSON object a line: {"issuer"} when it listens, and {"path"} for each request.

import http from "node:http";
import { pathToFileURL } from "node:url";
import { text } from "node:stream/consumers";

const modules = process.env.VOXGATE_NODE_MODULES;
const { Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));
const asked = JSON.parse(await text(process.stdin));
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

let answer;
const server = http.createServer((request, response) => {
  say({ path: request.url });
  answer(request, response);
});
server.listen(asked.port, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: asked.jwks,
    clients: [
      {
        client_id: "backend",
        client_secret: asked.clientSecret,
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: "speak",
          audience: asked.audiences[resource],
          accessTokenFormat: "jwt",
          accessTokenTTL: 600,
          jwt: { sign: { alg: asked.jwks.keys[0].alg } },
        }),
      },
    },
  });
  answer = provider.callback();
  say({ issuer });
});
