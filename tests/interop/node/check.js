// The records that all clients produce, and one printed line per scenario.
import assert from 'node:assert/strict'

export const COUNT = 200
export const T0 = Math.floor(Date.now() / 1000) * 1000 - 86_400_000 // A day ago: young enough for the default retention.

export const record = i => ({
  key: i % 10 === 0 ? null : `k${i}`,
  value: i % 7 === 0 ? null : `v${i}-${'x'.repeat(i)}`,
  timestamp: String(T0 + i * 1000),
  headers: { h: [`${i}`, 'again'], empty: '' },
})

export class Check {
  failed = 0

  async scenario(name, body) {
    try {
      await body()
      console.log(`ok ${name}`)
    } catch (error) {
      this.failed++
      console.log(`FAIL ${name} ${error.name}: ${error.message}`.replaceAll('\n', ' '))
      if (process.env.INTEROP_TRACE) console.error(error)
    }
  }
}

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

export async function eventually(what, condition) {
  let last
  for (const end = Date.now() + 20_000; Date.now() < end; await sleep(50)) {
    try {
      if (await condition()) return
      last = undefined
    } catch (error) {
      last = error
    }
  }
  assert.fail(`not within 20 s: ${what} ${last?.message ?? ''}`)
}

/** The call must fail with this Kafka error type, which KafkaJS may wrap in a retry or aggregate error. */
export async function fails(type, call) {
  try {
    await call()
  } catch (error) {
    const inner = error.errors?.[0] ?? error.groups?.[0]?.error ?? error.cause ?? error
    return assert.equal(inner.type ?? error.type, type, error.message)
  }
  assert.fail(`expected ${type}, got success`)
}
