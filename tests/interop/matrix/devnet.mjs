// SPDX-License-Identifier: MIT OR Apache-2.0
// `weir dev` in a process of its own, and what its chain and its daemons' books say.

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as pause } from 'node:timers/promises'

// How long a devnet may take until it answers, and until it is gone.
const START_MS = 90_000
const STOP_MS = 30_000
// How long the books may take to see what the chain has.
const BOOKS_MS = 30_000
const POLL_MS = 100
// TIP-1034: where every Tempo chain has its reserve.
const RESERVE = '0x4d50500000000000000000000000000000000000'

export class Devnet {
  static async start(weir, chain, payers) {
    const folder = mkdtempSync(join(tmpdir(), 'weir-interop-'))
    const file = join(folder, 'ready.json')
    const args = ['dev', '--chain', chain, '--payers', String(payers), '--ready-file', file]
    const child = spawn(weir, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    const devnet = new Devnet(folder, child)
    child.stderr.on('data', (data) => (devnet.log += data))
    for (let waited = 0; !existsSync(file); waited += POLL_MS) {
      if (child.exitCode !== null || waited > START_MS) {
        await devnet.stop()
        throw new Error(`weir dev --chain ${chain} did not come up: ${devnet.log}`)
      }
      await pause(POLL_MS)
    }
    devnet.ready = JSON.parse(readFileSync(file, 'utf8'))
    devnet.keys = [...devnet.ready.payer_keys]
    return devnet
  }

  constructor(folder, child) {
    Object.assign(this, { folder, child, log: '' })
  }

  async stop() {
    const gone = new Promise((resolve) => this.child.once('exit', resolve))
    if (this.child.exitCode === null) {
      this.child.kill('SIGINT')
      await Promise.race([gone, pause(STOP_MS, undefined, { ref: false })])
      this.child.kill('SIGKILL')
    }
    rmSync(this.folder, { recursive: true, force: true })
  }

  // So many keys of payers that have not paid yet.
  payers(count) {
    if (this.keys.length < count) throw new Error('the devnet has too few payers')
    return this.keys.splice(0, count)
  }

  // A ready file as `weir dev` wrote it, but for these payers, and what else a script wants to know.
  readyFor(payers, more = {}) {
    const file = join(this.folder, `ready-${this.keys.length}.json`)
    writeFileSync(file, JSON.stringify({ ...this.ready, payer_keys: payers, ...more }))
    return file
  }

  async rpc(method, params) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(this.ready.rpc_url, { method: 'POST', headers, body })
    const { result, error } = await answer.json()
    if (error) throw new Error(`${method}: ${error.message}`)
    return result
  }

  // What is asked for at a URL in this way.
  async asked(url, intent) {
    const response = await fetch(url)
    await response.body?.cancel()
    const lines = response.headers.get('www-authenticate') ?? ''
    const found = [...lines.matchAll(/intent="([^"]*)".*?request="([^"]*)"/g)].find((one) => one[1] === intent)
    if (response.status !== 402 || !found) throw new Error(`${url}: ${response.status} without a ${intent}`)
    return JSON.parse(Buffer.from(found[2], 'base64url').toString())
  }

  async balance(token, account) {
    const data = `0x70a08231${account.slice(2).padStart(64, '0')}`
    return BigInt(await this.rpc('eth_call', [{ to: token, data }, 'latest']))
  }

  // A channel in the books of the daemon that serves it, once they have seen its end on the chain.
  async finalized(operator, channel) {
    for (let waited = 0; ; waited += POLL_MS) {
      const answer = await fetch(`${operator}/v1/channels/${channel}`)
      const view = await answer.json()
      if (view.standing === 'finalized') return view
      if (waited > BOOKS_MS) throw new Error(`the books do not see the end of ${channel}: ${JSON.stringify(view)}`)
      await pause(POLL_MS)
    }
  }

  // What is locked in the escrow of v1 or in the reserve: nothing, once all channels are closed.
  locked(protocol) {
    return this.balance(this.ready.token, protocol === 'v2' ? RESERVE : this.ready.escrow)
  }
}
