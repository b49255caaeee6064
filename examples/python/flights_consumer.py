"""Reads flights as a member of a group and keeps departure delays per carrier, until SIGTERM or Ctrl-C.

Usage: flights_consumer.py BOOTSTRAP TOPIC GROUP NAME
"""

import json
import signal
import sys
import time
from collections import defaultdict

from confluent_kafka import Consumer, KafkaException

DEP_DELAY, CARRIER = 5, 9  # Columns of a flight.
LATE = 15  # Minutes; what the authorities count as delayed.

bootstrap, topic, group, name = sys.argv[1:5]
running = True


def stop(*_):
    global running
    running = False


signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)

consumer = Consumer({
    "bootstrap.servers": bootstrap,
    "group.id": group,
    "client.id": name,
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "heartbeat.interval.ms": 300,
    "fetch.wait.max.ms": 100,
})
consumer.subscribe([topic], on_assign=lambda _, shares: print("assigned", *(s.partition for s in shares), flush=True))

records = bytes_read = first = last = 0
carriers = defaultdict(lambda: [0, 0, 0, 0])  # flights, flights that left, minutes of delay, late flights
while running:
    messages = consumer.consume(500, timeout=0.1)
    if not messages:
        continue
    first = first or time.time() * 1000
    for message in messages:
        if message.error():
            raise KafkaException(message.error())
        flight = message.value().decode().split(",")
        delay, stats = flight[DEP_DELAY], carriers[flight[CARRIER]]
        stats[0] += 1
        if delay not in ("", "NA"):
            stats[1] += 1
            stats[2] += int(delay)
            stats[3] += int(delay) > LATE
        bytes_read += len(message.value())
    records += len(messages)
    last = time.time() * 1000
    consumer.commit(asynchronous=False)
    print("read", records, flush=True)

consumer.close()  # Leaves the group at once.
print(json.dumps({"records": records, "bytes": bytes_read, "first_ms": first, "last_ms": last, "carriers": carriers}))
