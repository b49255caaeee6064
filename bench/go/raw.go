package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// inFlight is the number of requests a connection has open, as max.in.flight.requests.per.connection has it.
const inFlight = 5

func newBuffer() *bytes.Buffer { return new(bytes.Buffer) }

// create makes -topic with -partitions and waits until each leader answers for its partition.
func create(o *options) (result, error) {
	c, err := dial(o.broker)
	if err != nil {
		return nil, err
	}
	if err := c.createTopic(o.topic, o.partitions); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(o.timeout)
	if err := c.awaitLeaders(o.topic, o.partitions, false, deadline); err != nil {
		return nil, err
	}
	// Apache Kafka names a leader before that leader knows; ListOffsets is answered once it does.
	for {
		_, err := c.endOffsets(o.topic, o.partitions)
		if err == nil || !kerr.IsRetriable(err) || time.Now().After(deadline) {
			return result{}, err
		}
		time.Sleep(time.Millisecond)
	}
}

// remove deletes -topic.
func remove(o *options) (result, error) {
	c, err := dial(o.broker)
	if err != nil {
		return nil, err
	}
	return result{}, c.deleteTopic(o.topic)
}

// produceRaw sends -bytes of record values of -size, in batches of -batch with -codec, round robin over -partitions:
// one connection, five requests in flight, acks=all, one batch a request. The frames are encoded before the clock starts.
func produceRaw(o *options) (result, error) {
	encoded, records, err := batch(o.size, o.batch, o.codec)
	if err != nil {
		return nil, err
	}
	c, err := dial(o.broker)
	if err != nil {
		return nil, err
	}
	frames := make([][]byte, o.partitions)
	for p := range frames {
		frames[p] = encode(produceRequest(o.topic, []int32{int32(p)}, encoded), 0)
	}
	requests := int(o.bytes/int64(records*o.size)) + 1
	window := make(chan struct{}, inFlight)
	failed := make(chan error, 2)
	start := time.Now()
	go func() {
		for i := range requests {
			window <- struct{}{}
			frame := frames[i%len(frames)]
			binary.BigEndian.PutUint32(frame[8:], uint32(i))
			if _, err := c.Write(frame); err != nil {
				failed <- err
				return
			}
		}
	}()
	go func() {
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = produceVersion
		for range requests {
			body, err := c.read()
			if err == nil {
				err = decode(resp, body)
			}
			if err == nil {
				err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
			}
			if err != nil {
				failed <- err
				return
			}
			<-window
		}
		failed <- nil
	}()
	if err := <-failed; err != nil {
		return nil, err
	}
	return result{
		"seconds": time.Since(start).Seconds(), "requests": requests, "records": requests * records,
		"bytes": int64(requests) * int64(records) * int64(o.size), "wire_bytes": int64(requests) * int64(len(encoded)),
	}, nil
}

// consumeRaw fetches -topic from its start to its end: one connection, one request in flight, a full fetch over all
// partitions with Kafka's default limits (50 MiB, 1 MiB a partition). Only batch headers are looked at.
func consumeRaw(o *options) (result, error) {
	c, err := dial(o.broker)
	if err != nil {
		return nil, err
	}
	ends, err := c.endOffsets(o.topic, o.partitions)
	if err != nil {
		return nil, err
	}
	next := make([]int64, o.partitions)
	var wire, records int64
	var requests int
	start := time.Now()
	for {
		req := kmsg.NewPtrFetchRequest()
		req.Version = fetchVersion
		req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 500, 1, 50<<20
		req.SessionEpoch = -1
		t := kmsg.NewFetchRequestTopic()
		t.Topic = o.topic
		for id := range next {
			if next[id] < ends[id] {
				p := kmsg.NewFetchRequestTopicPartition()
				p.Partition, p.FetchOffset, p.PartitionMaxBytes = int32(id), next[id], 1<<20
				t.Partitions = append(t.Partitions, p)
			}
		}
		if len(t.Partitions) == 0 {
			break
		}
		// As Kafka's consumer does: the partition that was served first goes to the end next time.
		turn := requests % len(t.Partitions)
		t.Partitions = append(t.Partitions[turn:], t.Partitions[:turn]...)
		req.Topics = append(req.Topics, t)
		resp, err := c.call(req)
		if err != nil {
			return nil, err
		}
		requests++
		for _, t := range resp.(*kmsg.FetchResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("fetch %s-%d at %d: %w", o.topic, p.Partition, next[p.Partition], err)
				}
				wire += int64(len(p.RecordBatches))
				offset, count := walk(p.RecordBatches)
				if count > 0 {
					next[p.Partition] = offset
					records += count
				}
			}
		}
	}
	return result{
		"seconds": time.Since(start).Seconds(), "requests": requests, "records": records,
		"bytes": records * int64(o.size), "wire_bytes": wire,
	}, nil
}

// walk reads the headers of the whole batches and returns the offset after the last one and the records seen.
func walk(b []byte) (next, records int64) {
	for len(b) >= 61 {
		size := 12 + int(binary.BigEndian.Uint32(b[8:]))
		if size > len(b) {
			break
		}
		next = int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:])) + 1
		records += int64(binary.BigEndian.Uint32(b[57:]))
		b = b[size:]
	}
	return next, records
}

func (c *conn) endOffsets(topic string, partitions int) ([]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version = 7
	req.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for id := range partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = int32(id), -1
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	resp, err := c.call(req)
	if err != nil {
		return nil, err
	}
	ends := make([]int64, partitions)
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			ends[p.Partition] = p.Offset
		}
	}
	return ends, nil
}
