// SPDX-License-Identifier: MIT OR Apache-2.0
// Pays by evm/charge with mppx as published, which signs an EIP-3009 authorisation and sends nothing to the chain.
//
//   node tests/interop/evm-charge.mjs REQUEST
//
// REQUEST is JSON: chain_id, token with its EIP-712 name and version, the payer's key, and the URL that sells. What came
// back is printed.

import process from 'node:process'
import { Mppx, evm } from 'mppx/client'
import { privateKeyToAccount } from 'viem/accounts'

const request = JSON.parse(process.argv[2])
const mppx = Mppx.create({
  methods: [
    evm.charge({
      account: privateKeyToAccount(request.key),
      authorization: { name: request.name, version: request.version },
      currencies: [request.token],
      networks: [request.chain_id],
      maxAtomicAmount: request.most,
    }),
  ],
  polyfill: false,
})
const answer = await mppx.fetch(request.url)
const said = { status: answer.status, body: await answer.text(), receipt: answer.headers.get('payment-receipt') }
process.stdout.write(JSON.stringify(said) + '\n')
