// SPDX-License-Identifier: MIT OR Apache-2.0
// Sells by tempo/charge with mppx's server as published, at a local chain, until it is ended.
//
//   node tests/interop/server.mjs REQUEST
//
// REQUEST is JSON: rpc_url, chain_id, token, and the seller's key. The server's URL is printed once it listens. `/pull` and
// `/push` sell an answer in that way alone, `/zero` for a proof, and `/splits` shares its price with somebody else.

import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import process from 'node:process'
import { Mppx, NodeListener, Request, Store, tempo } from 'mppx/server'
import { privateKeyToAccount } from 'viem/accounts'
import { chainClient } from './tempo.mjs'

const PRICE = '0.0001'
const ANSWER = 'because water runs downhill'

const request = JSON.parse(process.argv[2])
const client = chainClient(request)
const account = privateKeyToAccount(request.key)
const mppx = Mppx.create({
  methods: [
    tempo.charge({
      account,
      currency: request.token,
      getClient: () => client,
      recipient: account.address,
      store: Store.memory(),
    }),
  ],
  secretKey: randomBytes(32).toString('base64'),
})

const somebody = '0x00000000000000000000000000000000000000aa'
const sold = {
  '/pull': mppx.charge({ amount: PRICE, supportedModes: ['pull'] }),
  '/push': mppx.charge({ amount: PRICE, supportedModes: ['push'] }),
  '/splits': mppx.charge({ amount: PRICE, splits: [{ amount: '0.00001', recipient: somebody }] }),
  '/zero': mppx.charge({ amount: '0' }),
}

const server = createServer(async (asked, answer) => {
  const wanted = sold[asked.url]
  if (!wanted) {
    answer.writeHead(404).end()
    return
  }
  const paid = await wanted(Request.fromNodeListener(asked, answer))
  const said = paid.status === 402 ? paid.challenge : paid.withReceipt(new Response(ANSWER))
  await NodeListener.sendResponse(answer, said)
})
server.listen(0, '127.0.0.1', () => process.stdout.write(`http://127.0.0.1:${server.address().port}\n`))
