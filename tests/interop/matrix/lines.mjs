// SPDX-License-Identifier: MIT OR Apache-2.0
// The matrix: a line for each thing that a peer does, with the cells that it decides.
//
// A line that is run has `cells`, a check for each; what a check does not throw is paid. A line with `not` says why there is
// nothing to run: the peer does not have it. `refuses` is what a run must fail with, and `because` why that is right.

import { privateKeyToAddress } from 'viem/accounts'
import { charged, ends, plain, raised, raisedWhenRefused, resumed, story } from './checks.mjs'
import { generous } from './generous.mjs'
import { run } from './peers.mjs'

const MPPX = ['mppx 0.11.0', 'mppx 0.9.3', 'mppx 0.8.19']
// Their managers know no deposit of the user's own, so that nothing has to be topped up.
const LOCKS_WHAT_IS_SUGGESTED = ['mppx 0.8.19']
// What payers on an evm chain know: the EIP-712 domain of the devnet's token, and the most that they pay.
const DEV_TOKEN = { name: 'Weir Dev USD', version: '1', most: '100' }
const MPP = 'mpp 0.18.2 (Rust)'
const PYMPP = 'pympp 0.16.0'

// Pays for one answer by `tempo/charge` or `evm/charge`.
function charge(peer, row, { chain = 'tempo', url = 'charge_url', script, request }) {
  const once = async (devnet) => {
    const [key] = devnet.payers(1)
    const { rpc_url, chain_id, token } = devnet.ready
    const asked = await devnet.asked(devnet.ready[url], 'charge')
    const order = { rpc_url, chain_id, token, key, url: devnet.ready[url], ...request }
    return { bought: await run(peer, script, JSON.stringify(order)), asked, payer: privateKeyToAddress(key) }
  }
  return { peer, rail: `${chain}/charge`, chain, run: once, cells: { [row]: ({ bought, ...paid }, devnet) => charged(bought, devnet, paid) } }
}

// Four sessions of mppx's, which together show all that a session does.
function sessions(peer, protocol) {
  const [script, raises] = protocol === 'v1' ? ['mppx.mjs', raisedWhenRefused] : ['mppx-v2.mjs', raised]
  const topsUpByHand = protocol === 'v2' && LOCKS_WHAT_IS_SUGGESTED.includes(peer)
  const cells = {
    'plain HTTP': plain,
    SSE: story,
    'top-up': raises,
    resume: resumed,
    close: (done, devnet) => ends(done, devnet, { protocol, topsUpByHand }),
  }
  const all = (devnet) => run(peer, script, devnet.readyFor(devnet.payers(4), { tops_up_by_hand: topsUpByHand }))
  return { peer, rail: `tempo/session ${protocol}`, chain: 'tempo', run: all, cells }
}

// What the program made of mpp does: `charge`, `v1` or `v2`.
function asked(devnet, what, payers) {
  return generous(devnet.ready.rpc_url, (rpc_url) => run(MPP, what, devnet.readyFor(payers, { rpc_url })))
}

function mppCharge() {
  const once = async (devnet) => {
    const payers = devnet.payers(1)
    const wanted = await devnet.asked(devnet.ready.charge_url, 'charge')
    return { bought: await asked(devnet, 'charge', payers), asked: wanted, payer: privateKeyToAddress(payers[0]) }
  }
  const check = ({ bought, ...paid }, devnet) => charged(bought, devnet, paid)
  return { peer: MPP, rail: 'tempo/charge', chain: 'tempo', run: once, cells: { pull: check } }
}

function mppSessions(protocol) {
  const isV1 = protocol === 'v1'
  const cells = {
    'plain HTTP': plain,
    SSE: story,
    ...(!isV1 && { 'top-up': raised, resume: resumed }),
    close: (done, devnet) => ends(done, devnet, { protocol, without: isV1 ? ['raise', 'resume'] : [] }),
  }
  const all = (devnet) => asked(devnet, protocol, devnet.payers(4))
  return { peer: MPP, rail: `tempo/session ${protocol}`, chain: 'tempo', run: all, cells }
}

function lacks(peer, rail, rows, not) {
  return { peer, rail, rows, not }
}

export const SESSION = ['plain HTTP', 'SSE', 'top-up', 'resume', 'close']

// The rows of each side's table, in their order: clients of other makes, and servers.
export const ROWS = [
  {
    'tempo/charge': ['pull', 'push'],
    'tempo/session v1': SESSION,
    'tempo/session v2': SESSION,
    'evm/charge': ['authorization'],
    'evm/session': ['all'],
  },
  {},
]

const NO_SESSIONS = 'pympp 0.16.0 has no session client: its package holds `charge` alone (mpp.methods.tempo, mpp.methods.evm)'
const NO_EVM_SESSIONS =
  'no published package has a client for evm/session yet: mppx, mpp and pympp hold `charge` alone for evm. Our own payer pays by it (tests/e2e/payer_cli.rs, `weir dev --demo`)'

export const LINES = [
  ...MPPX.flatMap((peer) => [
    charge(peer, 'pull', { script: 'charge.mjs', request: { mode: 'pull', fetches: true } }),
    charge(peer, 'push', { script: 'charge.mjs', request: { mode: 'push', fetches: true } }),
    sessions(peer, 'v1'),
    sessions(peer, 'v2'),
    charge(peer, 'authorization', { chain: 'evm', url: 'evm_charge_url', script: 'evm-charge.mjs', request: DEV_TOKEN }),
    lacks(peer, 'evm/session', ['all'], NO_EVM_SESSIONS),
  ]),
  mppCharge(),
  lacks(MPP, 'tempo/charge', ['push'], 'mpp 0.18.2 signs transactions and never sends one itself (client::TempoProvider)'),
  mppSessions('v1'),
  lacks(MPP, 'tempo/session v1', ['top-up', 'resume'], 'mpp 0.18.2 tops up and remembers channels of the reserve alone (client::tempo::session: `restore` and top-ups give up elsewhere)'),
  mppSessions('v2'),
  lacks(MPP, 'evm/charge', ['authorization'], 'mpp 0.18.2 has the methods tempo and stripe, no evm (protocol::methods)'),
  lacks(MPP, 'evm/session', ['all'], NO_EVM_SESSIONS),
  charge(PYMPP, 'pull', { script: 'pympp/charge.py', request: { method: 'tempo' } }),
  lacks(PYMPP, 'tempo/charge', ['push'], 'pympp 0.16.0 signs transactions and never sends one itself (mpp.methods.tempo.client)'),
  lacks(PYMPP, 'tempo/session v1', SESSION, NO_SESSIONS),
  lacks(PYMPP, 'tempo/session v2', SESSION, NO_SESSIONS),
  charge(PYMPP, 'authorization', {
    chain: 'evm',
    url: 'evm_charge_url',
    script: 'pympp/charge.py',
    request: { method: 'evm', ...DEV_TOKEN },
  }),
  lacks(PYMPP, 'evm/session', ['all'], NO_EVM_SESSIONS),
]
