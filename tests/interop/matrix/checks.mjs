// SPDX-License-Identifier: MIT OR Apache-2.0
// What a client got, what the daemon's books say and what the chain has must agree. Each check throws where they do not.

import assert from 'node:assert/strict'

// As the devnet sells: base units of an answer and of a token of the story, the deposits that it suggests, and the story.
const PRICE = 100n
const DEPOSIT_LARGE = 80_000n
const DEPOSIT_SMALL = 40_000n
const STORY_TOKENS = 60
const ANSWER = { question: 'why', answer: 'That is a question of 1 words, and worth asking.' }
// keccak256("Transfer(address,address,uint256)").
const TRANSFER = '0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef'

const SESSION_RECEIPT = {
  required: ['method', 'intent', 'status', 'timestamp', 'reference', 'challengeId', 'channelId', 'acceptedCumulative', 'spent'],
  optional: ['units', 'txHash'],
}

function told(done, name) {
  assert.ok(done[name], `there is no ${name}`)
  assert.equal(done[name].error, undefined, `${name}: ${done[name].error}`)
  return done[name]
}

function receipt(value) {
  const read = typeof value === 'string' ? JSON.parse(Buffer.from(value, 'base64url').toString()) : value
  const { required, optional } = SESSION_RECEIPT
  assert.deepEqual(Object.keys(read).filter((key) => !optional.includes(key)).sort(), [...required].sort())
  assert.deepEqual([read.method, read.intent, read.status], ['tempo', 'session', 'success'])
  assert.equal(read.reference, read.channelId)
  return { ...read, accepted: BigInt(read.acceptedCumulative), spent: BigInt(read.spent) }
}

function answered({ status, body }, name) {
  assert.equal(status, 200, `${name}: ${status} ${body}`)
  assert.deepEqual(JSON.parse(body), ANSWER, name)
}

// What a client sent, and was answered; not all tell.
function wireIs(wire, expected) {
  if (!wire) return
  assert.deepEqual(wire.map(({ method, status }) => `${method} ${status}`), expected)
}

function isManagement({ method, status }) {
  return method === 'POST' && [200, 204].includes(status)
}

function eachPaid({ channel, answers }) {
  answers.forEach((answer, at) => {
    const units = BigInt(at + 1)
    answered(answer, `answer ${units}`)
    const got = receipt(answer.receipt)
    assert.equal(got.channelId, channel)
    if (answer.challenge) assert.equal(got.challengeId, answer.challenge)
    assert.deepEqual([got.accepted, got.spent], [PRICE * units, PRICE * units])
    assert.equal(answer.authorised, got.acceptedCumulative)
    assert.equal(got.txHash, undefined)
  })
}

// Three answers, each paid by its own voucher.
export function plain(done) {
  const { answers, channel, wire } = told(done, 'answers')
  assert.equal(answers.length, 3)
  eachPaid({ channel, answers })
  wireIs(wire?.slice(0, -1), ['GET 402', 'GET 200', 'GET 402', 'GET 200', 'GET 402', 'GET 200'])
  if (wire) assert.ok(isManagement(wire.at(-1)))
}

// A story that is paid token by token, with vouchers while it is told.
export function story(done) {
  const { channel, told: events, receipts, authorised, wire } = told(done, 'story')
  assert.equal(events.at(-1), '[DONE]')
  assert.equal(events.length, STORY_TOKENS + 1)
  assert.deepEqual(events.slice(0, 2), ['{"token":"A "}', '{"token":"miller "}'])
  const last = receipt(receipts.at(-1))
  assert.equal(last.channelId, channel)
  assert.deepEqual([last.spent, last.units], [PRICE * BigInt(STORY_TOKENS), STORY_TOKENS])
  assert.ok(last.accepted >= last.spent)
  assert.equal(authorised, last.acceptedCumulative)
  wireIs(wire?.slice(0, 2), ['GET 402', 'GET 200'])
  const later = wire?.slice(2)
  if (later) assert.ok(later.length >= 2 && later.every(isManagement), 'vouchers while it is told, and the close')
}

// Two answers use up the deposit; the client tops up by hand, once it is refused the third one.
export function raisedWhenRefused(done) {
  const { channel, bought, refused, topped_up: toppedUp, closed, wire } = told(done, 'raise')
  assert.equal(bought.length, 3)
  bought.forEach((answer, at) => {
    answered(answer, `answer ${at + 1}`)
    const got = receipt(answer.receipt)
    assert.equal(got.channelId, channel)
    assert.deepEqual([got.accepted, got.spent], [PRICE * BigInt(at + 1), PRICE * BigInt(at + 1)])
  })
  assert.equal(refused.status, 402)
  const problem = JSON.parse(refused.body)
  assert.match(problem.type, /\/amount-exceeds-deposit$/)
  assert.equal(problem.deposit, String(PRICE * 2n))
  assert.deepEqual([toppedUp.status, toppedUp.body], [200, ''])
  assert.equal(receipt(toppedUp.receipt).spent, PRICE * 2n)
  assert.equal(closed.status, 200)
  const sale = ['GET 402', 'GET 200']
  wireIs(wire, [...sale, ...sale, 'GET 402', 'GET 402', 'HEAD 402', 'HEAD 200', ...sale, 'POST 402', 'POST 200'])
}

