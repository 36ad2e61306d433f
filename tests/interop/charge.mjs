// SPDX-License-Identifier: MIT OR Apache-2.0
// Pays by tempo/charge: with mppx as published, or by hand as the draft says, rightly or wrongly.
//
//   node tests/interop/charge.mjs REQUEST
//
// REQUEST is JSON: rpc_url, chain_id, token and the payer's key, the URL that sells, and `mode`: pull or push. With
// `fetches`, mppx buys at the URL, and what came back is printed. Else nothing is sent to the URL but the question for its
// challenge, and the `Authorization` is printed: of mppx, or with `transfer` of a transfer signed by hand, which is the
// challenge's own but for what stands there (token, recipient, amount, memo, null for none, valid_seconds).

import process from 'node:process'
import { Challenge, Credential } from 'mppx'
import { Mppx, tempo } from 'mppx/client'
import { encodeFunctionData, parseAbi } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { prepareTransactionRequest, sendTransactionSync, signTransaction } from 'viem/actions'
import { chainClient } from './tempo.mjs'

const VALID_SECONDS = 25
const ABI = parseAbi([
  'function transfer(address to, uint256 amount) returns (bool)',
  'function transferWithMemo(address to, uint256 amount, bytes32 memo)',
])

const request = JSON.parse(process.argv[2])
const client = chainClient(request)
const account = privateKeyToAccount(request.key)
const mppx = Mppx.create({
  methods: [tempo.charge({ account, getClient: () => client, mode: request.mode })],
  polyfill: false,
})

function transferred({ amount, currency, recipient, methodDetails }, other) {
  const memo = other.memo === undefined ? methodDetails.memo : other.memo
  const paid = [other.recipient ?? recipient, BigInt(other.amount ?? amount)]
  const call = memo ? ['transferWithMemo', [...paid, memo]] : ['transfer', paid]
  return { to: other.token ?? currency, data: encodeFunctionData({ abi: ABI, functionName: call[0], args: call[1] }) }
}

async function byHand(challenge) {
  const other = request.transfer
  const transaction = {
    account,
    calls: [transferred(challenge.request, other)],
    feeToken: request.token,
    nonceKey: 'expiring',
    validBefore: Math.floor(Date.now() / 1_000) + (other.valid_seconds ?? VALID_SECONDS),
  }
  if (request.mode === 'push') {
    const { transactionHash } = await sendTransactionSync(client, transaction)
    return { type: 'hash', hash: transactionHash }
  }
  const prepared = await prepareTransactionRequest(client, transaction)
  return { type: 'transaction', signature: await signTransaction(client, prepared) }
}

async function bought() {
  const answer = await mppx.fetch(request.url)
  return { status: answer.status, body: await answer.text(), receipt: answer.headers.get('payment-receipt') }
}

async function authorized() {
  const offered = await fetch(request.url)
  if (!request.transfer) return { authorization: await mppx.createCredential(offered) }
  const challenges = Challenge.fromResponseList(offered)
  const challenge = challenges.find(({ intent }) => intent === 'charge')
  return { authorization: Credential.serialize({ challenge, payload: await byHand(challenge) }) }
}

process.stdout.write(JSON.stringify(request.fetches ? await bought() : await authorized()) + '\n')
