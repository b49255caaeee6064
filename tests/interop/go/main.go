// Interop runs the scenario list with franz-go, and is the load of the crash tests.
//
//	interop BOOTSTRAP PREFIX                       the scenarios
//	interop member BOOTSTRAP GROUP TOPIC           a member of the mixed group
//	interop create BOOTSTRAP TOPIC PARTITIONS [KEY=VALUE]...
//	interop produce BOOTSTRAP TOPIC FROM COUNT     values FROM..FROM+COUNT over all partitions
//	interop read BOOTSTRAP TOPIC                   the values up to the end, one per line
//	interop load BOOTSTRAP TOPIC FILE PADDING      produces until its input ends, and writes what was acknowledged to FILE
//	interop verify BOOTSTRAP TOPIC FILE            everything in FILE is in the topic exactly once, in order
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	args := os.Args[1:]
	switch args[0] {
	case "member":
		member(args[1], args[2], args[3], args[4])
	case "produce":
		from, _ := strconv.Atoi(args[3])
		n, _ := strconv.Atoi(args[4])
		produce(args[1], args[2], from, n)
	case "create":
		partitions, _ := strconv.Atoi(args[3])
		create(args[1], args[2], partitions, args[4:])
	case "read":
		readValues(args[1], args[2], func(r *kgo.Record) { fmt.Println(string(r.Value)) })
	case "load":
		padding, _ := strconv.Atoi(args[4])
		load(args[1], args[2], args[3], strings.Repeat("x", padding))
	case "verify":
		verify(args[1], args[2], args[3])
	default:
		t := interop{bootstrap: args[0], prefix: args[1], ctx: context.Background()}
		t.all()
		if t.failed > 0 {
			os.Exit(1)
		}
	}
}

func stop(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func inputEnds() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	return done
}

// fetchWait is how long the broker may hold a member's fetch: short, unless a test wants a long poll.
func fetchWait() time.Duration {
	if ms, err := strconv.Atoi(os.Getenv("FETCH_WAIT_MS")); err == nil {
		return time.Duration(ms) * time.Millisecond
	}
	return 100 * time.Millisecond
}

// member prints the lines that are described in java/src/Member.java.
func member(bootstrap, group, topic, assignor string) {
	share := map[int32]bool{}
	show := func() {
		var partitions []string
		for p := range share {
			partitions = append(partitions, strconv.Itoa(int(p)))
		}
		fmt.Println("a " + strings.Join(partitions, ","))
	}
	print := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		for _, p := range topics[topic] {
			share[p] = true
		}
		show()
	}
	none := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		for _, p := range topics[topic] {
			delete(share, p)
		}
		show()
	}
	balancer := kgo.RangeBalancer()
	if assignor == "cooperative" {
		balancer = kgo.CooperativeStickyBalancer()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.Balancers(balancer),
		kgo.HeartbeatInterval(300*time.Millisecond), kgo.FetchMaxWait(fetchWait()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.BlockRebalanceOnPoll(), kgo.OnPartitionsAssigned(print), kgo.OnPartitionsRevoked(none), kgo.OnPartitionsLost(none))
	stop(err)
	for done := inputEnds(); ; {
		select {
		case <-done:
			client.CloseAllowingRebalance()
			fmt.Println("left")
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		fetches := client.PollFetches(ctx)
		cancel()
		if records := fetches.Records(); len(records) > 0 {
			stop(client.CommitRecords(context.Background(), records...))
			for _, r := range records {
				fmt.Println("r " + string(r.Value))
			}
		}
		client.AllowRebalance()
	}
}

func produce(bootstrap, topic string, from, n int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	stop(err)
	defer client.Close()
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Value: strconv.AppendInt(nil, int64(from+i), 10)}
	}
	stop(client.ProduceSync(context.Background(), records...).FirstErr())
}

