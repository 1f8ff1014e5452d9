// rabbitmq/amqp091-go in its default configuration.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	. "rosettamq/client-tests/checks"

	amqp "github.com/rabbitmq/amqp091-go"
)

var url = os.Args[2]

func open() (*amqp.Connection, *amqp.Channel) {
	connection := Must(amqp.Dial(url))
	channel := Must(connection.Channel())
	Require(channel.Confirm(false) == nil, "confirm.select")
	return connection, channel
}

func durableQueue(channel *amqp.Channel) string {
	return Must(channel.QueueDeclare(Unique("go"), true, false, false, false, nil)).Name
}

func publish(channel *amqp.Channel, exchange, key string, message amqp.Publishing) {
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	confirmation := Must(channel.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, message))
	Require(Must(confirmation.WaitContext(ctx)), "not confirmed")
}

func persistent(body []byte) amqp.Publishing {
	return amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}
}

func fill(channel *amqp.Channel, queue string, count int) {
	for i := range count {
		publish(channel, "", queue, persistent([]byte(strconv.Itoa(i))))
	}
}

func receive(deliveries <-chan amqp.Delivery, count int) (received []amqp.Delivery) {
	timeout := time.After(Deadline)
	for len(received) < count {
		select {
		case delivery, ok := <-deliveries:
			Require(ok, "the channel was closed after %d messages", len(received))
			received = append(received, delivery)
		case <-timeout:
			panic(fmt.Sprintf("%d messages instead of %d", len(received), count))
		}
	}
	return received
}

// summary is "body" or "body redelivered" for each delivery.
func summary(deliveries []amqp.Delivery) string {
	var parts []string
	for _, one := range deliveries {
		parts = append(parts, strings.TrimSpace(string(one.Body)+map[bool]string{true: " redelivered"}[one.Redelivered]))
	}
	return strings.Join(parts, ", ")
}

func propertiesComeBack() {
	connection, channel := open()
	defer connection.Close()
	queue := durableQueue(channel)
	sent := amqp.Publishing{
		Headers: amqp.Table{
			"text": "grün", "bytes": []byte{0, 255}, "yes": true, "int8": int8(-5), "uint8": byte(200), "int16": int16(-300),
			"int32": int32(70000), "int64": int64(1 << 40), "float": float32(0.25), "double": 1.5, "none": nil,
			"time": time.Unix(1_600_000_000, 0), "decimal": amqp.Decimal{Scale: 2, Value: 314},
			"list": []any{int32(1), "two"}, "table": amqp.Table{"inner": "x"},
		},
		ContentType: "text/plain", ContentEncoding: "utf-8", DeliveryMode: 2, Priority: 3, CorrelationId: "c", ReplyTo: "r",
		Expiration: "600000", MessageId: "m", Timestamp: time.Unix(1_700_000_000, 0), Type: "t", UserId: "guest", AppId: "a",
		Body: []byte("body"),
	}
	publish(channel, "", queue, sent)
	got, ok, err := channel.Get(queue, true)
	Require(ok && err == nil, "get: %v", err)
	Require(reflect.DeepEqual(map[string]any(got.Headers), map[string]any(sent.Headers)), "headers %v", got.Headers)
	back := amqp.Publishing{
		Headers: sent.Headers, ContentType: got.ContentType, ContentEncoding: got.ContentEncoding, DeliveryMode: got.DeliveryMode,
		Priority: got.Priority, CorrelationId: got.CorrelationId, ReplyTo: got.ReplyTo, Expiration: got.Expiration,
		MessageId: got.MessageId, Timestamp: got.Timestamp, Type: got.Type, UserId: got.UserId, AppId: got.AppId, Body: got.Body,
	}
	Require(reflect.DeepEqual(back, sent), "properties %+v", back)
	Must(channel.QueueDelete(queue, false, false, false))
}

func confirmsCoverManyInFlight() {
	connection, channel := open()
	defer connection.Close()
	queue := durableQueue(channel)
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	var pending []*amqp.DeferredConfirmation
	for i := range 2000 {
		message := persistent([]byte(strconv.Itoa(i)))
		pending = append(pending, Must(channel.PublishWithDeferredConfirmWithContext(ctx, "", queue, false, false, message)))
	}
	for i, one := range pending {
		Require(Must(one.WaitContext(ctx)), "message %d", i)
	}
	deliveries := Must(channel.Consume(queue, "", true, false, false, false, nil))
	for i, one := range receive(deliveries, 2000) {
		Require(string(one.Body) == strconv.Itoa(i), "%s at place %d", one.Body, i)
	}
	Must(channel.QueueDelete(queue, false, false, false))
}

