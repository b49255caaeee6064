// Kafka's range assignor, which KafkaJS lacks: each topic's partitions in runs, over the members sorted by id.
import kafkajs from 'kafkajs'

const { MemberAssignment, MemberMetadata } = kafkajs.AssignerProtocol

export const rangeAssigner = ({ cluster }) => ({
  name: 'range',
  version: 0,
  protocol: ({ topics }) => ({ name: 'range', metadata: MemberMetadata.encode({ version: 0, topics, userData: Buffer.alloc(0) }) }),
  async assign({ members, topics }) {
    const assignments = new Map(members.map(m => [m.memberId, {}]))
    for (const topic of topics) {
      const partitions = cluster.findTopicPartitionMetadata(topic).map(m => m.partitionId).sort((a, b) => a - b)
      const ids = members.filter(m => MemberMetadata.decode(m.memberMetadata).topics.includes(topic)).map(m => m.memberId).sort()
      const [each, extra] = [Math.floor(partitions.length / ids.length), partitions.length % ids.length]
      ids.forEach((id, i) => { assignments.get(id)[topic] = partitions.splice(0, each + (i < extra ? 1 : 0)) })
    }
    const encode = assignment => MemberAssignment.encode({ version: 0, assignment, userData: Buffer.alloc(0) })
    return [...assignments].map(([memberId, assignment]) => ({ memberId, memberAssignment: encode(assignment) }))
  },
})
