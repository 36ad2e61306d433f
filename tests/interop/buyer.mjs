// SPDX-License-Identifier: MIT OR Apache-2.0
// What a payer of mppx does with a session, whichever protocol the session speaks; what came back is for others to judge.

// Notes every request that is sent, and the status of its answer.
export function recorded(wire) {
  return async (input, init) => {
    const response = await fetch(input, init)
    wire.push({ method: init?.method ?? 'GET', status: response.status })
    return response
  }
}

// Pays for so many answers, and closes.
export async function buyAnswers({ session, wire }, url, count) {
  const answers = []
  for (let at = 0; at < count; at++) {
    const answer = await session.fetch(url)
    answers.push({
      status: answer.status,
      body: await answer.text(),
      receipt: answer.receipt,
      challenge: answer.challenge.id,
      authorised: answer.cumulative.toString(),
    })
  }
  const channel = session.channelId
  return { channel, answers, closed: await session.close(), wire }
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
