"""pika's blocking connection in its default configuration."""

import os
import signal
import sys
import time

import pika
from pika.exceptions import (
    AMQPConnectionError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAuthenticationError,
    UnroutableError,
)

from checks import crash_and_restart_broker, only_ours, run, unique, wait_for

URL = sys.argv[2]
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def connect():
    connection = pika.BlockingConnection(pika.URLParameters(URL))
    channel = connection.channel()
    channel.confirm_delivery()
    return connection, channel


def durable_queue(channel):
    queue = unique("python")
    channel.queue_declare(queue, durable=True)
    return queue


def collect(connection, channel, queue, consumers=1, **options):
    messages = []
    for _ in range(consumers):
        channel.basic_consume(queue, lambda _, *message: messages.append(message), **options)

    def wait_for_count(count):
        def enough():
            connection.process_data_events(time_limit=0.05)
            return len(messages) >= count

        wait_for(f"{count} messages", enough)
        return messages

    return wait_for_count


def refused(code, text, action, error=ChannelClosedByBroker):
    """The action, given a channel, ends it (or the connection, with that error), with exactly this code and text."""
    connection, channel = connect()
    try:
        action(channel)
        raise AssertionError("not refused")
    except error as refusal:
        assert (refusal.reply_code, refusal.reply_text) == (code, text), refusal
    finally:
        if connection.is_open:
            connection.close()


def confirmed_messages_come_back_with_their_properties():
    connection, channel = connect()
    queue = durable_queue(channel)
    headers = {"text": "grün", "number": 5, "big": 2**40, "yes": True, "none": None, "list": [1, "a"], "table": {"x": "y"}}
    sent = pika.BasicProperties(
        content_type="text/plain", headers=headers, delivery_mode=2, priority=3, correlation_id="c", reply_to="r",
        expiration="600000", message_id="m", timestamp=1_700_000_000, type="t", user_id="guest", app_id="a",
    )
    for i in range(200):
        channel.basic_publish("", queue, str(i), sent)
    received = collect(connection, channel, queue, auto_ack=True)(200)
    assert [body for _, _, body in received] == [str(i).encode() for i in range(200)]
    assert received[0][1] == sent
    channel.queue_delete(queue)
    connection.close()


def one_and_sixteen_megabytes_pass():
    connection, channel = connect()
    queue = durable_queue(channel)
    for size in (1_000_000, 16 * 1024 * 1024):
        body = os.urandom(size)
        channel.basic_publish("", queue, body, PERSISTENT)
        assert channel.basic_get(queue, auto_ack=True)[2] == body
    channel.queue_delete(queue)
    connection.close()


def a_mandatory_message_without_a_queue_is_returned():
    connection, channel = connect()
    try:
        channel.basic_publish("amq.direct", "nobody", b"back", mandatory=True)
        raise AssertionError("not returned")
    except UnroutableError as error:
        (message,) = error.messages
        assert (message.method.reply_code, message.method.reply_text, message.body) == (312, "NO_ROUTE", b"back")
    connection.close()


def prefetch_holds_the_rest_back():
    connection, channel = connect()
    queue = durable_queue(channel)
    for i in range(10):
        channel.basic_publish("", queue, str(i), PERSISTENT)
    channel.basic_qos(prefetch_count=3)
    wait_for_count = collect(connection, channel, queue)
    messages = wait_for_count(3)
    assert channel.queue_declare(queue, passive=True).method.message_count == 7
    channel.basic_ack(messages[2][0].delivery_tag, multiple=True)
    wait_for_count(6)
    assert channel.queue_declare(queue, passive=True).method.message_count == 4
    channel.queue_delete(queue)
    connection.close()


def a_nacked_message_comes_back_first_and_redelivered():
    connection, channel = connect()
    queue = durable_queue(channel)
    for i in range(3):
        channel.basic_publish("", queue, str(i), PERSISTENT)
    method, _, _ = channel.basic_get(queue)
    channel.basic_nack(method.delivery_tag, requeue=True)
    got = [channel.basic_get(queue) for _ in range(3)]
    assert [(body, method.redelivered) for method, _, body in got] == [(b"0", True), (b"1", False), (b"2", False)]
    assert channel.basic_get(queue) == (None, None, None)
    channel.queue_delete(queue)
    connection.close()


