// SPDX-License-Identifier: MIT OR Apache-2.0
// Pays a devnet with mppx as published: `sessionLegacy`, the client of tempo/session v1.
//
//   node tests/interop/mppx.mjs READY_FILE
//
// READY_FILE is what `weir dev --chain tempo --ready-file` wrote. One payer opens a channel, pays for three answers and
// closes; a second one reads a stream that is paid by the event, and closes; a third one locks too little, is told so,
// tops up, goes on and closes; a fourth one forgets all but its channel and what it authorised, goes on and closes. What
// came back is printed as one JSON document (of what READY_FILE names in `only`, if it does), with what mppx itself complains of; whether it is right is for others to
// judge.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { Mppx, sessionLegacy, sessionLegacyManager } from 'mppx/client'
import { privateKeyToAccount } from 'viem/accounts'
import { buyAnswers, doAll, readStory, recorded } from './buyer.mjs'
import { chainClient, signTopUp } from './tempo.mjs'

const ANSWERS = 3
// What a payer trusts a seller with, in whole tokens.
const MAX_DEPOSIT = '1'
// Two answers' worth, in whole tokens, and of three more in base units.
const SMALL_DEPOSIT = '0.0002'
const TOP_UP = 300n
// Authorises one answer more than the small deposit covers, in base units.
const ABOVE_DEPOSIT = '300'
// What one answer costs, and two.
const PRICE = '100'
const TWO_ANSWERS = '200'

const ready = JSON.parse(readFileSync(process.argv[2], 'utf8'))

const client = chainClient(ready)

// A payer as mppx's users write one; `wire` gets every request that it sends.
function payer(key) {
  const wire = []
  const account = privateKeyToAccount(key)
  const parameters = { account, client, escrowContract: ready.escrow, maxDeposit: MAX_DEPOSIT }
  return { session: sessionLegacyManager({ ...parameters, fetch: recorded(wire) }), wire }
}

// A payer that decides for itself what is paid, as mppx's manager does not: it neither tops up nor resumes.
function byHand(key, more) {
  const wire = []
  const account = privateKeyToAccount(key)
  const bare = { account, wire, channel: undefined }
  const method = sessionLegacy({
    account,
    getClient: () => client,
    escrowContract: ready.escrow,
    ...more,
    onChannelUpdate: (entry) => (bare.channel = entry.channelId),
  })
  const mppx = Mppx.create({ methods: [method], fetch: recorded(wire), polyfill: false, maxPaymentRetries: 1 })
  bare.ask = async (context, init = {}) => {
    const answer = await mppx.fetch(ready.session_v1_url, { ...init, context })
    return { status: answer.status, body: await answer.text(), receipt: answer.headers.get('payment-receipt') }
  }
  return bare
}

function close(payer, channel, amount) {
  return payer.ask({ action: 'close', channelId: channel, cumulativeAmountRaw: amount }, { method: 'POST' })
}

async function topUp(key) {
  const payer = byHand(key, { deposit: SMALL_DEPOSIT })
  const bought = [await payer.ask(), await payer.ask()]
  const { channel } = payer
  const another = { action: 'voucher', channelId: channel, cumulativeAmountRaw: ABOVE_DEPOSIT }
  const refused = await payer.ask(another)
  const transaction = await signTopUp(client, payer.account, ready, { channel, additional: TOP_UP })
  const raised = { action: 'topUp', channelId: channel, transaction, additionalDepositRaw: TOP_UP.toString() }
  const toppedUp = await payer.ask(raised, { method: 'HEAD' })
  bought.push(await payer.ask(another))
  return { channel, bought, refused, topped_up: toppedUp, closed: await close(payer, channel, ABOVE_DEPOSIT), wire: payer.wire }
}

async function resume(key) {
  const before = byHand(key, { maxDeposit: MAX_DEPOSIT })
  const bought = [await before.ask()]
  const { channel } = before
  const after = byHand(key, { maxDeposit: MAX_DEPOSIT })
  // What mppx itself would find on the chain is only what is settled.
  bought.push(await after.ask({ channelId: channel, cumulativeAmountRaw: PRICE }))
  const closed = await close(after, channel, TWO_ANSWERS)
  return { channel, bought, closed, wire: [...before.wire, ...after.wire] }
}

const [first, second, third, fourth] = ready.payer_keys
await doAll({
  answers: () => buyAnswers(payer(first), ready.session_v1_url, ANSWERS),
  story: () => readStory(payer(second), ready.sse_url),
  raise: () => topUp(third),
  resume: () => resume(fourth),
}, ready.only)
