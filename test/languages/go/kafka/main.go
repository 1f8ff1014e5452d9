// franz-go in its default configuration (idempotent, acks=all), save where a check needs a setting.
package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	. "rosettamq/client-tests/checks"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

var address = os.Args[1]

func deadline() context.Context {
	ctx, _ := context.WithTimeout(context.Background(), Deadline)
	return ctx
}

func client(options ...kgo.Opt) *kgo.Client {
	return Must(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address)}, options...)...))
}

// tryToCreate gives the error of the answer.
func tryToCreate(name string, partitions int32, replicas int16, configs map[string]string) error {
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, replicas
	for key, value := range configs {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = key, &value
		topic.Configs = append(topic.Configs, config)
	}
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Topics = append(request.Topics, topic)
	cl := client()
	defer cl.Close()
	return kerr.ErrorForCode(Must(request.RequestWith(deadline(), cl)).Topics[0].ErrorCode)
}

func createTopic(partitions int32, configs map[string]string) string {
	name := Unique("go")
	err := tryToCreate(name, partitions, 1, configs)
	Require(err == nil, "create: %v", err)
	return name
}

func produce(cl *kgo.Client, records ...*kgo.Record) {
	for _, result := range cl.ProduceSync(deadline(), records...) {
		Require(result.Err == nil, "produce: %v", result.Err)
	}
}

func pollInto(records []*kgo.Record, clients ...*kgo.Client) []*kgo.Record {
	for _, cl := range clients {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		records = append(records, cl.PollFetches(ctx).Records()...)
		cancel()
	}
	return records
}

func consume(topic string, count int, options ...kgo.Opt) (records []*kgo.Record) {
	fromStart := kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())
	cl := client(append([]kgo.Opt{kgo.ConsumeTopics(topic), fromStart}, options...)...)
	defer cl.Close()
	WaitFor(strconv.Itoa(count)+" messages", func() bool {
		records = pollInto(records, cl)
		return len(records) >= count
	})
	Require(len(records) == count, "%d messages instead of %d", len(records), count)
	return records
}

func numbered(topic string, from, to int) (records []*kgo.Record) {
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(strconv.Itoa(i))})
	}
	return records
}

func requireNumbered(records []*kgo.Record, from int) {
	for i, record := range records {
		Require(string(record.Value) == strconv.Itoa(from+i), "%s at place %d", record.Value, i)
	}
}

func codecsReturnWhatWasSent() {
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		topic := createTopic(1, nil)
		cl := client(kgo.ProducerBatchCompression(codec))
		var sent []*kgo.Record
		for i := range 500 {
			sent = append(sent, &kgo.Record{
				Topic: topic, Key: []byte(strconv.Itoa(i)), Value: append(RandomBytes(50), make([]byte, 200)...),
				Headers: []kgo.RecordHeader{{Key: "n", Value: []byte{byte(i)}}, {Key: "n", Value: []byte("twice")}, {Key: "null"}},
			})
		}
		produce(cl, sent...)
		cl.Close()
		for i, record := range consume(topic, 500) {
			same := record.Offset == int64(i) && bytes.Equal(record.Key, sent[i].Key) && bytes.Equal(record.Value, sent[i].Value)
			Require(same, "record %d with %s", i, name)
			Require(slices.EqualFunc(record.Headers, sent[i].Headers, func(a, b kgo.RecordHeader) bool {
				return a.Key == b.Key && bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil)
			}), "headers %d with %s", i, name)
		}
	}
}

func nullsSurvive() {
	topic := createTopic(1, nil)
	cl := client()
	defer cl.Close()
	var sent []*kgo.Record
	for _, key := range [][]byte{nil, {}, {1}} {
		for _, value := range [][]byte{nil, {}, {2}} {
			sent = append(sent, &kgo.Record{Topic: topic, Key: key, Value: value})
		}
	}
	produce(cl, sent...)
	for i, record := range consume(topic, len(sent)) {
		Require((record.Key == nil) == (sent[i].Key == nil) && bytes.Equal(record.Key, sent[i].Key), "key %d", i)
		Require((record.Value == nil) == (sent[i].Value == nil) && bytes.Equal(record.Value, sent[i].Value), "value %d", i)
	}
}

func largeMessagesPass() {
	one, sixteen := RandomBytes(1_000_000), RandomBytes(16*1024*1024)
	stock, large := createTopic(1, nil), createTopic(1, map[string]string{"max.message.bytes": "20000000"})
	cl := client(kgo.ProducerBatchMaxBytes(20_000_000))
	defer cl.Close()
	produce(cl, &kgo.Record{Topic: stock, Value: one}, &kgo.Record{Topic: large, Value: sixteen})
	Require(bytes.Equal(consume(stock, 1)[0].Value, one), "1 MB")
	Require(bytes.Equal(consume(large, 1)[0].Value, sixteen), "16 MB")
}

