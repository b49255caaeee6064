package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// interop runs the scenario list with franz-go and its admin client.
type interop struct {
	check
	bootstrap, prefix string
	admin             *kadm.Client
	ctx               context.Context
}

func (t *interop) all() {
	t.admin = kadm.NewClient(t.client(kgo.MetadataMinAge(50 * time.Millisecond)))
	defer t.admin.Close()
	t.scenario("describe-cluster", t.describeCluster)
	t.scenario("create-topic", t.createTopic)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.scenario("codec-"+codec, func() {
			t.roundTrip(codec, kgo.ProducerBatchCompression(codecs[codec]), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
		})
	}
	t.scenario("idempotent", func() { t.roundTrip("idempotent") })
	t.scenario("offsets", t.offsets)
	t.scenario("offsets-by-time", t.offsetsByTime)
	t.scenario("seek", t.seek)
	t.scenario("commit-sync", t.commitSync)
	t.scenario("commit-async", t.commitAsync)
	t.scenario("commit-metadata", t.commitMetadata)
	t.scenario("group-two-members", t.groupTwoMembers)
	t.scenario("group-static", t.groupStatic)
	t.scenario("group-list", func() { that(slices.Contains(get(t.admin.ListGroups(t.ctx)).Groups(), t.name("sync")), "group listed") })
	t.scenario("group-describe", t.groupDescribe)
	t.scenario("group-delete", t.groupDelete)
	t.scenario("add-partitions", t.addPartitions)
	t.scenario("describe-configs", t.describeConfigs)
	t.scenario("alter-configs", t.alterConfigs)
	t.scenario("delete-records", t.deleteRecords)
	t.scenario("auto-create", t.autoCreate)
	t.scenario("delete-topic", t.deleteTopic)
	t.scenario("error-unknown-topic", func() {
		fails(kerr.UnknownTopicOrPartition, get(t.admin.ListTopics(t.ctx, t.name("nowhere")))[t.name("nowhere")].Err)
	})
	t.scenario("error-too-large", t.tooLarge)
	t.scenario("error-bad-name", func() { fails(kerr.InvalidTopicException, t.create("bad name!", 1, 1, nil)) })
	t.scenario("error-replication-factor", func() { fails(kerr.InvalidReplicationFactor, t.create("rf3", 1, 3, nil)) })
}

// ---- helpers

func fails(expected *kerr.Error, err error) {
	if !errors.Is(err, expected) {
		fail("expected %s, got %v", expected.Message, err)
	}
}

func (t *interop) name(what string) string { return t.prefix + "-" + what }

func (t *interop) client(options ...kgo.Opt) *kgo.Client {
	return get(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(t.bootstrap)}, options...)...))
}

func (t *interop) create(what string, partitions int32, replicas int16, configs map[string]*string) error {
	_, err := t.admin.CreateTopic(t.ctx, partitions, replicas, configs, t.name(what))
	return err
}

func (t *interop) direct(what string, from int64) *kgo.Client {
	at := kgo.NewOffset().At(from)
	return t.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.name(what): {0: at}}), kgo.FetchMaxWait(100*time.Millisecond))
}

