// SPDX-License-Identifier: MIT OR Apache-2.0
// Pays a devnet with mppx as published: the session of `tempo()`, the client of tempo/session v2.
//
//   node tests/interop/mppx-v2.mjs READY_FILE
//
// READY_FILE is what `weir dev --chain tempo --ready-file` wrote. One payer opens a channel in the reserve, pays for three
// answers and closes; a second one reads a stream that is paid by the event, and closes; a third one locks too little,
// tops up by itself when it has to, and closes; a fourth one forgets all but its store of channels, goes on, and closes.
// With `tops_up_by_hand` in READY_FILE the third one does so unasked: older managers lock what the seller suggests. With
// `only` in it, only that is done.
// What came back is printed as one JSON document, with what mppx itself complains of.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { createChannelStore, tempo } from 'mppx/client'
import { privateKeyToAccount } from 'viem/accounts'
import { buyAnswers, doAll, readStory, recorded, takeTurns } from './buyer.mjs'
import { chainClient } from './tempo.mjs'

const ANSWERS = 3
// What a payer trusts a seller with, in whole tokens.
const MAX_DEPOSIT = '1'
// Two answers' worth in base units, and of three more in whole tokens.
const SMALL_DEPOSIT = '200'
const TOP_UP = '0.0003'

const ready = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const client = chainClient(ready)

// A payer as mppx's users write one: the escrow is not named, for it is the chain's own. `wire` gets every request.
function payer(key, more = {}) {
  const wire = []
  const parameters = { account: privateKeyToAccount(key), client, maxDeposit: MAX_DEPOSIT, fetch: recorded(wire) }
  return { session: tempo.session.manager({ ...parameters, ...more }), wire }
}

// Two answers, a top-up because the user wants it, and the third answer.
async function raiseByHand({ session, wire }) {
  const begun = await buyAnswers({ session, wire }, ready.session_v2_url, ANSWERS - 1, false)
  await session.topUp(TOP_UP)
  const done = await buyAnswers({ session, wire }, ready.session_v2_url, 1)
  return { ...done, answers: [...begun.answers, ...done.answers] }
}

const [first, second, third, fourth] = ready.payer_keys
const frugal = { credentialContext: { depositRaw: SMALL_DEPOSIT }, topUpAmount: TOP_UP }
const kept = { channelStore: createChannelStore() }
await doAll({
  answers: () => buyAnswers(payer(first), ready.session_v2_url, ANSWERS),
  story: () => readStory(payer(second), ready.sse_v2_url),
  raise: () =>
    ready.tops_up_by_hand
      ? raiseByHand(payer(third))
      : buyAnswers(payer(third, frugal), ready.session_v2_url, ANSWERS),
  resume: () => takeTurns([payer(fourth, kept), payer(fourth, kept)], ready.session_v2_url),
}, ready.only)
