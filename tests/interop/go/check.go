package main

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const count = 200

// t0 is a day ago: old enough to be told from now, young enough for the default retention.
var t0 = time.Now().Unix()*1000 - 86_400_000

// failure is the panic value of a check that does not hold; scenario turns it into a FAIL line.
type failure struct{ reason string }

// check prints one line per scenario, "ok NAME" or "FAIL NAME reason", and counts the failures.
type check struct{ failed int }

func (c *check) scenario(name string, body func()) {
	defer func() {
		switch r := recover().(type) {
		case nil:
			fmt.Println("ok", name)
		case failure:
			c.failed++
			fmt.Println("FAIL", name, strings.ReplaceAll(r.reason, "\n", " "))
		default:
			panic(r)
		}
	}()
	body()
}

func fail(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

func that(ok bool, what string) {
	if !ok {
		fail("%s", what)
	}
}

func equal(expected, actual any, what string) {
	if !reflect.DeepEqual(expected, actual) {
		fail("%s: expected %v, got %v", what, expected, actual)
	}
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// get unwraps a call that must succeed.
func get[T any](value T, err error) T {
	must(err)
	return value
}

func eventually(what string, condition func() bool) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if condition() {
			return
		}
	}
	fail("not within 20 s: %s", what)
}

func within(seconds int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
}

// record is number i of the records that all clients produce.
func record(topic string, i int) *kgo.Record {
	r := &kgo.Record{Topic: topic, Timestamp: time.UnixMilli(t0 + int64(i)*1000), Headers: []kgo.RecordHeader{
		{Key: "h", Value: fmt.Appendf(nil, "%d", i)}, {Key: "h", Value: []byte("again")}, {Key: "empty", Value: []byte{}}, {Key: "null"},
	}}
	if i%10 != 0 {
		r.Key = fmt.Appendf(nil, "k%d", i)
	}
	if i%7 != 0 {
		r.Value = []byte(fmt.Sprintf("v%d-", i) + strings.Repeat("x", i))
	}
	return r
}
