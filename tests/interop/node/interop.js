// The scenario list for KafkaJS. Usage: node interop.js BOOTSTRAP PREFIX, or member BOOTSTRAP GROUP TOPIC.
import assert from 'node:assert/strict'
import kafkajs from 'kafkajs'
import './codecs.js'
import { COUNT, Check, T0, eventually, fails, record, sleep } from './check.js'
import { rangeAssigner } from './range.js'

const { AssignerProtocol, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs
process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'

const connect = (bootstrap, clientId = 'interop') =>
  new Kafka({ clientId, brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, retries: 8 } })

class Interop extends Check {
  constructor(bootstrap, prefix) {
    super()
    this.bootstrap = bootstrap
    this.prefix = prefix
    this.kafka = connect(bootstrap)
    this.admin = this.kafka.admin()
  }

  async all() {
    const run = (name, body) => this.scenario(name, body.bind(this))
    await this.admin.connect()
    await run('describe-cluster', this.describeCluster)
    await run('create-topic', this.createTopic)
    const codecs = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }
    for (const [codec, type] of Object.entries(codecs)) {
      await run(`codec-${codec}`, () => this.roundTrip(codec, { compression: CompressionTypes[type] }))
    }
    await run('idempotent', () => this.roundTrip('idempotent', { idempotent: true }))
    await run('offsets', this.offsets)
    await run('offsets-by-time', this.offsetsByTime)
    await run('seek', this.seek)
    await run('commit-sync', this.commitSync)
    await run('commit-async', this.commitAsync)
    await run('commit-metadata', this.commitMetadata)
    await run('group-two-members', this.groupTwoMembers)
    await run('group-list', this.groupList)
    await run('group-describe', this.groupDescribe)
    await run('group-delete', this.groupDelete)
    await run('add-partitions', this.addPartitions)
    await run('describe-configs', this.describeConfigs)
    await run('alter-configs', this.alterConfigs)
    await run('delete-records', this.deleteRecords)
    await run('auto-create', this.autoCreate)
    await run('delete-topic', this.deleteTopic)
    await run('error-unknown-topic', () => fails('UNKNOWN_TOPIC_OR_PARTITION', () => this.admin.deleteTopics({ topics: [this.name('nowhere')] })))
    await run('error-too-large', this.tooLarge)
    await run('error-bad-name', () => fails('INVALID_TOPIC_EXCEPTION', () => this.create('bad name!')))
    await run('error-replication-factor', () => fails('INVALID_REPLICATION_FACTOR', () => this.create('rf3', { replicationFactor: 3 })))
    await this.admin.disconnect()
  }

  // ---- helpers

  name(what) {
    return `${this.prefix}-${what}`
  }

  async create(what, topic = {}) {
    await this.admin.createTopics({ topics: [{ topic: this.name(what), numPartitions: 1, replicationFactor: 1, ...topic }] })
  }

  async send(what, messages, { idempotent = false, compression } = {}) {
    const producer = this.kafka.producer({ idempotent, allowAutoTopicCreation: true })
    await producer.connect()
    try {
      const offsets = []
      for (let i = 0; i < messages.length; i += 50) {
        const batch = messages.slice(i, i + 50).map(m => ({ partition: 0, ...m }))
        offsets.push(...(await producer.send({ topic: this.name(what), messages: batch, compression })).map(r => r.baseOffset))
      }
      return offsets
    } finally {
      await producer.disconnect()
    }
  }

  /** A running consumer; KafkaJS consumes in groups only. `seen` fills with what it is given. */
  async consumer(what, group, { config = {}, run = {}, kafka = this.kafka } = {}) {
    const consumer = kafka.consumer({
      groupId: this.name(group), heartbeatInterval: 300, sessionTimeout: 10_000, maxWaitTimeInMs: 100, retry: { initialRetryTime: 50 }, ...config,
    })
    consumer.seen = []
    consumer.partitions = []
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => { consumer.partitions = payload.memberAssignment[this.name(what)] ?? [] })
    await consumer.connect()
    await consumer.subscribe({ topic: this.name(what), fromBeginning: true })
    await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => { consumer.seen.push(message) }, ...run })
    return consumer
  }

  async read(what, group, count, before = async () => {}) {
    const consumer = await this.consumer(what, group)
    try {
      await before(consumer)
      await eventually(`${count} records read, got ${consumer.seen.length}`, () => consumer.seen.length >= count)
      assert.equal(consumer.seen.length, count)
      return consumer.seen
    } finally {
      await consumer.disconnect()
    }
  }

  // ---- scenarios

  async describeCluster() {
    const { brokers, clusterId, controller } = await this.admin.describeCluster()
    assert.equal(brokers.length, 1)
    assert.ok(clusterId && controller >= 0)
  }

  async partitions(what) {
    return (await this.admin.fetchTopicMetadata({ topics: [this.name(what)] })).topics[0].partitions.length
  }

  async createTopic() {
    await this.create('created', { numPartitions: 3, configEntries: [{ name: 'retention.ms', value: '3600000' }] })
    assert.equal(await this.partitions('created'), 3)
    assert.ok((await this.admin.listTopics()).includes(this.name('created')))
    const again = { topics: [{ topic: this.name('created') }] }
    assert.equal(await this.admin.createTopics(again), false, 'KafkaJS says false for a topic that exists')
  }

  async roundTrip(what, options) {
    await this.create(what)
    const messages = Array.from({ length: COUNT }, (_, i) => record(i))
    assert.deepEqual(await this.send(what, messages, options), ['0', '50', '100', '150'], 'base offsets')
    const seen = await this.read(what, 'reader', COUNT)
    const text = buffer => buffer && buffer.toString()
    seen.forEach((m, i) => {
      const headers = Object.fromEntries(Object.entries(m.headers).map(([k, v]) => [k, Array.isArray(v) ? v.map(text) : text(v)]))
      const got = { key: text(m.key), value: text(m.value), timestamp: m.timestamp, headers }
      assert.deepEqual(got, record(i), `record ${i}`)
      assert.equal(m.offset, String(i))
    })
  }

  async offsets() {
    const [partition] = await this.admin.fetchTopicOffsets(this.name('none'))
    assert.deepEqual(partition, { partition: 0, offset: '200', high: '200', low: '0' })
  }

  async offsetsByTime() {
    const at = async time => (await this.admin.fetchTopicOffsetsByTimestamp(this.name('none'), time))[0].offset
    assert.equal(await at(T0 + 49_500), '50')
    assert.equal(await at(T0 * 2), '200', 'KafkaJS gives the end when there is none')
  }

  async seek() {
    const consumer = await this.consumer('none', 'seek')
    for (const offset of ['150', '3', '199']) {
      await eventually('joined', () => consumer.partitions.length)
      consumer.pause([{ topic: this.name('none') }])
      await sleep(200)
      consumer.seen.length = 0
      consumer.seek({ topic: this.name('none'), partition: 0, offset })
      consumer.resume([{ topic: this.name('none') }])
      await eventually('a record', () => consumer.seen.length)
      assert.equal(consumer.seen[0].offset, offset)
    }
    await consumer.disconnect()
  }

  async committed(group, what = 'none') {
    const [topic] = await this.admin.fetchOffsets({ groupId: this.name(group), topics: [this.name(what)] })
    return topic.partitions.find(p => p.partition === 0)
  }

  async commitSync() {
    const consumer = await this.consumer('none', 'sync')
    await eventually('records', () => consumer.seen.length >= 50)
    await consumer.commitOffsets([{ topic: this.name('none'), partition: 0, offset: '50' }])
    assert.equal((await this.committed('sync')).offset, '50')
    await consumer.disconnect()
    assert.equal((await this.read('none', 'sync', COUNT - 50))[0].offset, '50', 'resumes')
  }

  /** KafkaJS commits by itself in the background. */
  async commitAsync() {
    const consumer = await this.consumer('none', 'async', { run: { autoCommit: true, autoCommitThreshold: 10 } })
    await eventually('auto commit', async () => (await this.committed('async')).offset === String(COUNT))
    await consumer.disconnect()
  }

  async commitMetadata() {
    const consumer = await this.consumer('none', 'metadata')
    await eventually('joined', () => consumer.partitions.length)
    await consumer.commitOffsets([{ topic: this.name('none'), partition: 0, offset: '7', metadata: 'note ✓' }])
    assert.deepEqual(await this.committed('metadata'), { partition: 0, offset: '7', metadata: 'note ✓' })
    await consumer.disconnect()
  }

  async groupTwoMembers() {
    await this.create('shared', { numPartitions: 4 })
    const one = await this.consumer('shared', 'pair')
    await eventually('one has all', () => one.partitions.length === 4)
    const two = await this.consumer('shared', 'pair')
    await eventually('two each', () => one.partitions.length === 2 && two.partitions.length === 2)
    await two.disconnect()
    await eventually('one has all again', () => one.partitions.length === 4)
    await one.disconnect()
  }

  async groupList() {
    const { groups } = await this.admin.listGroups()
    assert.ok(groups.some(g => g.groupId === this.name('sync') && g.protocolType === 'consumer'))
  }

  async groupDescribe() {
    const consumer = await this.consumer('none', 'described', { kafka: connect(this.bootstrap, 'describing') })
    await eventually('assigned', () => consumer.partitions.length)
    const { groups: [group] } = await this.admin.describeGroups([this.name('described')])
    assert.equal(group.state, 'Stable')
    assert.equal(group.members[0].clientId, 'describing')
    assert.deepEqual(AssignerProtocol.MemberAssignment.decode(group.members[0].memberAssignment).assignment, { [this.name('none')]: [0] })
    await consumer.disconnect()
  }

  async groupDelete() {
    await this.admin.deleteGroups([this.name('async')])
    assert.ok(!(await this.admin.listGroups()).groups.some(g => g.groupId === this.name('async')))
    await fails('GROUP_ID_NOT_FOUND', () => this.admin.deleteGroups([this.name('async')]))
  }

  async addPartitions() {
    const grow = count => this.admin.createPartitions({ topicPartitions: [{ topic: this.name('created'), count }] })
    await grow(5)
    await eventually('five partitions', async () => (await this.partitions('created')) === 5)
    await fails('INVALID_PARTITIONS', () => grow(2))
  }

  async describeConfigs() {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: this.name('created') }]
    const [{ configEntries }] = (await this.admin.describeConfigs({ resources, includeSynonyms: true })).resources
    const retention = configEntries.find(e => e.configName === 'retention.ms')
    assert.equal(retention.configValue, '3600000')
    assert.equal(retention.isDefault, false)
    assert.ok(configEntries.length > 20)
  }

  /** KafkaJS knows the older request only, which replaces all configs of a topic. */
  async alterConfigs() {
    const resource = { type: ConfigResourceTypes.TOPIC, name: this.name('created') }
    const set = (name, value) => this.admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries: [{ name, value }] }] })
    await set('max.message.bytes', '54321')
    await eventually('configs changed', async () => {
      const [{ configEntries }] = (await this.admin.describeConfigs({ resources: [resource] })).resources
      const value = name => configEntries.find(e => e.configName === name)
      return value('max.message.bytes').configValue === '54321' && value('retention.ms').isDefault
    })
    await fails('INVALID_CONFIG', () => set('retention.ms', 'soon'))
  }

  async deleteRecords() {
    await this.admin.fetchTopicOffsets(this.name('gzip')) // KafkaJS deletes from topics that it has metadata of.
    await this.admin.deleteTopicRecords({ topic: this.name('gzip'), partitions: [{ partition: 0, offset: '120' }] })
    assert.equal((await this.admin.fetchTopicOffsets(this.name('gzip')))[0].low, '120')
    assert.equal((await this.read('gzip', 'after-delete', COUNT - 120))[0].offset, '120')
  }

  async autoCreate() {
    await this.send('auto', [{ value: 'made on demand' }])
    assert.equal((await this.read('auto', 'reader', 1))[0].value.toString(), 'made on demand')
  }

  async deleteTopic() {
    const drop = () => this.admin.deleteTopics({ topics: [this.name('lz4')] })
    await drop()
    await eventually('topic gone', async () => !(await this.admin.listTopics()).includes(this.name('lz4')))
    await fails('UNKNOWN_TOPIC_OR_PARTITION', drop)
  }

  async tooLarge() {
    await this.create('small', { configEntries: [{ name: 'max.message.bytes', value: '10000' }] })
    await fails('MESSAGE_TOO_LARGE', () => this.send('small', [{ value: Buffer.alloc(50_000) }]))
    await this.send('small', [{ value: Buffer.alloc(5_000) }])
  }
}

/** A member of the mixed group; the lines it prints are described in java/src/Member.java. */
async function member(bootstrap, groupId, topic) {
  const consumer = connect(bootstrap).consumer({ groupId, heartbeatInterval: 300, maxWaitTimeInMs: 100, partitionAssigners: [rangeAssigner] })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => console.log(`a ${payload.memberAssignment[topic] ?? ''}`))
  consumer.on(consumer.events.REBALANCING, () => console.log('a '))
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      await consumer.commitOffsets([{ topic, partition: batch.partition, offset: String(BigInt(batch.lastOffset()) + 1n) }])
      for (const { value } of batch.messages) console.log(`r ${value}`)
    },
  })
  for await (const _ of process.stdin);
  await consumer.disconnect()
  console.log('left')
}

const [first, ...rest] = process.argv.slice(2)
if (first === 'member') {
  await member(...rest)
} else {
  const interop = new Interop(first, rest[0])
  await interop.all()
  process.exit(interop.failed ? 1 : 0)
}
