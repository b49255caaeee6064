package main

import (
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ready tells xtask on stderr that the process is up and dialling, so that its own start is no part of the measure.
func ready() { fmt.Fprintln(os.Stderr, "ready") }

// firstAck dials until the broker listens, lets it create -topic, and produces one record with acks=all until it is
// acknowledged. acked_ns is the wall clock then; xtask knows when it started the broker.
func firstAck(o *options) (result, error) {
	o.partitions = 1
	return untilAcked(o, true)
}

// ackAll dials until the broker listens and produces one record to each of -partitions until all are acknowledged.
func ackAll(o *options) (result, error) { return untilAcked(o, false) }

func untilAcked(o *options, auto bool) (result, error) {
	encoded, _, err := batch(o.size, 1, "none")
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(o.timeout)
	ready()
	for {
		c, err := dialUntilUp(o.broker, deadline)
		if err != nil {
			return nil, err
		}
		connected := time.Now().UnixNano()
		// A broker that is starting may listen before it answers, and close; then try again.
		if auto {
			err = c.awaitLeaders(o.topic, 1, true, deadline)
		}
		if err == nil {
			err = c.produceToAll(o.topic, o.partitions, encoded, deadline)
		}
		acked := time.Now().UnixNano()
		_ = c.Close()
		if err == nil {
			return result{"connected_ns": connected, "acked_ns": acked}, nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// createAckAll measures from the CreateTopics request of -topic with -partitions to the acknowledgement of one record
// in each of them.
func createAckAll(o *options) (result, error) {
	encoded, _, err := batch(o.size, 1, "none")
	if err != nil {
		return nil, err
	}
	c, err := dial(o.broker)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := c.createTopic(o.topic, o.partitions); err != nil {
		return nil, err
	}
	created := time.Since(start)
	if err := c.produceToAll(o.topic, o.partitions, encoded, start.Add(o.timeout)); err != nil {
		return nil, err
	}
	return result{"create_s": created.Seconds(), "seconds": time.Since(start).Seconds()}, nil
}

// produceToAll sends one request with the batch for every partition, and again for those that were refused, until all
// are acknowledged.
func (c *conn) produceToAll(topic string, partitions int, encoded []byte, deadline time.Time) error {
	open := make([]int32, partitions)
	for id := range open {
		open[id] = int32(id)
	}
	for {
		resp, err := c.call(produceRequest(topic, open, encoded))
		if err != nil {
			return err
		}
		open = open[:0]
		var last error
		for _, t := range resp.(*kmsg.ProduceResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					if !kerr.IsRetriable(err) {
						return fmt.Errorf("produce to %s-%d: %w", topic, p.Partition, err)
					}
					last = err
					open = append(open, p.Partition)
				}
			}
		}
		if len(open) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d partitions were not acknowledged: %w", len(open), partitions, last)
		}
		time.Sleep(500 * time.Microsecond)
	}
}
