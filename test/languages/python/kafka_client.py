"""confluent-kafka (librdkafka) in its default configuration, save where a check needs a setting."""

import os
import sys

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from checks import crash_and_restart_broker, run, unique, wait_for

ADDRESS = sys.argv[1]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def create_topic(partitions=1, config=None):
    topic = unique("python")
    admin = AdminClient({"bootstrap.servers": ADDRESS})
    admin.create_topics([NewTopic(topic, partitions, 1, config=config or {})])[topic].result(30)
    wait_for("the partitions", lambda: len(admin.list_topics(topic, 10).topics[topic].partitions) == partitions)
    return topic


def produce(topic, messages, **config):
    """Sends dicts of produce() arguments and gives the delivered messages; raises what a delivery failed with."""
    delivered = []

    def on_delivery(error, message):
        if error is not None:
            raise KafkaException(error)
        delivered.append(message)

    producer = Producer({"bootstrap.servers": ADDRESS, **config})
    for message in messages:
        producer.produce(topic, on_delivery=on_delivery, **message)
    assert producer.flush(60) == 0
    return delivered


def consumer(group=None, **config):
    settings = {"bootstrap.servers": ADDRESS, "group.id": group or unique("group"), "auto.offset.reset": "earliest"}
    return Consumer({**settings, **config})


def poll_into(messages, *consumers):
    for one in consumers:
        message = one.poll(0.05)
        if message is None:
            continue
        if message.error():
            # A topic that was just made may not have reached the metadata yet.
            if message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise KafkaException(message.error())
        messages.append(message)
    return messages


def consume(topic, count, group=None):
    one = consumer(group)
    one.subscribe([topic])
    messages = []
    wait_for(f"{count} messages", lambda: len(poll_into(messages, one)) >= count)
    one.close()
    return messages


def every_codec_returns_what_was_sent():
    for codec in CODECS:
        topic = create_topic()
        sent = [
            dict(key=f"k{i}", value=os.urandom(50) + bytes(200), headers=[("n", str(i).encode()), ("n", b"twice"), ("null", None)])
            for i in range(500)
        ]
        produce(topic, sent, **{"compression.type": codec})
        received = consume(topic, len(sent))
        assert [m.offset() for m in received] == list(range(500)), codec
        assert [(m.key().decode(), m.value()) for m in received] == [(s["key"], s["value"]) for s in sent], codec
        assert [m.headers() for m in received] == [s["headers"] for s in sent], codec


def null_and_empty_keys_and_values_survive():
    topic = create_topic()
    produce(topic, [dict(key=k, value=v) for k in (None, b"", b"k") for v in (None, b"", b"v")])
    received = consume(topic, 9)
    assert [(m.key(), m.value()) for m in received] == [(k, v) for k in (None, b"", b"k") for v in (None, b"", b"v")]


def one_megabyte_passes():
    topic = create_topic()
    body = os.urandom(990_000)
    produce(topic, [dict(value=body)])
    assert consume(topic, 1)[0].value() == body


def sixteen_megabytes_pass_where_allowed():
    topic = create_topic(config={"max.message.bytes": "20000000"})
    body = os.urandom(16 * 1024 * 1024)
    produce(topic, [dict(value=body)], **{"message.max.bytes": 20_000_000})
    assert consume(topic, 1)[0].value() == body


def an_idempotent_producer_keeps_order():
    topic = create_topic()
    delivered = produce(topic, [dict(value=str(i)) for i in range(5000)], **{"enable.idempotence": True})
    assert [m.offset() for m in delivered] == list(range(5000))
    assert [m.value() for m in consume(topic, 5000)] == [str(i).encode() for i in range(5000)]