func largeMessagesPass() {
	connection, channel := open()
	defer connection.Close()
	queue := durableQueue(channel)
	for _, size := range []int{0, 131_064, 1_000_000, 16 * 1024 * 1024} {
		body := RandomBytes(size)
		publish(channel, "", queue, persistent(body))
		got, ok, err := channel.Get(queue, true)
		Require(ok && err == nil && bytes.Equal(got.Body, body), "%d bytes: %v", size, err)
	}
	Must(channel.QueueDelete(queue, false, false, false))
}

func mandatoryIsReturnedBeforeItsConfirm() {
	connection, channel := open()
	defer connection.Close()
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	message := persistent([]byte("back"))
	confirmation := Must(channel.PublishWithDeferredConfirmWithContext(ctx, "amq.direct", "nobody", true, false, message))
	Require(Must(confirmation.WaitContext(ctx)), "not confirmed")
	select {
	case got := <-returns:
		Require(got.ReplyCode == 312 && got.ReplyText == "NO_ROUTE" && string(got.Body) == "back", "%+v", got)
	default:
		panic("confirmed before it was returned")
	}
}

func prefetchHoldsTheRestBack() {
	connection, channel := open()
	defer connection.Close()
	queue := durableQueue(channel)
	fill(channel, queue, 10)
	Require(channel.Qos(3, 0, false) == nil, "qos")
	deliveries := Must(channel.Consume(queue, "", false, false, false, false, nil))
	held := receive(deliveries, 3)
	Require(Must(channel.QueueDeclarePassive(queue, true, false, false, false, nil)).Messages == 7, "seven stay")
	Require(held[2].Ack(true) == nil, "ack")
	receive(deliveries, 3)
	Require(Must(channel.QueueDeclarePassive(queue, true, false, false, false, nil)).Messages == 4, "four stay")
	Must(channel.QueueDelete(queue, false, false, false))
}

func nackedComesBackFirst() {
	connection, channel := open()
	defer connection.Close()
	queue := durableQueue(channel)
	fill(channel, queue, 3)
	Require(channel.Qos(1, 0, false) == nil, "qos")
	deliveries := Must(channel.Consume(queue, "", false, false, false, false, nil))
	first := receive(deliveries, 1)[0]
	Require(first.Nack(false, true) == nil, "nack")
	again := receive(deliveries, 1)
	Require(summary(again) == "0 redelivered", "%s", summary(again))
	Require(again[0].Reject(false) == nil, "reject")
	next := receive(deliveries, 1)
	Require(summary(next) == "1", "%s", summary(next))
	Must(channel.QueueDelete(queue, false, false, false))
}

func deadConsumerGivesBack() {
	connection, channel := open()
	defer connection.Close()
	queue := durableQueue(channel)
	fill(channel, queue, 3)
	dying, dyingChannel := open()
	receive(Must(dyingChannel.Consume(queue, "", false, false, false, false, nil)), 3)
	dying.CloseDeadline(time.Now()) // the socket goes without a close being answered
	got := receive(Must(channel.Consume(queue, "", false, false, false, false, nil)), 3)
	want := "0 redelivered, 1 redelivered, 2 redelivered"
	Require(summary(got) == want, "%s", summary(got))
	Must(channel.QueueDelete(queue, false, false, false))
}

func manyChannelsConsume() {
	connection, channel := open()
	defer connection.Close()
	queue := durableQueue(channel)
	all := make(chan amqp.Delivery)
	for range 200 {
		own := Must(connection.Channel())
		Require(own.Qos(1, 0, false) == nil, "qos")
		deliveries := Must(own.Consume(queue, "", false, false, false, false, nil))
		go func() {
			for delivery := range deliveries {
				all <- delivery
				delivery.Ack(false)
			}
		}()
	}
	fill(channel, queue, 1000)
	seen := map[string]bool{}
	for _, one := range receive(all, 1000) {
		Require(!seen[string(one.Body)] && !one.Redelivered, "%s twice", one.Body)
		seen[string(one.Body)] = true
	}
	Must(channel.QueueDelete(queue, false, false, false))
}

