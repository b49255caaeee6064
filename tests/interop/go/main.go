// Interop runs the scenario list with franz-go, and is the load of the crash tests.
//
//	interop BOOTSTRAP PREFIX                       the scenarios
//	interop member BOOTSTRAP GROUP TOPIC           a member of the mixed group
//	interop produce BOOTSTRAP TOPIC FROM COUNT     values FROM..FROM+COUNT over all partitions
//	interop load BOOTSTRAP TOPIC FILE              produces until its input ends, and writes what was acknowledged to FILE
//	interop verify BOOTSTRAP TOPIC FILE            everything in FILE is in the topic exactly once, in order
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	args := os.Args[1:]
	switch args[0] {
	case "member":
		member(args[1], args[2], args[3])
	case "produce":
		from, _ := strconv.Atoi(args[3])
		n, _ := strconv.Atoi(args[4])
		produce(args[1], args[2], from, n)
	case "load":
		load(args[1], args[2], args[3])
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

// member prints the lines that are described in java/src/Member.java.
func member(bootstrap, group, topic string) {
	print := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		fmt.Println("a " + strings.Trim(strings.ReplaceAll(fmt.Sprint(topics[topic]), " ", ","), "[]"))
	}
	none := func(context.Context, *kgo.Client, map[string][]int32) { fmt.Println("a ") }
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.Balancers(kgo.RangeBalancer()),
		kgo.HeartbeatInterval(300*time.Millisecond), kgo.FetchMaxWait(100*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
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

// load produces idempotently, with a sequence per key in the value, and outlives the broker. Each line of the file is one
// acknowledged record: partition, offset, value.
func load(bootstrap, topic, path string) {
	file, err := os.Create(path)
	stop(err)
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxBufferedRecords(500),
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
		client.Produce(context.Background(), &kgo.Record{Key: []byte(key), Value: fmt.Appendf(nil, "%s:%d", key, i/10)}, func(r *kgo.Record, err error) {
			stop(err)
			fmt.Fprintf(file, "%d %d %s\n", r.Partition, r.Offset, r.Value) // Callbacks come one at a time.
		})
		time.Sleep(200 * time.Microsecond)
	}
	stop(client.Flush(context.Background()))
	client.Close()
	stop(file.Close())
}

// verify reads the topic from the beginning: every acknowledged value is at its offset, no value twice, and each key's sequence rises by one.
func verify(bootstrap, topic, path string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	stop(err)
	defer client.Close()
	seen, places, next := map[string]int{}, map[string]string{}, map[string]int{}
	for idle := 0; idle < 4; {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		records := client.PollFetches(ctx).Records()
		cancel()
		if len(records) == 0 {
			idle++
			continue
		}
		idle = 0
		for _, r := range records {
			value := string(r.Value)
			seen[value]++
			places[value] = fmt.Sprintf("%d %d", r.Partition, r.Offset)
			key, sequence, _ := strings.Cut(value, ":")
			if n, _ := strconv.Atoi(sequence); n != next[key] {
				stop(fmt.Errorf("key %s: sequence %d after %d at %s", key, n, next[key]-1, places[value]))
			}
			next[key]++
		}
	}
	file, err := os.Open(path)
	stop(err)
	acknowledged := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			continue // The last line of a load that still writes.
		}
		acknowledged++
		if seen[fields[2]] != 1 || places[fields[2]] != fields[0]+" "+fields[1] {
			stop(fmt.Errorf("%s was acknowledged at %s %s; found %d times, last at %q", fields[2], fields[0], fields[1], seen[fields[2]], places[fields[2]]))
		}
	}
	fmt.Println(acknowledged)
}
