// SPDX-License-Identifier: MIT OR Apache-2.0
// Runs the matrix: lets each peer do what it can at a devnet, prints what became of it, and compares that with docs/interop.md
// or writes it there. Called by script/interop.

import { existsSync } from 'node:fs'
import process from 'node:process'
import { Devnet } from './devnet.mjs'
import { LINES, ROWS } from './lines.mjs'
import * as page from './page.mjs'
import { HERE, PEERS, WEIR, isInstalled } from './peers.mjs'

// Payers that each devnet funds.
const PAYERS = 60
const GIST_CHARACTERS_MAX = 200
const SIDES = ['Clients of other makes pay Weir', "Weir's payer pays servers of other makes"]
const HELP = 'script/interop [--check] [--all] [PEER…]'

function options(args) {
  const flags = new Set(args.filter((arg) => arg.startsWith('--')))
  const peers = args.filter((arg) => !arg.startsWith('--'))
  const wrong = [...flags].filter((flag) => !['--check', '--all'].includes(flag))
  const unknown = peers.filter((peer) => !PEERS[peer])
  if (wrong.length + unknown.length > 0) {
    throw new Error(`${HELP}: there is no ${[...wrong, ...unknown].join(', ')}; peers: ${Object.keys(PEERS).join(', ')}`)
  }
  const chosen = peers.length > 0 ? peers : Object.keys(PEERS).filter((peer) => flags.has('--all') || !PEERS[peer].isDeep)
  return { isCheck: flags.has('--check'), chosen }
}

// The verdict of each cell of a line.
async function decide(line, devnet) {
  const name = (row) => `${line.rail}: ${row}`
  if (line.not) return line.rows.map((row) => [name(row), { verdict: 'not supported', note: line.not }])
  let done, failed
  try {
    done = await line.run(devnet)
  } catch (error) {
    failed = error
  }
  return Promise.all(
    Object.entries(line.cells).map(async ([row, check]) => {
      try {
        if (failed) throw failed
        await check(done, devnet)
        return [name(row), { verdict: 'paid' }]
      } catch (error) {
        const why = String(error.message)
        if (line.refuses?.test(why)) return [name(row), { verdict: 'refused', note: line.because }]
        return [name(row), { verdict: 'failed', note: gist(why), why }]
      }
    }),
  )
}

// The line of a complaint that tells most, without this machine's folders.
function gist(why) {
  const lines = why.split('\n')
  const telling = lines.find((line) => /^\s*\w*Error: /.test(line)) ?? lines[0]
  return telling.trim().replaceAll(HERE, '').slice(0, GIST_CHARACTERS_MAX)
}

function say(line, cells, seconds) {
  const side = line.side === 1 ? 'weir pay →' : '→ Weir'
  for (const [row, { verdict, note, why }] of cells) {
    const told = why ? `\n    ${why.replaceAll('\n', '\n    ')}` : note ? ` (${note})` : ''
    process.stdout.write(`${line.peer} ${side}  ${row}: ${verdict}${told}\n`)
  }
  if (seconds > 0) process.stdout.write(`    ${seconds.toFixed(1)} s\n`)
}

async function runAll(lines) {
  const devnets = {}
  const verdicts = SIDES.map(() => ({}))
  try {
    for (const chain of new Set(lines.flatMap(({ chain }) => chain ?? []))) {
      devnets[chain] = await Devnet.start(WEIR, chain, PAYERS)
    }
    for (const line of lines) {
      const began = Date.now()
      const cells = await decide(line, devnets[line.chain])
      say(line, cells, line.not ? 0 : (Date.now() - began) / 1_000)
      for (const [row, cell] of cells) (verdicts[line.side ?? 0][row] ??= {})[line.peer] = cell
    }
  } finally {
    await Promise.all(Object.values(devnets).map((devnet) => devnet.stop()))
  }
  return verdicts
}

async function main() {
  const { isCheck, chosen } = options(process.argv.slice(2))
  if (!existsSync(WEIR)) throw new Error(`${WEIR} is not there: cargo build --workspace --bin weir`)
  const missing = chosen.filter((peer) => !isInstalled(peer))
  if (missing.length > 0) throw new Error(`not installed: ${missing.join(', ')}; run script/setup-interop, with --all for the older ones`)
  const verdicts = await runAll(LINES.filter(({ peer }) => chosen.includes(peer)))
  const before = page.read()
  const today = new Date().toISOString().slice(0, 10)
  const runs = Object.fromEntries(chosen.map((peer) => [peer, today]))
  const [notes, tables, worse] = [[], {}, []]
  SIDES.forEach((title, side) => {
    const rows = Object.entries(ROWS[side]).flatMap(([rail, names]) => names.map((name) => `${rail}: ${name}`))
    const lines = LINES.filter((line) => (line.side ?? 0) === side)
    const peers = Object.keys(PEERS).filter((peer) => lines.some((line) => line.peer === peer))
    if (lines.length === 0) return
    const then = before[title] ?? {}
    for (const row of rows) {
      for (const [peer, { verdict }] of Object.entries(verdicts[side][row] ?? {})) {
        if (verdict === 'failed' || (then[row]?.[peer] === 'paid' && verdict !== 'paid')) worse.push(`${title}: ${peer}: ${row}: ${verdict}`)
      }
    }
    tables[title] = page.table({ rows, peers, verdicts: withNotes(lines, verdicts[side]), runs, before: then }, notes)
    process.stdout.write(`\n${title}\n\n${tables[title]}\n`)
  })
  notes.forEach((note, at) => process.stdout.write(`${at === 0 ? '\n' : ''}[${at + 1}] ${note}\n`))
  if (!isCheck) page.write(tables, notes)
  if (worse.length > 0) throw new Error(`\n${worse.join('\n')}`)
}

// The notes of cells that were not run now stand in their lines.
function withNotes(lines, verdicts) {
  const all = structuredClone(verdicts)
  for (const line of lines) {
    const note = line.not ?? line.because
    const rows = line.rows ?? Object.keys(line.cells)
    for (const row of note ? rows : []) ((all[`${line.rail}: ${row}`] ??= {})[line.peer] ??= { note })
  }
  return all
}

try {
  await main()
} catch (error) {
  process.stderr.write(`script/interop: ${error.message}\n`)
  process.exitCode = 1
}
