// SPDX-License-Identifier: MIT OR Apache-2.0
// Clients and servers of other makes: where each is installed, and how one of its scripts is run.

import { spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

// How long a client may take for all that it buys.
const CLIENT_MS = 120_000

export const HERE = dirname(dirname(fileURLToPath(import.meta.url)))
export const WEIR = process.env.WEIR_BIN ?? join(HERE, '../../target/debug/weir')

// `isDeep`: only `make deep` has it. `program`: what was built with it, instead of a program that runs our scripts.
export const PEERS = {
  'mppx 0.11.0': { folder: HERE, isDeep: false },
  'mppx 0.9.3': { folder: join(HERE, 'older/mppx-0.9.3'), isDeep: true },
  'mppx 0.8.19': { folder: join(HERE, 'older/mppx-0.8.19'), isDeep: true },
  'mpp 0.18.2 (Rust)': { folder: join(HERE, 'mpp-rs'), isDeep: true, program: 'target/debug/mpp-client' },
  'pympp 0.16.0': { folder: join(HERE, 'pympp'), isDeep: false },
}

export function isInstalled(peer) {
  const { folder, program } = PEERS[peer]
  const signs = program ? [program] : ['node_modules', 'venv']
  return signs.some((installed) => existsSync(join(folder, installed)))
}

// Modules are looked for beside the script, so an older mppx gets the scripts copied beside itself.
function scriptFor(folder, script) {
  if (folder === HERE) return join(HERE, script)
  const beside = join(folder, 'node_modules/.scripts')
  mkdirSync(beside, { recursive: true })
  for (const file of readdirSync(HERE).filter((name) => name.endsWith('.mjs'))) {
    copyFileSync(join(HERE, file), join(beside, file))
  }
  return join(beside, script)
}

// The program that runs one of our scripts with a peer, or does what a script is named after, and its arguments.
export function command(peer, script, argument) {
  const { folder, program } = PEERS[peer]
  if (program) return [join(folder, program), [script, argument]]
  return script.endsWith('.py')
    ? [join(folder, 'venv/bin/python'), [join(HERE, script), argument]]
    : ['node', [scriptFor(folder, script), argument]]
}

// Lets a peer run one of our scripts, and reads what that prints.
export function run(peer, script, argument) {
  return printed(...command(peer, script, argument))
}

// What a program prints, as JSON.
export async function printed(program, args, env = process.env) {
  const stdio = ['ignore', 'pipe', 'pipe']
  const child = spawn(program, args, { env, stdio, timeout: CLIENT_MS, killSignal: 'SIGKILL' })
  let [said, complained] = ['', '']
  child.stdout.on('data', (data) => (said += data))
  child.stderr.on('data', (data) => (complained += data))
  const code = await new Promise((resolve, reject) => child.once('close', resolve).once('error', reject))
  if (code !== 0) throw new Error(`${args[0]} ended with ${code ?? 'a signal'}: ${complained.trim()}`)
  return JSON.parse(said)
}
