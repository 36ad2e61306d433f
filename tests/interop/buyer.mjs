// SPDX-License-Identifier: MIT OR Apache-2.0
// What a payer of mppx does with a session, whichever protocol the session speaks; what came back is for others to judge.

import process from 'node:process'

// Notes every request that is sent, and the status of its answer.
export function recorded(wire) {
  return async (input, init) => {
    const response = await fetch(input, init)
    wire.push({ method: init?.method ?? 'GET', status: response.status })
    return response
  }
}

// Does the things that are wanted, one after the other, and prints what each gave: what fails tells why, and stops no other.
export async function doAll(things, wanted = Object.keys(things)) {
  const done = {}
  for (const [name, thing] of Object.entries(things).filter(([name]) => wanted.includes(name))) {
    try {
      done[name] = await thing()
    } catch (error) {
      done[name] = { error: String(error?.stack ?? error) }
    }
  }
  process.stdout.write(JSON.stringify(done) + '\n')
}

async function bought(answer) {
  return {
    status: answer.status,
    body: await answer.text(),
    receipt: answer.receipt,
    challenge: answer.challenge.id,
    authorised: answer.cumulative.toString(),
  }
}

// Pays for so many answers, and closes, where that is wanted.
export async function buyAnswers({ session, wire }, url, count, closes = true) {
  const answers = []
  for (let at = 0; at < count; at++) answers.push(await bought(await session.fetch(url)))
  const channel = session.channelId
  return { channel, answers, closed: closes && (await session.close()), wire }
}

// Pays for an answer each, one after the other; the last one closes.
export async function takeTurns(payers, url) {
  const answers = []
  for (const { session } of payers) answers.push(await bought(await session.fetch(url)))
  const last = payers.at(-1)
  const wire = payers.flatMap((payer) => payer.wire)
  return { channel: last.session.channelId, answers, closed: await last.session.close(), wire }
}

// Reads a stream that is paid by the event, and closes.
export async function readStory({ session, wire }, url) {
  const receipts = []
  const events = await session.sse(url, { onReceipt: (receipt) => receipts.push(receipt) })
  const told = []
  for await (const event of events) told.push(event)
  const channel = session.channelId
  return { channel, told, receipts, authorised: session.cumulative.toString(), closed: await session.close(), wire }
}
