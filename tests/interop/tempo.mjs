// SPDX-License-Identifier: MIT OR Apache-2.0
// What every payer on a Tempo devnet needs: its chain, and the transaction of a top-up, which mppx leaves to its caller.

import { createClient, encodeFunctionData, http, parseAbi } from 'viem'
import { fillTransaction, prepareTransactionRequest, signTransaction } from 'viem/actions'
import { tempoLocalnet } from 'viem/chains'

// anvil 1.7.1 reckons the gas of a Tempo transaction without its calls, too low by half for an open. A client that is
// told a limit needs no reckoning; what is not used is not paid.
const GAS = 3_000_000n
// As long as mppx lets an open wait for its block.
const VALID_SECONDS = 25

const ABI = parseAbi([
  'function approve(address spender, uint256 amount) returns (bool)',
  // draft-tempo-session-00, Escrow Contract, topUp.
  'function topUp(bytes32 channelId, uint256 additionalDeposit)',
])

export function chainClient({ chain_id, rpc_url }) {
  return createClient({ chain: { ...tempoLocalnet, id: chain_id }, transport: http(rpc_url) }).extend((client) => ({
    fillTransaction: (request) => fillTransaction(client, { ...request, gas: GAS }),
  }))
}

// An approval and the top-up behind it, signed and not sent.
export async function signTopUp(client, account, { escrow, token }, { channel, additional }) {
  const call = (to, functionName, args) => ({ to, data: encodeFunctionData({ abi: ABI, functionName, args }) })
  const prepared = await prepareTransactionRequest(client, {
    account,
    calls: [call(token, 'approve', [escrow, additional]), call(escrow, 'topUp', [channel, additional])],
    feeToken: token,
    nonceKey: 'expiring',
    validBefore: Math.floor(Date.now() / 1_000) + VALID_SECONDS,
  })
  return signTransaction(client, prepared)
}
