// Command load is the load generator of cargo xtask bench: one subcommand per measurement, one JSON object on stdout.
//
// Two kinds of client: "raw" ones write requests that were encoded before the clock started, so that the broker's CPU
// seconds are measured with as little client work beside it as possible; the others are franz-go as an application uses it.
// It measures clients and wall time only; the CPU seconds of the broker are read by xtask from /proc.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"syscall"
	"time"
)

// options holds every flag of every subcommand; each subcommand reads the few it names in its doc comment.
type options struct {
	broker     string
	topic      string
	partitions int
	size       int
	batch      int
	bytes      int64
	records    int
	warmup     int
	rate       int
	seconds    int
	codec      string
	timeout    time.Duration
}

type result map[string]any

var commands = map[string]func(*options) (result, error){
	"create":             create,
	"delete":             remove,
	"produce-raw":        produceRaw,
	"consume-raw":        consumeRaw,
	"first-ack":          firstAck,
	"ack-all":            ackAll,
	"create-ack-all":     createAckAll,
	"fixed-rate":         fixedRate,
	"end-to-end":         endToEnd,
	"ack-latency":        ackLatency,
	"round-trip":         roundTrip,
	"produce-spread":     produceSpread,
	"produce-spread-new": produceSpreadNew,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		names := make([]string, 0, len(commands))
		for name := range commands {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: load <command> [flags]; commands: %v\n", names)
		os.Exit(2)
	}
	var o options
	f := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	f.StringVar(&o.broker, "broker", "127.0.0.1:9092", "the broker's address")
	f.StringVar(&o.topic, "topic", "bench", "the topic")
	f.IntVar(&o.partitions, "partitions", 4, "partitions of the topic")
	f.IntVar(&o.size, "size", 1024, "bytes of a record's value")
	f.IntVar(&o.batch, "batch", 256<<10, "bytes of records in a batch before compression")
	f.Int64Var(&o.bytes, "bytes", 1e9, "bytes of record values to send")
	f.IntVar(&o.records, "records", 10000, "records to send")
	f.IntVar(&o.warmup, "warmup", 1000, "records sent before the clock starts")
	f.IntVar(&o.rate, "rate", 100000, "records per second")
	f.IntVar(&o.seconds, "seconds", 10, "seconds of the measured run")
	f.StringVar(&o.codec, "codec", "none", "none, lz4 or zstd")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "give up after this long")
	_ = f.Parse(os.Args[2:])

	// A hung broker must end the row, not the bench.
	time.AfterFunc(o.timeout, func() {
		fmt.Fprintf(os.Stderr, "load %s: nothing after %v\n", os.Args[1], o.timeout)
		os.Exit(3)
	})
	out, err := commands[os.Args[1]](&o)
	if err != nil {
		fmt.Fprintf(os.Stderr, "load %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	out["client_cpu_s"] = clientCPU()
	_ = json.NewEncoder(os.Stdout).Encode(out)
}

// clientCPU is the user and system time of this process in seconds.
func clientCPU() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// percentiles sorts the samples (nanoseconds) and gives the usual points in microseconds.
func percentiles(ns []int64) result {
	sort.Slice(ns, func(i, j int) bool { return ns[i] < ns[j] })
	at := func(p float64) float64 {
		if len(ns) == 0 {
			return 0
		}
		return float64(ns[int(p*float64(len(ns)-1))]) / 1e3
	}
	return result{"samples": len(ns), "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": at(1)}
}
