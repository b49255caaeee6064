//! The configs of the consumer alone; what all clients share is in [`crate::client`].
//!
//! One row is: name, type, default, validator, importance, where it may be changed, status, and a few words of what it
//! does. The row is the only place a config exists; its documentation is printed from here.

table! {
    /// The rows, sorted by name.
    ROWS;
    "allow.auto.create.topics" Boolean "true" Any, Medium ReadOnly Implemented "Let the broker create topics that are subscribed to but missing.";
    "auto.commit.interval.ms" Int "5000" AtLeast(0), Low ReadOnly Implemented "Time between automatic offset commits.";
    "auto.offset.reset" String "latest" OffsetReset, Medium ReadOnly Implemented "Where to start without a committed offset: earliest, latest, none or by_duration:PnDTnHnMnS.";
    "bootstrap.servers" List required NonEmptyList, High ReadOnly Implemented "Brokers to connect to first, host:port each.";
    "check.crcs" Boolean "true" Any, Low ReadOnly Implemented "Check the CRC of every batch read.";
    "client.id" String "" Any, Low ReadOnly Implemented "Name of this client in the broker's logs, metrics and quotas.";
    "client.rack" String "" Any, Low ReadOnly Implemented "Rack of this client, to read from the nearest replica.";
    "connections.max.idle.ms" Long "540000" Any, Medium ReadOnly Implemented "A connection idle for this long is closed.";
    "default.api.timeout.ms" Int "60000" AtLeast(0), Medium ReadOnly Implemented "Time a call may take when it has no timeout of its own.";
    "enable.auto.commit" Boolean "true" Any, Medium ReadOnly Implemented "Commit consumed offsets in the background.";
    "enable.metrics.push" Boolean "true" Any, Low ReadOnly Implemented "Send client metrics when the cluster asks for them.";
    "exclude.internal.topics" Boolean "true" Any, Medium ReadOnly Implemented "Keep internal topics out of pattern subscriptions.";
    "fetch.max.bytes" Int "52428800" AtLeast(0), Medium ReadOnly Implemented "Largest fetch response, bytes; the first batch is whole even if larger.";
    "fetch.max.wait.ms" Int "500" AtLeast(0), Low ReadOnly Implemented "Longest a fetch waits for fetch.min.bytes.";
    "fetch.min.bytes" Int "1" AtLeast(0), High ReadOnly Implemented "Fewest bytes a fetch waits for.";
    "group.id" String null Any, High ReadOnly Implemented "Group this consumer belongs to.";
    "group.instance.id" String null NonEmpty, Medium ReadOnly Implemented "Name that survives restarts, so that a restart does not rebalance.";
    "group.protocol" String "classic" OneOfIgnoreCase(&["CLASSIC", "CONSUMER"]), High ReadOnly Implemented "classic or consumer (KIP-848).";
    "group.remote.assignor" String null Any, Medium ReadOnly Implemented "Server-side assignor asked for; the broker's choice when unset.";
    "heartbeat.interval.ms" Int "3000" Any, High ReadOnly Implemented "Time between heartbeats of the classic protocol.";
    "interceptor.classes" List "" List, Low ReadOnly Ignored "Classes that see each record on its way.";
    "internal.throw.on.fetch.stable.offset.unsupported" Boolean "false" Any, Internal ReadOnly Ignored "Fail when the broker cannot fetch stable offsets.";
    "isolation.level" String "read_uncommitted" OneOf(&["read_committed", "read_uncommitted"]), Medium ReadOnly Implemented "read_committed hides records of open and aborted transactions.";
    "key.deserializer" Class required Any, High ReadOnly Ignored "Class that reads keys.";
    "max.partition.fetch.bytes" Int "1048576" AtLeast(0), High ReadOnly Implemented "Bytes per partition in a fetch; the first batch is whole even if larger.";
    "max.poll.interval.ms" Int "300000" AtLeast(1), Medium ReadOnly Implemented "Longest time between polls before the group goes on without this member.";
    "max.poll.records" Int "500" AtLeast(1), Medium ReadOnly Implemented "Most records from one poll.";
    "partition.assignment.strategy" List "org.apache.kafka.clients.consumer.RangeAssignor,org.apache.kafka.clients.consumer.CooperativeStickyAssignor" List, Medium ReadOnly Implemented "Assignors of the classic protocol, in order of preference.";
    "receive.buffer.bytes" Int "65536" AtLeast(-1), Medium ReadOnly Implemented "Receive buffer of the sockets, bytes; -1 is the system's.";
    "session.timeout.ms" Int "45000" Any, High ReadOnly Implemented "A classic member silent for this long is removed from its group.";
    "share.acknowledgement.mode" String "implicit" OneOfIgnoreCase(&["implicit", "explicit"]), Medium ReadOnly Ignored "Acknowledge records by the next poll (implicit) or one by one (explicit).";
    "share.acquire.mode" String "BATCH_OPTIMIZED" OneOfIgnoreCase(&["batch_optimized", "record_limit"]), Medium ReadOnly Ignored "Take whole batches (batch_optimized) or at most max.poll.records (record_limit).";
    "value.deserializer" Class required Any, High ReadOnly Ignored "Class that reads values.";
}