// member counts its own partitions, as the client's callbacks tell it.
type member struct {
	*kgo.Client
	owned map[int32]bool
	line  line
}

// line is a member's way to the broker, which can be cut for good.
type line struct {
	sync.Mutex
	isCut       bool
	connections []net.Conn
}

func (l *line) dial(ctx context.Context, network, host string) (net.Conn, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, network, host)
	l.Lock()
	defer l.Unlock()
	if err == nil {
		l.connections = append(l.connections, connection)
		if l.isCut {
			connection.Close()
		}
	}
	return connection, err
}

func (l *line) cut() {
	l.Lock()
	defer l.Unlock()
	l.isCut = true
	for _, connection := range l.connections {
		connection.Close()
	}
}

func join(topic, group string) *member {
	one := &member{owned: map[int32]bool{}}
	lose := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
		for _, partition := range lost[topic] {
			delete(one.owned, partition)
		}
	}
	one.Client = client(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.BlockRebalanceOnPoll(), kgo.Dialer(one.line.dial),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, won map[string][]int32) {
			for _, partition := range won[topic] {
				one.owned[partition] = true
			}
		}),
		kgo.OnPartitionsRevoked(lose), kgo.OnPartitionsLost(lose),
	)
	return one
}

func threeMembersShareAndTheyGo() {
	topic, group := createTopic(6, nil), Unique("group")
	members := []*member{join(topic, group), join(topic, group), join(topic, group)}
	var records []*kgo.Record
	poll := func() {
		for _, one := range members {
			records = pollInto(records, one.Client)
			one.AllowRebalance()
		}
	}
	waitForShares := func(shares ...int) {
		WaitFor("shares", func() bool {
			poll()
			var sizes []int
			for _, one := range members {
				sizes = append(sizes, len(one.owned))
			}
			slices.Sort(sizes)
			return slices.Equal(sizes, shares)
		})
	}
	producer := client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer producer.Close()
	sendToAll := func(value string) {
		for partition := range int32(6) {
			produce(producer, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)})
		}
		WaitFor("a message of each partition", func() bool {
			poll()
			seen := map[int32]bool{}
			for _, record := range records {
				if string(record.Value) == value {
					seen[record.Partition] = true
				}
			}
			return len(seen) == 6
		})
	}
	waitForShares(2, 2, 2)
	sendToAll("three")
	leaving := members[2]
	members = members[:2]
	leaving.CloseAllowingRebalance()
	waitForShares(3, 3)
	sendToAll("two")
	members[1].line.cut() // and never closed: that would go on trying to leave
	members = members[:1]
	waitForShares(6)
	sendToAll("one")
	members[0].CloseAllowingRebalance()
}

// commitIsWhereTheGroupResumes has the client speak as those of older releases do, too.
func commitIsWhereTheGroupResumes() {
	for _, versions := range []*kversion.Versions{
		kversion.V2_1_0(), kversion.V2_3_0(), kversion.V2_5_0(), kversion.V2_7_0(), kversion.V3_0_0(),
		kversion.V3_3_0(), kversion.V3_6_0(), kversion.V3_9_0(), kversion.V4_1_0(), kversion.V4_3_0(),
	} {
		topic, group, as := createTopic(1, nil), kgo.ConsumerGroup(Unique("group")), kgo.MaxVersions(versions)
		cl := client(as)
		produce(cl, numbered(topic, 0, 10)...)
		cl.Close()
		fromStart := kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())
		first := client(as, group, kgo.ConsumeTopics(topic), fromStart, kgo.DisableAutoCommit())
		var records []*kgo.Record
		WaitFor("ten messages", func() bool {
			records = pollInto(records, first)
			return len(records) == 10
		})
		Require(first.CommitRecords(deadline(), records[5]) == nil, "commit")
		first.Close()
		requireNumbered(consume(topic, 4, as, group), 6)
	}
}

func startsByOffsetAndTime() {
	topic := createTopic(1, nil)
	cl := client()
	defer cl.Close()
	records := numbered(topic, 0, 10)
	base := time.UnixMilli(1_700_000_000_000)
	for i, record := range records {
		record.Timestamp = base.Add(time.Duration(i) * time.Second)
	}
	produce(cl, records...)
	for offset, first := range map[kgo.Offset]int{
		kgo.NewOffset().At(7):                               7,
		kgo.NewOffset().AfterMilli(base.UnixMilli() + 3500): 4,
		kgo.NewOffset().AtEnd().Relative(-2):                8,
	} {
		requireNumbered(consume(topic, 10-first, kgo.ConsumeResetOffset(offset)), first)
	}
}

