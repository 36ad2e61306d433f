// A service that asks Weir before it answers; node alone is all that it needs.
//
//     WEIR_OPERATOR=http://127.0.0.1:8403 WEIR_CHARGE_TOKEN=… node sidecar.mjs
//
// It prints where it answers. Its routes and prices are those of the daemon's weir.toml, and docs/embedding.md says what
// asking first means: what is allowed is charged.

import { createServer } from "node:http";

const CHARGE = `${process.env.WEIR_OPERATOR}/v1/charge`;
const TOKEN = process.env.WEIR_CHARGE_TOKEN;
// An open may wait for its block.
const PATIENCE_MS = 120_000;
const BODY_BYTES_MAX = 1024 * 1024;
const CONCERN_PAYMENT = ["authorization", "accept-payment", "payment-session", "idempotency-key"];

/** What to do with a request. Throws where Weir gives no verdict: then nothing is served. */
async function ask(request, body) {
  const headers = {};
  for (const name of CONCERN_PAYMENT) {
    // Each line as it came: node's `headers` would drop a second credential.
    const lines = request.headersDistinct[name];
    if (lines) headers[name] = lines;
  }
  const question = { method: request.method, url: request.url, headers };
  if (body.length > 0) question.body = body.toString("base64");
  const answer = await fetch(CHARGE, {
    method: "POST",
    headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify(question),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function read(request) {
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > BODY_BYTES_MAX) return null;
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function reply(response, status, headers, body) {
  for (const [name, value] of headers) response.appendHeader(name, value);
  response.writeHead(status);
  response.end(body);
}

// HEAD and a POST without a body manage channels at every paid URL, so every method is asked about.
async function answer(request, response) {
  const body = await read(request);
  if (body === null) return reply(response, 413, [], "a body has at most 1 MiB\n");
  let verdict;
  try {
    verdict = await ask(request, body);
  } catch (error) {
    console.error("no verdict:", error.message);
    return reply(response, 503, [["retry-after", "5"]], "payments cannot be taken now\n");
  }
  if (!verdict.deliver) return reply(response, verdict.status, verdict.headers, verdict.body);
  const { payment } = verdict;
  const said = payment ? `JavaScript was asked by ${payment.payer} for ${payment.amount}.\n` : "free\n";
  reply(response, 200, [...verdict.headers, ["content-type", "text/plain"]], said);
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
