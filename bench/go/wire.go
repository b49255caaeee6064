package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The versions the raw client speaks: the newest ones that still name topics instead of topic ids.
const (
	produceVersion  = 12
	fetchVersion    = 12
	metadataVersion = 12
)

var (
	formatter  = kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench"))
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// conn is a Kafka connection without any client logic: frames out, frames in.
type conn struct {
	net.Conn
	correlation int32
	buf         []byte // the last response, reused
}

func dial(address string) (*conn, error) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// dialUntilUp tries until something listens; a refused loopback connection costs a few microseconds.
func dialUntilUp(address string, deadline time.Time) (*conn, error) {
	for {
		c, err := dial(address)
		if err == nil || time.Now().After(deadline) {
			return c, err
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// encode gives a whole frame, with its size in front.
func encode(req kmsg.Request, correlation int32) []byte {
	return formatter.AppendRequest(nil, req, correlation)
}

// read returns the next response's body after the correlation id; it is valid until the next read.
func (c *conn) read() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(head[:]))
	if size < 4 || size > 1<<30 {
		return nil, fmt.Errorf("a response of %d bytes", size)
	}
	if cap(c.buf) < size {
		c.buf = make([]byte, size+size/4)
	}
	c.buf = c.buf[:size]
	if _, err := io.ReadFull(c, c.buf); err != nil {
		return nil, err
	}
	return c.buf[4:], nil
}

func decode(resp kmsg.Response, body []byte) error {
	if resp.IsFlexible() && resp.Key() != 18 {
		if len(body) == 0 {
			return io.ErrUnexpectedEOF
		}
		body = body[1:] // An empty tag section; no broker sends header tags today.
	}
	return resp.ReadFrom(body)
}

// call sends one request at the version it holds and waits for its response.
func (c *conn) call(req kmsg.Request) (kmsg.Response, error) {
	c.correlation++
	if _, err := c.Write(encode(req, c.correlation)); err != nil {
		return nil, err
	}
	body, err := c.read()
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	return resp, decode(resp, body)
}

// createTopic creates the topic; one that exists already is fine.
func (c *conn) createTopic(topic string, partitions int) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	req.TimeoutMillis = 60000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, int32(partitions), 1
	// The data of one row must not crowd the page cache in the next one.
	for name, value := range map[string]string{"file.delete.delay.ms": "1000"} {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = name, kmsg.StringPtr(value)
		t.Configs = append(t.Configs, config)
	}
	req.Topics = append(req.Topics, t)
	resp, err := c.call(req)
	if err != nil {
		return err
	}
	for _, t := range resp.(*kmsg.CreateTopicsResponse).Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", t.Topic, err)
		}
	}
	return nil
}

func (c *conn) deleteTopic(topic string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 5
	req.TimeoutMillis = 60000
	req.TopicNames = []string{topic}
	resp, err := c.call(req)
	if err != nil {
		return err
	}
	for _, t := range resp.(*kmsg.DeleteTopicsResponse).Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("delete topic %s: %w", topic, err)
		}
	}
	return nil
}

// awaitLeaders asks for metadata until each of the topic's partitions has a leader.
func (c *conn) awaitLeaders(topic string, partitions int, create bool, deadline time.Time) error {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = metadataVersion
	req.AllowAutoTopicCreation = create
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, t)
	for {
		resp, err := c.call(req)
		if err != nil {
			return err
		}
		led := 0
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode == 0 && p.Leader >= 0 {
					led++
				}
			}
		}
		if led >= partitions {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %d of %d partitions have a leader", topic, led, partitions)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// value fills size bytes that compress as business events do (about 4 to 1), different for each record.
func value(size, i int) []byte {
	event := fmt.Sprintf(`{"id":%d,"carrier":"UA","flight":%d,"origin":"EWR","dest":"IAH",`+
		`"dep_delay":%d,"arr_delay":%d,"air_time":%d,"distance":%d,"tailnum":"N%d"},`,
		i*7919, 1000+i%7000, i%37-9, i%53-20, 100+i*31%300, 200+i*17%2500, 10000+i*2654435761%89999)
	return []byte(strings.Repeat(event, size/len(event)+1)[:size])
}

// batch encodes one RecordBatch v2 of as many records of the given size as fit into batchBytes. distinct makes each
// record's value its own text, as compression needs; else all are the same bytes.
func batch(size, batchBytes int, codec string) (encoded []byte, records int, err error) {
	now := time.Now().UnixMilli()
	var body []byte
	for i := 0; ; i++ {
		r := kmsg.Record{OffsetDelta: int32(i), Value: value(size, i)}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // A zero length takes one byte.
		next := r.AppendTo(nil)
		if i > 0 && len(body)+len(next) > batchBytes {
			break
		}
		body = append(body, next...)
		records++
	}
	attributes := int16(0)
	if codec != "none" {
		compression := map[string]kgo.CompressionCodec{"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
		c, ok := compression[codec]
		if !ok {
			return nil, 0, fmt.Errorf("unknown codec %q", codec)
		}
		compressor, err := kgo.DefaultCompressor(c)
		if err != nil {
			return nil, 0, err
		}
		var used kgo.CompressionCodecType
		body, used = compressor.Compress(newBuffer(), body)
		attributes = int16(used)
	}
	b := kmsg.RecordBatch{
		Length: int32(49 + len(body)), PartitionLeaderEpoch: -1, Magic: 2, Attributes: attributes,
		LastOffsetDelta: int32(records - 1), FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(records), Records: body,
	}
	encoded = b.AppendTo(nil)
	binary.BigEndian.PutUint32(encoded[17:], crc32.Checksum(encoded[21:], castagnoli))
	return encoded, records, nil
}

// produceRequest is a Produce request with acks=all that puts the batch into each of the partitions.
func produceRequest(topic string, partitions []int32, encoded []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version = produceVersion
	req.Acks = -1
	req.TimeoutMillis = 30000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	for _, id := range partitions {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = id, encoded
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}
