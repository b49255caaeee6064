package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func client(o *options, more ...kgo.Opt) (*kgo.Client, error) {
	opts := append([]kgo.Opt{
		kgo.SeedBrokers(o.broker), kgo.DefaultProduceTopic(o.topic), kgo.ClientID("bench"),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(1 << 20),
	}, more...)
	return kgo.NewClient(opts...)
}

// pace calls send with each record's scheduled time, rate times a second for the seconds given. It wakes every
// millisecond and sends what is due, so a stall of the broker shows up in the latency instead of in the rate.
func pace(rate, seconds int, send func(due time.Time)) {
	start := time.Now()
	step := time.Second / time.Duration(rate)
	total := rate * seconds
	for sent := 0; sent < total; {
		due := min(int(time.Since(start)*time.Duration(rate)/time.Second), total)
		for ; sent < due; sent++ {
			send(start.Add(time.Duration(sent) * step))
		}
		time.Sleep(time.Millisecond)
	}
}

// fixedRate produces -rate records per second of -size for -seconds, idempotent, linger 5 ms, and counts what was
// acknowledged.
func fixedRate(o *options) (result, error) {
	cl, err := client(o, kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var acked, failed atomic.Int64
	payload := value(o.size, 1)
	start := time.Now()
	pace(o.rate, o.seconds, func(time.Time) {
		cl.Produce(context.Background(), &kgo.Record{Value: payload}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Add(1)
			} else {
				acked.Add(1)
			}
		})
	})
	if err := cl.Flush(context.Background()); err != nil {
		return nil, err
	}
	if failed.Load() > 0 {
		return nil, fmt.Errorf("%d records were not acknowledged", failed.Load())
	}
	seconds := time.Since(start).Seconds()
	return result{"records": acked.Load(), "seconds": seconds, "rate": float64(acked.Load()) / seconds}, nil
}

// consumeDirect opens a consumer of all partitions from the end, without a group, and waits until it is positioned.
func consumeDirect(o *options) (*kgo.Client, error) {
	partitions := map[int32]kgo.Offset{}
	for id := range o.partitions {
		partitions[int32(id)] = kgo.NewOffset().AtStart()
	}
	return client(o, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{o.topic: partitions}), kgo.FetchMaxWait(500*time.Millisecond))
}

// endToEnd produces -rate records per second of -size for -seconds and consumes them in the same process: from each
// record's scheduled time to its poll. The first three seconds are not counted.
func endToEnd(o *options) (result, error) {
	producer, err := client(o, kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	consumer, err := consumeDirect(o)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	total := o.rate * o.seconds
	skip := o.rate * 3
	origin := time.Now()
	samples := make([]int64, 0, total)
	done := make(chan error, 1)
	go func() {
		for seen := 0; seen < total; {
			fetches := consumer.PollFetches(context.Background())
			if errs := fetches.Errors(); len(errs) > 0 {
				done <- errs[0].Err
				return
			}
			now := int64(time.Since(origin))
			fetches.EachRecord(func(r *kgo.Record) {
				seen++
				if at := int64(binary.BigEndian.Uint64(r.Value)); seen > skip {
					samples = append(samples, now-at)
				}
			})
		}
		done <- nil
	}()
	var failed atomic.Int64
	pace(o.rate, o.seconds, func(due time.Time) {
		v := make([]byte, o.size)
		binary.BigEndian.PutUint64(v, uint64(due.Sub(origin)))
		producer.Produce(context.Background(), &kgo.Record{Value: v}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Add(1)
			}
		})
	})
	if err := producer.Flush(context.Background()); err != nil {
		return nil, err
	}
	if failed.Load() > 0 {
		return nil, fmt.Errorf("%d records were not acknowledged", failed.Load())
	}
	if err := <-done; err != nil {
		return nil, err
	}
	return percentiles(samples), nil
}

// ackLatency produces -records of -size one at a time, each after the acknowledgement of the one before (acks=all,
// idempotent, no linger).
func ackLatency(o *options) (result, error) {
	cl, err := client(o, kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	payload := value(o.size, 1)
	samples := make([]int64, 0, o.records)
	for i := range o.warmup + o.records {
		start := time.Now()
		if err := cl.ProduceSync(context.Background(), &kgo.Record{Value: payload}).FirstErr(); err != nil {
			return nil, err
		}
		if i >= o.warmup {
			samples = append(samples, int64(time.Since(start)))
		}
	}
	return percentiles(samples), nil
}

// roundTrip produces -records one at a time and waits until the consumer in this process has each one.
func roundTrip(o *options) (result, error) {
	producer, err := client(o, kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	consumer, err := consumeDirect(o)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	payload := value(o.size, 1)
	samples := make([]int64, 0, o.records)
	for i := range o.warmup + o.records {
		start := time.Now()
		producer.Produce(context.Background(), &kgo.Record{Value: payload}, nil)
		for got := 0; got == 0; {
			fetches := consumer.PollFetches(context.Background())
			if errs := fetches.Errors(); len(errs) > 0 {
				return nil, errs[0].Err
			}
			got = fetches.NumRecords()
		}
		if i >= o.warmup {
			samples = append(samples, int64(time.Since(start)))
		}
	}
	return percentiles(samples), nil
}

// produceSpreadNew creates -topic with -partitions and then does what produceSpread does.
func produceSpreadNew(o *options) (result, error) {
	if _, err := create(o); err != nil {
		return nil, err
	}
	return produceSpread(o)
}

// produceSpread sends -records of -size round robin over -partitions with a tuned franz-go (linger 20 ms).
func produceSpread(o *options) (result, error) {
	cl, err := client(o, kgo.ProducerLinger(20*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	payload := value(o.size, 1)
	var failed atomic.Int64
	start := time.Now()
	for i := range o.records {
		cl.Produce(context.Background(), &kgo.Record{Partition: int32(i % o.partitions), Value: payload}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Add(1)
			}
		})
	}
	if err := cl.Flush(context.Background()); err != nil {
		return nil, err
	}
	if failed.Load() > 0 {
		return nil, fmt.Errorf("%d records were not acknowledged", failed.Load())
	}
	seconds := time.Since(start).Seconds()
	return result{"records": o.records, "seconds": seconds, "rate": float64(o.records) / seconds}, nil
}