def what_a_dead_consumer_held_goes_to_the_next():
    connection, channel = connect()
    queue = durable_queue(channel)
    for i in range(5):
        channel.basic_publish("", queue, str(i), PERSISTENT)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        dying, dying_channel = connect()
        collect(dying, dying_channel, queue)(5)
        os.write(writer, b"holding five")
        signal.pause()
    os.read(reader, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    received = collect(connection, channel, queue)(5)
    assert [(body, method.redelivered) for method, _, body in received] == [(str(i).encode(), True) for i in range(5)]
    channel.queue_delete(queue)
    connection.close()


def many_consumers_take_turns():
    connection, channel = connect()
    queue = durable_queue(channel)
    wait_for_count = collect(connection, channel, queue, consumers=100, auto_ack=True)
    for i in range(1000):
        channel.basic_publish("", queue, str(i), PERSISTENT)
    messages = wait_for_count(1000)
    assert sorted(int(body) for _, _, body in messages) == list(range(1000))
    by_consumer = {}
    for method, _, _ in messages:
        by_consumer[method.consumer_tag] = by_consumer.get(method.consumer_tag, 0) + 1
    assert set(by_consumer.values()) == {10}, by_consumer
    channel.queue_delete(queue)
    connection.close()


def a_consumer_hears_that_its_queue_was_deleted():
    connection, channel = connect()
    queue, cancelled = durable_queue(channel), []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tag = channel.basic_consume(queue, lambda *_: None)
    other, other_channel = connect()
    other_channel.queue_delete(queue)
    other.close()
    wait_for("the cancel", lambda: connection.process_data_events(time_limit=0.05) or cancelled)
    assert cancelled == [tag]
    connection.close()


def heartbeats_keep_an_idle_connection():
    parameters = pika.URLParameters(URL)
    parameters.heartbeat = 1
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    until = time.monotonic() + 4
    while time.monotonic() < until:
        connection.process_data_events(time_limit=0.1)
    assert channel.queue_declare("", exclusive=True).method.message_count == 0
    connection.close()


def exchanges_route():
    connection, channel = connect()
    for kind, key, arguments, sent, routed in (
        ("direct", "a", None, [("a", {}), ("b", {})], [b"a"]),
        ("fanout", "", None, [("a", {}), ("b", {})], [b"a", b"b"]),
        ("topic", "a.*.c", None, [("a.b.c", {}), ("a.c", {}), ("a.x.c", {})], [b"a.b.c", b"a.x.c"]),
        ("headers", "", {"x-match": "all", "n": 1}, [("a", {"n": 1}), ("b", {"n": 2})], [b"a"]),
    ):
        exchange = unique(kind)
        channel.exchange_declare(exchange, kind)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, exchange, key, arguments)
        for routing_key, headers in sent:
            channel.basic_publish(exchange, routing_key, routing_key, pika.BasicProperties(headers=headers))
        assert [channel.basic_get(queue, auto_ack=True)[2] for _ in routed] == routed, kind
        assert channel.basic_get(queue)[0] is None, kind
        channel.exchange_delete(exchange)
    connection.close()


def refusals_have_their_code_and_text():
    none = unique("none")
    refused(404, f"NOT_FOUND - no queue '{none}' in vhost '/'", lambda c: c.queue_declare(none, passive=True))
    refused(406, "PRECONDITION_FAILED - unknown delivery tag 5", lambda c: (c.basic_ack(5), c.queue_declare("", exclusive=True)))
    refused(404, f"NOT_FOUND - no exchange '{none}' in vhost '/'", lambda c: c.exchange_declare(none, passive=True))
    refused(404, f"NOT_FOUND - no exchange '{none}' in vhost '/'", lambda c: c.basic_publish(none, "k", b"v"))
    refused(404, f"NOT_FOUND - no queue '{none}' in vhost '/'", lambda c: c.basic_consume(none, print))
    refused(406, f"PRECONDITION_FAILED - unknown exchange type '{none}'", lambda c: c.exchange_declare(none, none))
    connection, channel = connect()
    queue, exclusive = durable_queue(channel), channel.queue_declare(unique("exclusive"), exclusive=True).method.queue
    text = f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{queue}' in vhost '/': received 'false' but current is 'true'"
    refused(406, text, lambda c: c.queue_declare(queue, durable=False))
    text = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': received 'fanout' but current is 'direct'"
    refused(406, text, lambda c: c.exchange_declare("amq.direct", "fanout", durable=True))
    text = (
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{exclusive}' in vhost '/'. It could be originally "
        "declared on another connection or the exclusive property value does not match that of the original declaration."
    )
    refused(405, text, lambda c: c.queue_declare(exclusive, exclusive=True))
    channel.basic_consume(queue, print, exclusive=True)
    text = f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"
    refused(403, text, lambda c: c.basic_consume(queue, print))
    text = "PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216"
    refused(406, text, lambda c: c.basic_publish("", queue, bytes(16 * 1024 * 1024 + 1)))
    channel.queue_delete(queue)
    connection.close()


def what_is_not_supported_is_refused_as_such():
    refused(540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)", lambda c: c.basic_qos(prefetch_size=1), ConnectionClosedByBroker)
    only_ours("RabbitMQ has transactions")
    text = "NOT_IMPLEMENTED - transactions (tx) are not supported by this broker: use publisher confirms"
    refused(540, text, lambda c: c.tx_select(), ConnectionClosedByBroker)


def a_wrong_password_is_refused():
    parameters = pika.URLParameters(URL)
    parameters.credentials = pika.PlainCredentials("guest", "wrong")
    try:
        pika.BlockingConnection(parameters)
        raise AssertionError("not refused")
    except ProbableAuthenticationError as error:
        assert "403" in str(error), error


def a_crash_of_the_broker_keeps_confirmed_messages():
    _, channel = connect()
    queue = durable_queue(channel)
    for i in range(100):
        channel.basic_publish("", queue, str(i), PERSISTENT)
    crash_and_restart_broker()

    def reconnected():
        try:
            return connect()
        except AMQPConnectionError:
            return None

    connection, channel = wait_for("a new connection", reconnected)
    received = collect(connection, channel, queue, auto_ack=True)(100)
    assert [body for _, _, body in received] == [str(i).encode() for i in range(100)]
    channel.queue_delete(queue)
    connection.close()


run(
    [
        confirmed_messages_come_back_with_their_properties,
        one_and_sixteen_megabytes_pass,
        a_mandatory_message_without_a_queue_is_returned,
        prefetch_holds_the_rest_back,
        a_nacked_message_comes_back_first_and_redelivered,
        what_a_dead_consumer_held_goes_to_the_next,
        many_consumers_take_turns,
        a_consumer_hears_that_its_queue_was_deleted,
        heartbeats_keep_an_idle_connection,
        exchanges_route,
        refusals_have_their_code_and_text,
        what_is_not_supported_is_refused_as_such,
        a_wrong_password_is_refused,
        a_crash_of_the_broker_keeps_confirmed_messages,
    ]
)
