// SPDX-License-Identifier: MIT OR Apache-2.0
// Signs as mppx does, and sends nothing: whoever called sends it, as often as the test wants.
//
//   node tests/interop/sign.mjs REQUEST
//
// REQUEST is JSON: rpc_url, chain_id, token and the payer's key, the URL whose challenge is answered, and `top_up` with
// channel and additional where no channel is to be opened. With `escrow` it is a contract, else the chain's reserve, where
// a top-up names its `descriptor` too. Prints the `Authorization`, the channel and, in the reserve, its descriptor.

import process from 'node:process'
import { Mppx, sessionLegacy, tempo } from 'mppx/client'
import { privateKeyToAccount } from 'viem/accounts'
import { chainClient, signTopUp } from './tempo.mjs'

const request = JSON.parse(process.argv[2])
const client = chainClient(request)
const account = privateKeyToAccount(request.key)
const reserved = request.escrow === undefined
let { channel, descriptor } = request.top_up ?? {}
const parameters = {
  account,
  getClient: () => client,
  // More than any test suggests: what is suggested is locked.
  maxDeposit: '1000',
  onChannelUpdate: (entry) => ({ channelId: channel, descriptor } = entry),
}
const method = reserved
  ? tempo.session(parameters)
  : sessionLegacy({ ...parameters, escrowContract: request.escrow })

async function raised({ channel, additional, descriptor }) {
  const raise = { action: 'topUp', channelId: channel, additionalDepositRaw: additional }
  if (reserved) return { ...raise, descriptor }
  const transaction = await signTopUp(client, account, request, { channel, additional: BigInt(additional) })
  return { ...raise, transaction }
}

const context = request.top_up && (await raised(request.top_up))
const offered = await fetch(request.url)
const authorization = await Mppx.create({ methods: [method], polyfill: false }).createCredential(offered, context)
process.stdout.write(JSON.stringify({ authorization, channel, descriptor }) + '\n')
