// SPDX-License-Identifier: MIT OR Apache-2.0
// What `mppx validate` pays with, as its users configure it: MPPX_CONFIG names this file, and WEIR_PAYER holds
// {key, rpc_url, chain_id, escrow} as JSON. Without it, mppx would ask a public faucet.

import process from 'node:process'
import { sessionLegacy } from 'mppx/client'
import { privateKeyToAccount } from 'viem/accounts'
import { chainClient } from './tempo.mjs'

// What is locked, in whole tokens.
const DEPOSIT = '1'

const payer = JSON.parse(process.env.WEIR_PAYER)
const client = chainClient(payer)

export default {
  methods: [
    sessionLegacy({
      account: privateKeyToAccount(payer.key),
      getClient: () => client,
      escrowContract: payer.escrow,
      deposit: DEPOSIT,
    }),
  ],
}