func consumerHearsOfDeletion() {
	connection, channel := open()
	defer connection.Close()
	queue := durableQueue(channel)
	cancelled := channel.NotifyCancel(make(chan string, 1))
	deliveries := Must(channel.Consume(queue, "tag", false, false, false, false, nil))
	Must(Must(connection.Channel()).QueueDelete(queue, false, false, false))
	select {
	case tag := <-cancelled:
		Require(tag == "tag", "%s", tag)
	case <-time.After(Deadline):
		panic("no cancel")
	}
	_, open := <-deliveries
	Require(!open, "the deliveries go on")
}

func transactionsAreRefused() {
	OnlyOurs("RabbitMQ has transactions")
	connection, channel := open()
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	Require(channel.Tx() != nil, "not refused")
	err := <-closed
	Require(err != nil && err.Code == amqp.NotImplemented && strings.Contains(err.Reason, "use publisher confirms"), "%v", err)
}

func refusalsHaveTheirCodeAndText() {
	connection, channel := open()
	defer connection.Close()
	queue, none := durableQueue(channel), Unique("none")
	for _, refusal := range []struct {
		code   int
		text   string
		action func(*amqp.Channel) error
	}{
		{404, "NOT_FOUND - no queue '" + none + "' in vhost '/'", func(c *amqp.Channel) error {
			_, err := c.QueueDeclarePassive(none, true, false, false, false, nil)
			return err
		}},
		{404, "NOT_FOUND - no exchange '" + none + "' in vhost '/'", func(c *amqp.Channel) error {
			return c.QueueBind(queue, "k", none, false, nil)
		}},
		{406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue '" + queue + "' in vhost '/': received 'false' but current is 'true'",
			func(c *amqp.Channel) error {
				_, err := c.QueueDeclare(queue, false, false, false, false, nil)
				return err
			}},
		{406, "PRECONDITION_FAILED - unknown delivery tag 9", func(c *amqp.Channel) error {
			closed := c.NotifyClose(make(chan *amqp.Error, 1))
			if err := c.Ack(9, false); err != nil {
				return err
			}
			return <-closed
		}},
	} {
		err, ok := refusal.action(Must(connection.Channel())).(*amqp.Error)
		Require(ok && err.Code == refusal.code && err.Reason == refusal.text, "%v instead of %s", err, refusal.text)
	}
	Must(channel.QueueDelete(queue, false, false, false))
	_, err := amqp.Dial(strings.Replace(url, "guest:guest", "guest:wrong", 1))
	Require(err != nil && strings.Contains(err.Error(), "403"), "a wrong password: %v", err)
}

func crashKeepsConfirmedMessages() {
	lost, channel := open()
	closed := lost.NotifyClose(make(chan *amqp.Error, 1))
	queue := durableQueue(channel)
	fill(channel, queue, 100)
	CrashAndRestartBroker()
	Require(<-closed != nil, "the client did not notice")
	var connection *amqp.Connection
	WaitFor("a new connection", func() (connected bool) {
		var err error
		connection, err = amqp.Dial(url)
		return err == nil
	})
	defer connection.Close()
	channel = Must(connection.Channel())
	for i, one := range receive(Must(channel.Consume(queue, "", true, false, false, false, nil)), 100) {
		Require(string(one.Body) == strconv.Itoa(i), "%s at place %d", one.Body, i)
	}
	Must(channel.QueueDelete(queue, false, false, false))
}

func main() {
	Run([]Check{
		{"properties and headers of every type come back", propertiesComeBack},
		{"confirms cover many in flight", confirmsCoverManyInFlight},
		{"messages of 0 bytes to 16 MB pass", largeMessagesPass},
		{"a mandatory message is returned before its confirm", mandatoryIsReturnedBeforeItsConfirm},
		{"prefetch holds the rest back", prefetchHoldsTheRestBack},
		{"a nacked message comes back first and redelivered", nackedComesBackFirst},
		{"what a dead consumer held goes to the next", deadConsumerGivesBack},
		{"200 channels consume from one queue", manyChannelsConsume},
		{"a consumer hears that its queue was deleted", consumerHearsOfDeletion},
		{"transactions are refused as not implemented", transactionsAreRefused},
		{"refusals have their code and text", refusalsHaveTheirCodeAndText},
		{"a crash of the broker keeps confirmed messages", crashKeepsConfirmedMessages},
	})
}
