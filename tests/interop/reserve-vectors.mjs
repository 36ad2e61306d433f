// SPDX-License-Identifier: MIT OR Apache-2.0
// What mppx computes of a channel in Tempo's reserve: the transaction that opens it, the hash of what was signed, the
// channel's id, a voucher's signature and the wish to close. Prints contracts/vectors/reserve.json:
//
//   node tests/interop/reserve-vectors.mjs > contracts/vectors/reserve.json

import { encodeFunctionData, hashTypedData } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { tempoLocalnet } from 'viem/chains'
import { Transaction } from 'viem/tempo'
// mppx exports neither; its own client takes them from here.
import * as Channel from './node_modules/mppx/dist/tempo/session/precompile/Channel.js'
import { escrowAbi } from './node_modules/mppx/dist/tempo/session/precompile/escrow.abi.js'

const ESCROW = '0x4d50500000000000000000000000000000000000'
const TOKEN = '0x20c0000000000000000000000000000000000000'
const PAYEE = '0x742d35cc6634c0532925a3b844bc9e7595f8fe00'
const ZERO = '0x0000000000000000000000000000000000000000'
const CHAIN_ID = 1337
const UINT96_MAX = 2n ** 96n - 1n
const byte = (hex) => `0x${hex.repeat(32)}`
const account = privateKeyToAccount(byte('11'))
const domain = { name: 'TIP20 Channel Reserve', version: '1', chainId: CHAIN_ID, verifyingContract: ESCROW }

async function typed(primaryType, message) {
  const fields = [
    { name: 'channelId', type: 'bytes32' },
    { name: 'cumulativeAmount', type: 'uint96' },
  ]
  const data = { domain, types: { [primaryType]: fields }, primaryType, message }
  return { digest: hashTypedData(data), signature: await account.signTypedData(data) }
}

async function vector({ operator, authorizedSigner, salt, deposit, cumulativeAmount }) {
  const args = [PAYEE, operator, TOKEN, deposit, salt, authorizedSigner]
  const transaction = await account.signTransaction(
    {
      chainId: CHAIN_ID,
      calls: [{ to: ESCROW, data: encodeFunctionData({ abi: escrowAbi, functionName: 'open', args }) }],
      feeToken: TOKEN,
      gas: 3_000_000n,
      maxFeePerGas: 20_000_000_000n,
      maxPriorityFeePerGas: 0n,
      nonceKey: 2n ** 256n - 1n,
      nonce: 0,
      validBefore: 1_800_000_000,
    },
    { serializer: tempoLocalnet.serializers.transaction },
  )
  const signed = Transaction.deserialize(transaction)
  const expiringNonceHash = Channel.computeExpiringNonceHash(signed, { sender: account.address })
  const descriptor = {
    payer: account.address,
    payee: PAYEE,
    operator,
    token: TOKEN,
    salt,
    authorizedSigner,
    expiringNonceHash,
  }
  const channelId = Channel.computeId({ ...descriptor, chainId: CHAIN_ID, escrow: ESCROW })
  const message = { channelId, cumulativeAmount }
  return {
    transaction,
    descriptor,
    deposit: deposit.toString(),
    channelId,
    cumulativeAmount: cumulativeAmount.toString(),
    voucher: await typed('Voucher', message),
    close: await typed('CloseAuthorization', message),
  }
}

const vectors = [
  await vector({
    operator: ZERO,
    authorizedSigner: account.address,
    salt: byte('22'),
    deposit: 80_000n,
    cumulativeAmount: 100n,
  }),
  await vector({
    operator: '0x00000000000000000000000000000000000000aa',
    authorizedSigner: ZERO,
    salt: byte('00'),
    deposit: UINT96_MAX,
    cumulativeAmount: UINT96_MAX,
  }),
]
process.stdout.write(JSON.stringify({ chainId: CHAIN_ID, escrow: ESCROW, vectors }, null, 1) + '\n')