func (t *interop) member(group, what string, options ...kgo.Opt) *kgo.Client {
	base := []kgo.Opt{kgo.ConsumerGroup(t.name(group)), kgo.ConsumeTopics(t.name(what)), kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(300 * time.Millisecond),
		kgo.FetchMaxWait(100 * time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	return t.client(append(base, options...)...)
}

func read(client *kgo.Client, n int) (records []*kgo.Record) {
	ctx, cancel := within(20)
	defer cancel()
	for len(records) < n {
		fetches := client.PollRecords(ctx, n-len(records))
		must(fetches.Err())
		records = append(records, fetches.Records()...)
	}
	equal(n, len(records), "records read")
	return records
}

func (t *interop) readAll(what string, from int64, n int) []*kgo.Record {
	client := t.direct(what, from)
	defer client.Close()
	return read(client, n)
}

// ---- scenarios

func (t *interop) describeCluster() {
	metadata := get(t.admin.BrokerMetadata(t.ctx))
	equal(1, len(metadata.Brokers), "brokers")
	that(metadata.Cluster != "" && metadata.Controller >= 0, "cluster id and controller")
}

func (t *interop) partitions(what string) int {
	return len(get(t.admin.ListTopics(t.ctx, t.name(what)))[t.name(what)].Partitions)
}

func (t *interop) createTopic() {
	must(t.create("created", 3, -1, map[string]*string{"retention.ms": kadm.StringPtr("3600000")}))
	eventually("three partitions", func() bool { return t.partitions("created") == 3 })
	that(get(t.admin.ListTopics(t.ctx)).Has(t.name("created")), "topic listed")
	fails(kerr.TopicAlreadyExists, t.create("created", 1, 1, nil))
}

func (t *interop) roundTrip(what string, options ...kgo.Opt) {
	must(t.create(what, 1, 1, nil))
	batches := []kgo.Opt{kgo.ProducerBatchMaxBytes(4000), kgo.ProducerLinger(5 * time.Millisecond)}
	client := t.client(append(append(batches, kgo.RecordPartitioner(kgo.ManualPartitioner())), options...)...)
	defer client.Close()
	records := make([]*kgo.Record, count)
	for i := range records {
		records[i] = record(t.name(what), i)
	}
	must(client.ProduceSync(t.ctx, records...).FirstErr())
	for i, r := range records {
		equal(int64(i), r.Offset, "acknowledged offset")
	}
	for i, r := range t.readAll(what, 0, count) {
		want := record(t.name(what), i)
		expected := []any{int64(i), want.Key, want.Value, want.Headers, want.Timestamp.UnixMilli()}
		equal(expected, []any{r.Offset, r.Key, r.Value, r.Headers, r.Timestamp.UnixMilli()}, fmt.Sprint("record ", i))
	}
}

func (t *interop) offsets() {
	offset := func(listed kadm.ListedOffsets, err error) int64 { return get(listed, err)[t.name("none")][0].Offset }
	equal(int64(0), offset(t.admin.ListStartOffsets(t.ctx, t.name("none"))), "start")
	equal(int64(count), offset(t.admin.ListEndOffsets(t.ctx, t.name("none"))), "end")
	equal(int64(count-1), offset(t.admin.ListMaxTimestampOffsets(t.ctx, t.name("none"))), "of the latest timestamp")
}

func (t *interop) offsetsByTime() {
	at := func(ms int64) int64 {
		return get(t.admin.ListOffsetsAfterMilli(t.ctx, ms, t.name("none")))[t.name("none")][0].Offset
	}
	equal(int64(50), at(t0+49_500), "offset at the time")
	equal(int64(count), at(t0*2), "kadm gives the end when there is none")
}

func (t *interop) seek() {
	client := t.direct("none", 150)
	defer client.Close()
	equal(int64(150), read(client, 1)[0].Offset, "first offset")
	for _, offset := range []int64{3, 199} {
		client.SetOffsets(map[string]map[int32]kgo.EpochOffset{t.name("none"): {0: {Epoch: -1, Offset: offset}}})
		equal(offset, read(client, 1)[0].Offset, "first offset after seek")
	}
}

func (t *interop) committed(group string) kadm.OffsetResponse {
	found, _ := get(t.admin.FetchOffsets(t.ctx, t.name(group))).Lookup(t.name("none"), 0)
	return found
}

func (t *interop) commitSync() {
	client := t.member("sync", "none")
	must(client.CommitRecords(t.ctx, read(client, 50)...))
	equal(int64(50), t.committed("sync").At, "committed")
	client.Close()
	client = t.member("sync", "none")
	equal(int64(50), read(client, count-50)[0].Offset, "resumes")
	client.Close()
}

func (t *interop) commitAsync() {
	client, done := t.member("async", "none"), make(chan error)
	defer client.Close()
	read(client, 42)
	offsets := map[string]map[int32]kgo.EpochOffset{t.name("none"): {0: {Epoch: -1, Offset: 42}}}
	client.CommitOffsets(t.ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) { done <- err })
	must(<-done)
	equal(int64(42), t.committed("async").At, "committed")
}

func (t *interop) commitMetadata() {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: t.name("none"), Partition: 0, At: 7, LeaderEpoch: -1, Metadata: "note ✓"})
	must(t.admin.CommitAllOffsets(t.ctx, t.name("metadata"), offsets))
	equal("note ✓", t.committed("metadata").Metadata, "metadata")
}

// shares counts what each member holds, by the callbacks that options installs.
type shares struct {
	mutex sync.Mutex
	held  map[string]map[int32]bool
}

func (s *shares) options(member string) []kgo.Opt {
	change := func(held bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			s.mutex.Lock()
			defer s.mutex.Unlock()
			for _, partitions := range topics {
				for _, p := range partitions {
					if s.held[member] == nil {
						s.held[member] = map[int32]bool{}
					}
					if held {
						s.held[member][p] = true
					} else {
						delete(s.held[member], p)
					}
				}
			}
		}
	}
	return []kgo.Opt{kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
		kgo.Balancers(kgo.RangeBalancer())}
}

func (s *shares) eventually(counts map[string]int, clients ...*kgo.Client) {
	eventually(fmt.Sprint("shares ", counts), func() bool {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		for member, n := range counts {
			if len(s.held[member]) != n {
				return false
			}
		}
		return true
	})
}

func (t *interop) groupTwoMembers() {
	must(t.create("shared", 4, 1, nil))
	s := shares{held: map[string]map[int32]bool{}}
	one := t.member("pair", "shared", s.options("one")...)
	defer one.Close()
	s.eventually(map[string]int{"one": 4})
	two := t.member("pair", "shared", s.options("two")...)
	s.eventually(map[string]int{"one": 2, "two": 2})
	two.Close()
	s.eventually(map[string]int{"one": 4})
}

