// SPDX-License-Identifier: MIT OR Apache-2.0
// Pays a devnet with mppx as published: `sessionLegacy`, the client of tempo/session v1.
//
//   node tests/interop/mppx.mjs READY_FILE
//
// READY_FILE is what `weir dev --chain tempo --ready-file` wrote. One payer opens a channel, pays for three answers and
// closes; a second one reads a stream that is paid by the event, and closes. What came back is printed as one JSON
// document; whether it is right is for others to judge. Anything that mppx itself complains of ends this with an error.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { sessionLegacyManager } from 'mppx/client'
import { createClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { fillTransaction } from 'viem/actions'
import { tempoLocalnet } from 'viem/chains'

const ANSWERS = 3
// What a payer trusts a seller with, in whole tokens.
const MAX_DEPOSIT = '1'
// anvil 1.7.1 reckons the gas of a Tempo transaction without its calls, too low by half for an open. A client that is
// told a limit needs no reckoning; what is not used is not paid.
const OPEN_GAS = 3_000_000n

const ready = JSON.parse(readFileSync(process.argv[2], 'utf8'))

// A payer as mppx's users write one; `wire` gets every request that it sends.
function payer(key) {
  const wire = []
  const session = sessionLegacyManager({
    account: privateKeyToAccount(key),
    client: createClient({
      chain: { ...tempoLocalnet, id: ready.chain_id },
      transport: http(ready.rpc_url),
    }).extend((client) => ({
      fillTransaction: (request) => fillTransaction(client, { ...request, gas: OPEN_GAS }),
    })),
    escrowContract: ready.escrow,
    maxDeposit: MAX_DEPOSIT,
    fetch: async (input, init) => {
      const response = await fetch(input, init)
      wire.push({ method: init?.method ?? 'GET', status: response.status })
      return response
    },
  })
  return { session, wire }
}

async function buyAnswers({ session, wire }) {
  const answers = []
  for (let at = 0; at < ANSWERS; at++) {
    const answer = await session.fetch(ready.session_v1_url)
    answers.push({
      status: answer.status,
      body: await answer.text(),
      receipt: answer.receipt,
      challenge: answer.challenge.id,
      authorised: answer.cumulative.toString(),
    })
  }
  const channel = session.channelId
  return { channel, answers, closed: await session.close(), wire }
}

async function readStory({ session, wire }) {
  const receipts = []
  const events = await session.sse(ready.sse_url, { onReceipt: (receipt) => receipts.push(receipt) })
  const told = []
  for await (const event of events) told.push(event)
  const channel = session.channelId
  return { channel, told, receipts, authorised: session.cumulative.toString(), closed: await session.close(), wire }
}

const [first, second] = ready.payer_keys
const answers = await buyAnswers(payer(first))
const story = await readStory(payer(second))
process.stdout.write(JSON.stringify({ answers, story }) + '\n')