// Three answers, with a top-up in between: by itself on a deposit of two, or because its user says so.
export function raised(done) {
  const { channel, answers, wire } = told(done, 'raise')
  assert.equal(answers.length, 3)
  eachPaid({ channel, answers })
  if (wire) assert.equal(wire.filter(isManagement).length, 2, 'the top-up and the close')
}

// A client that starts anew goes on with the channel that it has.
export function resumed(done) {
  const { channel, answers, bought } = told(done, 'resume')
  const paid = answers ?? bought
  assert.equal(paid.length, 2)
  paid.forEach((answer, at) => {
    answered(answer, `answer ${at + 1}`)
    const got = receipt(answer.receipt)
    assert.equal(got.channelId, channel)
    assert.equal(got.spent, PRICE * BigInt(at + 1))
  })
}

// What is spent and what was locked.
const ENDS = {
  answers: [PRICE * 3n, DEPOSIT_LARGE],
  story: [PRICE * BigInt(STORY_TOKENS), DEPOSIT_SMALL],
  raise: [PRICE * 3n, PRICE * 5n],
  resume: [PRICE * 2n, DEPOSIT_LARGE],
}
const RAISED_BY_HAND = [PRICE * 3n, DEPOSIT_LARGE + PRICE * 3n]

// In the close's receipt, in the books and on the chain, the payee got what was spent and the payer all the rest.
export async function ends(done, devnet, { protocol, topsUpByHand, without = [] }) {
  const raise = topsUpByHand ? RAISED_BY_HAND : ENDS.raise
  const all = Object.entries({ ...ENDS, raise }).filter(([name]) => !without.includes(name))
  for (const [name, amounts] of all) await end(done, devnet, { protocol, name, amounts })
}

async function end(done, devnet, { protocol, name, amounts: [spent, deposit] }) {
  const operator = protocol === 'v2' ? devnet.ready.operator_v2_url : devnet.ready.operator_url
  const { channel, closed } = told(done, name)
  const got = receipt(closed.receipt ?? closed)
  assert.deepEqual([got.channelId, got.spent], [channel, spent], name)
  const landed = await devnet.rpc('eth_getTransactionReceipt', [got.txHash])
  assert.equal(landed?.status, '0x1', `${name}: the close landed`)
  const view = await devnet.finalized(operator, channel)
  const amounts = [view.spent, view.settled, view.deposit, view.uncollected, view.reserved].map(BigInt)
  assert.deepEqual(amounts, [spent, spent, deposit, 0n, 0n], `${name}: ${JSON.stringify(view)}`)
}

// A whole session of three answers, after which its payer has exactly their price less: no fee was its own.
export async function sponsoredSession({ done, paid }, devnet, protocol) {
  plain(done)
  await end(done, devnet, { protocol, name: 'answers', amounts: [PRICE * 3n, DEPOSIT_SMALL] })
  assert.equal(paid, PRICE * 3n, 'the payer paid no fee')
}

// A transaction is on the chain, and moved this.
export async function moved(devnet, transaction, { token, from, to, amount }) {
  const landed = await devnet.rpc('eth_getTransactionReceipt', [transaction])
  assert.equal(landed?.status, '0x1', 'the payment landed')
  const account = (topic) => `0x${topic.slice(-40)}`
  const same = (one, other) => one.toLowerCase() === other.toLowerCase()
  const isIt = ({ address, topics, data }) =>
    same(address, token) &&
    topics[0] === TRANSFER &&
    same(account(topics[1]), from) &&
    same(account(topics[2]), to) &&
    BigInt(data) === amount
  assert.ok(landed.logs.some(isIt), `no transfer of ${amount} from ${from} to ${to} in ${JSON.stringify(landed.logs)}`)
}

// One answer for one payment, which is on the chain, of this payer to whom the challenge names.
export async function charged({ status, body, receipt: header }, devnet, { asked, payer }) {
  answered({ status, body }, 'the answer')
  const got = JSON.parse(Buffer.from(header, 'base64url').toString())
  assert.equal(got.status, 'success')
  const transfer = { token: asked.currency, from: payer, to: asked.recipient, amount: BigInt(asked.amount) }
  await moved(devnet, got.reference, transfer)
}
