// A server that answers with what it has read, as an application that follows the forwarded headers
// sees it. The address to listen on is the first argument.

import { createServer } from "node:http";

const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const fields = { ...request.headers };
    const read = {
      method: fields["x-http-method-override"] ?? request.method,
      path: fields["x-original-url"] ?? fields["x-rewrite-url"] ?? request.url,
      prefix: fields["x-forwarded-prefix"] ?? fields["x-script-name"] ?? "",
      key_id: fields["x-voxgate-key-id"],
      fields: { ...fields, raw: request.rawHeaders.join("\n") },
      body: Buffer.concat(parts).toString(),
    };
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(read));
  });
});
const [host, port] = process.argv[2].split(":");
server.listen(Number(port), host);