def three_members_share_and_one_leaves():
    topic = create_topic(6)
    group = unique("group")
    members = [consumer(group) for _ in range(3)]
    for member in members:
        member.subscribe([topic])
    seen = []

    def shares(of):
        poll_into(seen, *of)
        return sorted(len(member.assignment()) for member in of)

    wait_for("shares of 2, 2, 2", lambda: shares(members) == [2, 2, 2])
    produce(topic, [dict(value=b"three", partition=p) for p in range(6)])
    wait_for("a message of each partition", lambda: len(poll_into(seen, *members)) == 6)
    members[2].close()
    wait_for("shares of 3, 3", lambda: shares(members[:2]) == [3, 3])
    produce(topic, [dict(value=b"two", partition=p) for p in range(6)])
    wait_for("a message of each partition", lambda: len(poll_into(seen, *members[:2])) == 12)
    assert sorted(m.partition() for m in seen if m.value() == b"two") == list(range(6))
    for member in members[:2]:
        member.close()


def a_commit_is_where_the_group_resumes():
    topic = create_topic()
    group = unique("group")
    produce(topic, [dict(value=str(i)) for i in range(10)])
    first = consumer(group, **{"enable.auto.commit": False})
    first.subscribe([topic])
    messages = []
    wait_for("ten messages", lambda: len(poll_into(messages, first)) == 10)
    first.commit(message=messages[5], asynchronous=False)
    assert first.committed([TopicPartition(topic, 0)], 30)[0].offset == 6
    first.close()
    assert [m.value() for m in consume(topic, 4, group)] == [b"6", b"7", b"8", b"9"]


def offsets_are_found_by_time_and_watermark():
    topic = create_topic()
    produce(topic, [dict(value=str(i), timestamp=1_700_000_000_000 + i * 1000) for i in range(10)])
    one = consumer()
    assert one.get_watermark_offsets(TopicPartition(topic, 0), 30) == (0, 10)
    found = one.offsets_for_times([TopicPartition(topic, 0, 1_700_000_003_500)], 30)
    assert found[0].offset == 4
    one.close()


def an_unknown_partition_is_refused():
    topic = create_topic()
    producer = Producer({"bootstrap.servers": ADDRESS})
    producer.list_topics(topic, 10)
    errors = []
    try:
        producer.produce(topic, b"v", partition=7, on_delivery=lambda error, _: errors.append(error.code()))
        producer.flush(60)
    except KafkaException as error:
        errors.append(error.args[0].code())
    assert errors == [KafkaError._UNKNOWN_PARTITION], errors


def an_oversized_message_is_refused_and_the_next_is_taken():
    topic = create_topic(config={"max.message.bytes": "10000"})
    producer = Producer({"bootstrap.servers": ADDRESS})
    outcomes = []
    for value in (os.urandom(20_000), b"fits"):
        producer.produce(topic, value, on_delivery=lambda error, _: outcomes.append(error and error.code()))
        producer.flush(60)
    assert outcomes == [KafkaError.MSG_SIZE_TOO_LARGE, None], outcomes


def a_crash_of_the_broker_loses_and_doubles_nothing():
    topic = create_topic()
    one = consumer()
    one.subscribe([topic])
    delivered = []
    producer = Producer({"bootstrap.servers": ADDRESS, "enable.idempotence": True})
    for i in range(1000):
        producer.produce(topic, str(i), on_delivery=lambda error, _: delivered.append(error))
    wait_for("some deliveries", lambda: producer.poll(0.05) is not None and len(delivered) > 0)
    crash_and_restart_broker()
    for i in range(1000, 2000):
        producer.produce(topic, str(i), on_delivery=lambda error, _: delivered.append(error))
    assert producer.flush(60) == 0
    assert delivered == [None] * 2000
    one.close()
    assert [m.value() for m in consume(topic, 2000)] == [str(i).encode() for i in range(2000)]


run(
    [
        every_codec_returns_what_was_sent,
        null_and_empty_keys_and_values_survive,
        one_megabyte_passes,
        sixteen_megabytes_pass_where_allowed,
        an_idempotent_producer_keeps_order,
        three_members_share_and_one_leaves,
        a_commit_is_where_the_group_resumes,
        offsets_are_found_by_time_and_watermark,
        an_unknown_partition_is_refused,
        an_oversized_message_is_refused_and_the_next_is_taken,
        a_crash_of_the_broker_loses_and_doubles_nothing,
    ]
)
