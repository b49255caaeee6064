"""Prints each partition of a topic with what a group has committed, the end of the log, the lag and who reads it.

Usage: group_lag.py BOOTSTRAP TOPIC GROUP...
"""

import sys

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

bootstrap, topic, *groups = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": bootstrap})
partitions = [TopicPartition(topic, p) for p in sorted(admin.list_topics(topic, timeout=10).topics[topic].partitions)]
ends = {tp.partition: f.result().offset for tp, f in admin.list_offsets({p: OffsetSpec.latest() for p in partitions}).items()}

print(f"{'group':<14} {'partition':>9} {'committed':>10} {'end':>8} {'lag':>6}  member")
for group in groups:
    committed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)])[group].result()
    readers = {}
    for member in admin.describe_consumer_groups([group])[group].result().members:
        readers.update({p.partition: member.client_id for p in member.assignment.topic_partitions})
    for p in sorted(committed.topic_partitions, key=lambda p: p.partition):
        offset = max(p.offset, 0)
        end = ends[p.partition]
        print(f"{group:<14} {p.partition:>9} {offset:>10} {end:>8} {end - offset:>6}  {readers.get(p.partition, '-')}")
