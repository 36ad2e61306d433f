// SPDX-License-Identifier: MIT OR Apache-2.0
// Signs as mppx does, and sends nothing: whoever called sends it, as often as the test wants.
//
//   node tests/interop/sign.mjs REQUEST
//
// REQUEST is JSON: rpc_url, chain_id, escrow, token and the payer's key, the URL whose challenge is answered, and
// `top_up` with channel and additional where no channel is to be opened. Prints the `Authorization` and the channel.

import process from 'node:process'
import { Mppx, sessionLegacy } from 'mppx/client'
import { privateKeyToAccount } from 'viem/accounts'
import { chainClient, signTopUp } from './tempo.mjs'

const request = JSON.parse(process.argv[2])
const client = chainClient(request)
const account = privateKeyToAccount(request.key)
let channel = request.top_up?.channel
const method = sessionLegacy({
  account,
  getClient: () => client,
  escrowContract: request.escrow,
  // More than any test suggests: what is suggested is locked.
  maxDeposit: '1000',
  onChannelUpdate: (entry) => (channel = entry.channelId),
})

async function raised({ channel, additional }) {
  const transaction = await signTopUp(client, account, request, { channel, additional: BigInt(additional) })
  return { action: 'topUp', channelId: channel, transaction, additionalDepositRaw: additional }
}

const context = request.top_up && (await raised(request.top_up))
const offered = await fetch(request.url)
const authorization = await Mppx.create({ methods: [method], polyfill: false }).createCredential(offered, context)
process.stdout.write(JSON.stringify({ authorization, channel }) + '\n')