func create(bootstrap, topic string, partitions int, configs []string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	stop(err)
	defer client.Close()
	entries := map[string]*string{}
	for _, config := range configs {
		key, value, _ := strings.Cut(config, "=")
		entries[key] = &value
	}
	_, err = kadm.NewClient(client).CreateTopic(context.Background(), int32(partitions), 1, entries, topic)
	stop(err)
}

// readValues passes on every record of the topic up to the ends that its partitions have now.
func readValues(bootstrap, topic string, each func(*kgo.Record)) {
	ctx, cancel := within(60)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	stop(err)
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	stop(err)
	stop(ends.Error())
	starts, err := kadm.NewClient(client).ListStartOffsets(ctx, topic)
	stop(err)
	left := map[int32]bool{}
	ends.Each(func(end kadm.ListedOffset) {
		if start, _ := starts.Lookup(topic, end.Partition); start.Offset < end.Offset {
			left[end.Partition] = true
		}
	})
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		stop(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			end, _ := ends.Lookup(topic, r.Partition)
			if r.Offset < end.Offset {
				each(r)
			}
			if r.Offset >= end.Offset-1 {
				delete(left, r.Partition)
			}
		})
	}
}

// load produces idempotently, with a sequence per key in the value, and outlives the broker. Each line of the file is one
// acknowledged record: partition, offset, value.
func load(bootstrap, topic, path, padding string) {
	file, err := os.Create(path)
	stop(err)
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.MaxBufferedRecords(500),
		kgo.ProducerBatchCompression(kgo.NoCompression()), // Padding is there to take up room.
		kgo.ProducerLinger(2*time.Millisecond), kgo.RetryTimeout(60*time.Second), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }))
	stop(err)
	done, finished := inputEnds(), false
	for i := 0; !finished; i++ {
		select {
		case <-done:
			finished = true
		default:
		}
		key := fmt.Sprint("key", i%10)
		record := &kgo.Record{Key: []byte(key), Value: fmt.Appendf(nil, "%s:%d.%s", key, i/10, padding)}
		client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			stop(err)
			fmt.Fprintf(file, "%d %d %s\n", r.Partition, r.Offset, name(r)) // Callbacks come one at a time.
		})
		time.Sleep(200 * time.Microsecond)
	}
	stop(client.Flush(context.Background()))
	client.Close()
	stop(file.Close())
}

// name is what identifies a record of the load: its key and its number in the key's sequence.
func name(r *kgo.Record) string {
	text, _, _ := strings.Cut(string(r.Value), ".")
	return text
}

// verify reads the topic from the beginning: every acknowledged record is at its offset, none is there twice, and each key's
// sequence rises by one. The load may go on meanwhile: what it writes to the file later is not looked at.
func verify(bootstrap, topic, path string) {
	written, err := os.ReadFile(path)
	stop(err)
	places, next := map[string]string{}, map[string]int{}
	readValues(bootstrap, topic, func(r *kgo.Record) {
		value := name(r)
		if at, twice := places[value]; twice {
			stop(fmt.Errorf("%s is there twice, at %s and at %d %d", value, at, r.Partition, r.Offset))
		}
		places[value] = fmt.Sprintf("%d %d", r.Partition, r.Offset)
		key, sequence, _ := strings.Cut(value, ":")
		if n, _ := strconv.Atoi(sequence); n != next[key] {
			stop(fmt.Errorf("key %s: sequence %d after %d at %s", key, n, next[key]-1, places[value]))
		}
		next[key]++
	})
	lines := strings.Split(string(written), "\n")
	lines = lines[:len(lines)-1] // The last one is empty, or half written.
	for _, line := range lines {
		fields := strings.Fields(line)
		if at := places[fields[2]]; at != fields[0]+" "+fields[1] {
			stop(fmt.Errorf("%s was acknowledged at %s %s, and is at %q", fields[2], fields[0], fields[1], at))
		}
	}
	fmt.Println(len(lines))
}
