// SPDX-License-Identifier: MIT OR Apache-2.0
// Pays a devnet with mppx as published: `sessionLegacy`, the client of tempo/session v1.
//
//   node tests/interop/mppx.mjs READY_FILE
//
// READY_FILE is what `weir dev --chain tempo --ready-file` wrote. One payer opens a channel, pays for three answers and
// closes; a second one reads a stream that is paid by the event, and closes; a third one locks too little, is told so,
// tops up, goes on and closes. What came back is printed as one JSON document; whether it is right is for others to
// judge. Anything that mppx itself complains of ends this with an error.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { Mppx, sessionLegacy, sessionLegacyManager } from 'mppx/client'
import { privateKeyToAccount } from 'viem/accounts'
import { buyAnswers, readStory, recorded } from './buyer.mjs'
import { chainClient, signTopUp } from './tempo.mjs'

const ANSWERS = 3
// What a payer trusts a seller with, in whole tokens.
const MAX_DEPOSIT = '1'
// Two answers' worth, in whole tokens, and of three more in base units.
const SMALL_DEPOSIT = '0.0002'
const TOP_UP = 300n
// Authorises one answer more than the small deposit covers, in base units.
const ABOVE_DEPOSIT = '300'

const ready = JSON.parse(readFileSync(process.argv[2], 'utf8'))

const client = chainClient(ready)

// A payer as mppx's users write one; `wire` gets every request that it sends.
function payer(key) {
  const wire = []
  const account = privateKeyToAccount(key)
  const parameters = { account, client, escrowContract: ready.escrow, maxDeposit: MAX_DEPOSIT }
  return { session: sessionLegacyManager({ ...parameters, fetch: recorded(wire) }), wire }
}

// The manager never tops up; whoever does calls mppx's method by hand, and signs the transaction itself.
async function topUp(key) {
  const wire = []
  const account = privateKeyToAccount(key)
  let channel
  const method = sessionLegacy({
    account,
    getClient: () => client,
    escrowContract: ready.escrow,
    deposit: SMALL_DEPOSIT,
    onChannelUpdate: (entry) => (channel = entry.channelId),
  })
  const mppx = Mppx.create({ methods: [method], fetch: recorded(wire), polyfill: false, maxPaymentRetries: 1 })
  const ask = async (context, init = {}) => {
    const answer = await mppx.fetch(ready.session_v1_url, { ...init, context })
    return { status: answer.status, body: await answer.text(), receipt: answer.headers.get('payment-receipt') }
  }
  const bought = [await ask(), await ask()]
  const another = { action: 'voucher', channelId: channel, cumulativeAmountRaw: ABOVE_DEPOSIT }
  const refused = await ask(another)
  const transaction = await signTopUp(client, account, ready, { channel, additional: TOP_UP })
  const raised = { action: 'topUp', channelId: channel, transaction, additionalDepositRaw: TOP_UP.toString() }
  const toppedUp = await ask(raised, { method: 'HEAD' })
  bought.push(await ask(another))
  const close = { action: 'close', channelId: channel, cumulativeAmountRaw: ABOVE_DEPOSIT }
  return { channel, bought, refused, topped_up: toppedUp, closed: await ask(close, { method: 'POST' }), wire }
}

const [first, second, third] = ready.payer_keys
const answers = await buyAnswers(payer(first), ready.session_v1_url, ANSWERS)
const story = await readStory(payer(second), ready.sse_url)
const raise = await topUp(third)
process.stdout.write(JSON.stringify({ answers, story, raise }) + '\n')
