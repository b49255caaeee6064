// Reads flights as a member of a group and keeps departure delays per carrier, until SIGTERM or Ctrl-C.
// Usage: node flights_consumer.js BOOTSTRAP TOPIC GROUP NAME
import kafkajs from 'kafkajs'
import lz4 from 'lz4-napi'

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs
const [DEP_DELAY, CARRIER] = [5, 9] // Columns of a flight.
const LATE = 15 // Minutes; what the authorities count as delayed.

// KafkaJS brings gzip only; other codecs are plugged in.
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrameSync(encoder.buffer),
  decompress: async buffer => lz4.decompressFrameSync(buffer),
})

const [bootstrap, topic, groupId, name] = process.argv.slice(2)
const kafka = new Kafka({ clientId: name, brokers: [bootstrap], logLevel: logLevel.ERROR })
const consumer = kafka.consumer({ groupId, heartbeatInterval: 300, maxWaitTimeInMs: 100 })
consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => console.log('assigned', ...(payload.memberAssignment[topic] ?? [])))

let [records, bytes, first, last] = [0, 0, 0, 0]
const carriers = {} // flights, flights that left, minutes of delay, late flights
await consumer.connect()
await consumer.subscribe({ topic, fromBeginning: true })
await consumer.run({
  autoCommit: false,
  eachBatch: async ({ batch }) => {
    first ||= Date.now()
    for (const { value } of batch.messages) {
      const flight = value.toString().split(',')
      const delay = flight[DEP_DELAY]
      const stats = (carriers[flight[CARRIER]] ??= [0, 0, 0, 0])
      stats[0]++
      if (delay !== '' && delay !== 'NA') {
        stats[1]++
        stats[2] += Number(delay)
        if (Number(delay) > LATE) stats[3]++
      }
      bytes += value.length
    }
    records += batch.messages.length
    last = Date.now()
    await consumer.commitOffsets([{ topic, partition: batch.partition, offset: String(BigInt(batch.lastOffset()) + 1n) }])
    console.log('read', records)
  },
})

const stop = async () => {
  await consumer.disconnect() // Leaves the group at once.
  console.log(JSON.stringify({ records, bytes, first_ms: first, last_ms: last, carriers }))
  process.exit(0)
}
process.once('SIGTERM', stop)
process.once('SIGINT', stop)
