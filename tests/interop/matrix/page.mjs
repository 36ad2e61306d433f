// SPDX-License-Identifier: MIT OR Apache-2.0
// docs/interop.md: written from verdicts, and read again for those of last time.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HERE } from './peers.mjs'

const FILE = join(HERE, '../../docs/interop.md')
const NEVER = '–'
// The row that tells when a peer was last run.
const RUN = 'last run'

const HEAD = `# Interop

Which published clients pay Weir, and which published servers Weir's payer pays: packages as their makers published them,
pinned and unchanged, against a real chain (\`weir dev\`). This page is written by

    script/interop --all

which also fails when something that was paid no longer is; \`make test\` runs the same with \`--check\` for the newest
clients, \`make deep\` for all. **paid**: the client got what it paid for, and its receipts, the daemon's books and the chain agree on
every base unit. **refused** and **not supported** have their reason below.

Tempo is anvil's chain here (\`--network tempo --hardfork T4\`). It has no TIP-1034 reserve, for which a contract of ours
stands in: \`tempo/session\` v2 has not met a native reserve. anvil reckons the gas of Tempo transactions too low, so mppx is
told a limit. \`mpp\` asks through a node that answers as much. That \`mppx validate\` finds nothing wrong is shown by
tests/e2e/discovery.rs.
`

// The verdicts that the page has: {side: {row: {peer: verdict}}}, without their notes.
export function read() {
  const sides = {}
  const text = existsSync(FILE) ? readFileSync(FILE, 'utf8') : ''
  let rows, peers
  for (const line of text.split('\n')) {
    const title = line.match(/^## (.*)/)
    if (title) {
      rows = sides[title[1]] = {}
      peers = undefined
    } else if (rows && line.startsWith('| ')) {
      const [row, ...cells] = line.split('|').slice(1, -1).map((cell) => cell.trim())
      if (peers) rows[row] = Object.fromEntries(peers.map((peer, at) => [peer, cells[at].replace(/ \[\d+\]$/, '')]))
      else peers = cells
    }
  }
  return sides
}

// One side's table; what was not run now is as it was last time. Notes that it needs are added to `notes`.
export function table({ rows, peers, verdicts, runs, before }, notes) {
  const cell = (row, peer) => {
    const { verdict, note } = verdicts[row]?.[peer] ?? {}
    const told = verdict ?? before[row]?.[peer] ?? NEVER
    if (!note || told === 'paid' || told === NEVER) return told
    if (!notes.includes(note)) notes.push(note)
    return `${told} [${notes.indexOf(note) + 1}]`
  }
  const lines = [
    ['', ...peers],
    ...rows.map((row) => [row, ...peers.map((peer) => cell(row, peer))]),
    [RUN, ...peers.map((peer) => runs[peer] ?? before[RUN]?.[peer] ?? NEVER)],
  ]
  const widths = lines[0].map((_, at) => Math.max(...lines.map((line) => line[at].length)))
  const texts = lines.map((line) => `| ${line.map((text, at) => text.padEnd(widths[at])).join(' | ')} |`)
  texts.splice(1, 0, `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`)
  return texts.join('\n')
}

export function write(sides, notes) {
  const tables = Object.entries(sides).map(([title, text]) => `\n## ${title}\n\n${text}\n`)
  const listed = notes.map((note, at) => `${at + 1}. ${note}\n`)
  const why = notes.length > 0 ? `\n## Why not\n\n${listed.join('')}` : ''
  writeFileSync(FILE, HEAD + tables.join('') + why)
}