func unknownPartitionIsRefused() {
	topic := createTopic(1, nil)
	cl := client()
	defer cl.Close()
	produce(cl, numbered(topic, 0, 1)...)
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.Partition, partition.Timestamp = 7, -1
	asked.Partitions = append(asked.Partitions, partition)
	request.Topics = append(request.Topics, asked)
	for _, shard := range cl.RequestSharded(deadline(), request) {
		Require(errors.Is(shard.Err, kerr.UnknownTopicOrPartition), "%v", shard.Err)
	}
	manual := client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer manual.Close()
	err := manual.ProduceSync(deadline(), &kgo.Record{Topic: topic, Partition: 7, Value: []byte("v")}).FirstErr()
	Require(err != nil, "produced to a partition that is not there")
}

func wrongTopicsAreRefused() {
	topic := createTopic(1, nil)
	for _, refusal := range []struct {
		want, got error
	}{
		{kerr.TopicAlreadyExists, tryToCreate(topic, 1, 1, nil)},
		{kerr.InvalidTopicException, tryToCreate("no blanks", 1, 1, nil)},
		{kerr.InvalidTopicException, tryToCreate("", 1, 1, nil)},
		{kerr.InvalidPartitions, tryToCreate(Unique("go"), 0, 1, nil)},
		{kerr.InvalidReplicationFactor, tryToCreate(Unique("go"), 1, 3, nil)},
		{kerr.InvalidConfig, tryToCreate(Unique("go"), 1, 1, map[string]string{"no.such.config": "1"})},
		{kerr.InvalidConfig, tryToCreate(Unique("go"), 1, 1, map[string]string{"max.message.bytes": "many"})},
	} {
		Require(refusal.got == refusal.want, "%v instead of %v", refusal.got, refusal.want)
	}
}

func deletedTopicIsTold() {
	topic := createTopic(1, nil)
	cl := client(kgo.UnknownTopicRetries(0))
	defer cl.Close()
	produce(cl, numbered(topic, 0, 1)...)
	request := kmsg.NewPtrDeleteTopicsRequest()
	deleted := kmsg.NewDeleteTopicsRequestTopic()
	deleted.Topic = &topic
	request.Topics, request.TopicNames = append(request.Topics, deleted), []string{topic}
	code := Must(request.RequestWith(deadline(), cl)).Topics[0].ErrorCode
	Require(code == 0, "delete: %v", kerr.ErrorForCode(code))
	var err error
	WaitFor("the refusal", func() bool { // Kafka deletes a little later
		err = cl.ProduceSync(deadline(), numbered(topic, 1, 2)...).FirstErr()
		return err != nil
	})
	Require(errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID), "%v", err)
}

func transactionalIDIsRefused() {
	OnlyOurs("transactions are not supported yet")
	cl := client(kgo.TransactionalID(Unique("transaction")))
	defer cl.Close()
	started := time.Now()
	err := cl.BeginTransaction()
	Require(errors.Is(err, kerr.TransactionalIDAuthorizationFailed), "%v", err)
	Require(time.Since(started) < 5*time.Second, "after %v", time.Since(started))
}

func oversizedIsRefused() {
	topic := createTopic(1, map[string]string{"max.message.bytes": "10000"})
	cl := client()
	defer cl.Close()
	err := cl.ProduceSync(deadline(), &kgo.Record{Topic: topic, Value: RandomBytes(20_000)}).FirstErr()
	Require(errors.Is(err, kerr.MessageTooLarge), "%v", err)
	produce(cl, numbered(topic, 0, 1)...)
}

func crashLosesNothing() {
	topic := createTopic(1, nil)
	cl := client()
	defer cl.Close()
	results := make(chan error, 4000)
	send := func(from, to int) {
		for _, record := range numbered(topic, from, to) {
			cl.Produce(context.Background(), record, func(_ *kgo.Record, err error) { results <- err })
		}
	}
	send(0, 2000)
	Require(<-results == nil, "the first produce")
	CrashAndRestartBroker()
	send(2000, 4000)
	for range 3999 {
		select {
		case err := <-results:
			Require(err == nil, "produce: %v", err)
		case <-deadline().Done():
			panic("the producer did not go on")
		}
	}
	requireNumbered(consume(topic, 4000), 0)
}

func main() {
	Run([]Check{
		{"every codec returns what was sent", codecsReturnWhatWasSent},
		{"null and empty keys and values survive", nullsSurvive},
		{"1 MB passes, 16 MB where allowed", largeMessagesPass},
		{"three members share, one leaves and one crashes", threeMembersShareAndTheyGo},
		{"a commit is where the group resumes, in the protocol of 2.1 to 4.3", commitIsWhereTheGroupResumes},
		{"consumers start by offset, time and from the end", startsByOffsetAndTime},
		{"an unknown partition is refused", unknownPartitionIsRefused},
		{"wrong topics are refused", wrongTopicsAreRefused},
		{"a deleted topic is told", deletedTopicIsTold},
		{"an oversized message is refused and the next is taken", oversizedIsRefused},
		{"a transactional id is refused for good and quickly", transactionalIDIsRefused},
		{"a crash of the broker loses and doubles nothing", crashLosesNothing},
	})
}