func (t *interop) groupStatic() {
	s := shares{held: map[string]map[int32]bool{}}
	start := func(name string) *kgo.Client {
		return t.member("static", "shared", append(s.options(name), kgo.InstanceID(name))...)
	}
	one, two := start("one"), start("two")
	defer two.Close()
	s.eventually(map[string]int{"one": 2, "two": 2})
	s.mutex.Lock()
	before := fmt.Sprint(s.held["one"])
	s.mutex.Unlock()
	one.Close()
	s.eventually(map[string]int{"one": 0, "two": 2})
	back := start("one")
	defer back.Close()
	s.eventually(map[string]int{"one": 2, "two": 2})
	equal(before, fmt.Sprint(s.held["one"]), "same partitions back")
}

func (t *interop) groupDescribe() {
	s := shares{held: map[string]map[int32]bool{}}
	client := t.member("described", "none", append(s.options("x"), kgo.ClientID("describing"))...)
	defer client.Close()
	s.eventually(map[string]int{"x": 1})
	eventually("stable", func() bool {
		group := get(t.admin.DescribeGroups(t.ctx, t.name("described")))[t.name("described")]
		return group.State == "Stable" && group.Members[0].ClientID == "describing" && group.AssignedPartitions().Lookup(t.name("none"), 0)
	})
}

func (t *interop) groupDelete() {
	remove := func() error { _, err := t.admin.DeleteGroup(t.ctx, t.name("async")); return err }
	eventually("group deleted once its member has left", func() bool { return !errors.Is(remove(), kerr.NonEmptyGroup) })
	that(!slices.Contains(get(t.admin.ListGroups(t.ctx)).Groups(), t.name("async")), "group gone")
	fails(kerr.GroupIDNotFound, remove())
}

func (t *interop) addPartitions() {
	grow := func(total int) error { return get(t.admin.UpdatePartitions(t.ctx, total, t.name("created"))).Error() }
	must(grow(5))
	eventually("five partitions", func() bool { return t.partitions("created") == 5 })
	fails(kerr.InvalidPartitions, grow(2))
}

func (t *interop) config(what, key string) *kadm.Config {
	configs := get(get(t.admin.DescribeTopicConfigs(t.ctx, t.name(what))).On(t.name(what), nil))
	for _, config := range configs.Configs {
		if config.Key == key {
			return &config
		}
	}
	fail("no config %s", key)
	return nil
}

func (t *interop) describeConfigs() {
	retention := t.config("created", "retention.ms")
	equal("3600000", retention.MaybeValue(), "retention.ms")
	equal("DYNAMIC_TOPIC_CONFIG", retention.Source.String(), "source")
	equal("DEFAULT_CONFIG", t.config("created", "cleanup.policy").Source.String(), "source of a default")
}

func (t *interop) alterConfigs() {
	alter := func(configs ...kadm.AlterConfig) error {
		return get(get(t.admin.AlterTopicConfigs(t.ctx, configs, t.name("created"))).On(t.name("created"), nil)).Err
	}
	must(alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "max.message.bytes", Value: kadm.StringPtr("54321")},
		kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"},
		kadm.AlterConfig{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")}))
	eventually("configs changed", func() bool {
		return t.config("created", "max.message.bytes").MaybeValue() == "54321" &&
			t.config("created", "retention.ms").Source.String() == "DEFAULT_CONFIG" &&
			len(t.config("created", "cleanup.policy").MaybeValue()) == len("delete,compact")
	})
	fails(kerr.InvalidConfig, alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("soon")}))
}

func (t *interop) deleteRecords() {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: t.name("gzip"), Partition: 0, At: 120})
	deleted, _ := get(t.admin.DeleteRecords(t.ctx, offsets)).Lookup(t.name("gzip"), 0)
	must(deleted.Err)
	equal(int64(120), deleted.LowWatermark, "low watermark")
	equal(int64(120), get(t.admin.ListStartOffsets(t.ctx, t.name("gzip")))[t.name("gzip")][0].Offset, "start")
	equal(int64(120), t.readAll("gzip", 120, count-120)[0].Offset, "first record")
}

func (t *interop) autoCreate() {
	client := t.client(kgo.AllowAutoTopicCreation())
	defer client.Close()
	must(client.ProduceSync(t.ctx, &kgo.Record{Topic: t.name("auto"), Value: []byte("made on demand")}).FirstErr())
	equal("made on demand", string(t.readAll("auto", 0, 1)[0].Value), "value")
}

func (t *interop) deleteTopic() {
	remove := func() error { _, err := t.admin.DeleteTopic(t.ctx, t.name("lz4")); return err }
	must(remove())
	eventually("topic gone", func() bool { return !get(t.admin.ListTopics(t.ctx)).Has(t.name("lz4")) })
	fails(kerr.UnknownTopicOrPartition, remove())
}

func (t *interop) tooLarge() {
	must(t.create("small", 1, 1, map[string]*string{"max.message.bytes": kadm.StringPtr("10000")}))
	client := t.client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer client.Close()
	send := func(size int) error {
		return client.ProduceSync(t.ctx, &kgo.Record{Topic: t.name("small"), Value: make([]byte, size)}).FirstErr()
	}
	fails(kerr.MessageTooLarge, send(50_000))
	must(send(5_000))
}
