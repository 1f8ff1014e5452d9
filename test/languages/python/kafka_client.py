"""confluent-kafka (librdkafka) in its default configuration, save where a check needs a setting."""

import multiprocessing
import os
import sys
import time

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)

from checks import crash_and_restart_broker, only_ours, run, unique, wait_for

# The log is off because a crash of the broker is part of the checks.
CLIENT = {"bootstrap.servers": sys.argv[1], "log_level": 0}
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
# Quicker than the defaults, so that checks need not wait for a heartbeat or a lost session.
QUICK_GROUP = {"heartbeat.interval.ms": 300, "session.timeout.ms": 6000}


def new_admin():
    return AdminClient(CLIENT)


def create_topic(partitions=1, config=None):
    topic = unique("python")
    admin = new_admin()
    admin.create_topics([NewTopic(topic, partitions, 1, config=config or {})])[topic].result(30)
    wait_for("the partitions", lambda: len(admin.list_topics(topic, 10).topics[topic].partitions) == partitions)
    return topic


def refused(code, action, *arguments, **options):
    """The error that the action raises, whose code must be the given one."""
    try:
        action(*arguments, **options)
    except KafkaException as exception:
        error = exception.args[0]
        assert error.code() == code, error
        return error
    raise AssertionError("not refused")


def produce(topic, messages, **config):
    """Sends dicts of produce() arguments and gives the delivered messages; raises what a delivery failed with."""
    delivered = []

    def on_delivery(error, message):
        if error is not None:
            raise KafkaException(error)
        delivered.append(message)

    producer = Producer({**CLIENT, **config})
    for message in messages:
        producer.produce(topic, on_delivery=on_delivery, **message)
    assert producer.flush(60) == 0
    return delivered


def consumer(group=None, **config):
    return Consumer({**CLIENT, "group.id": group or unique("group"), "auto.offset.reset": "earliest", **config})


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


class Group:
    """Members of one group that consume a topic of six partitions."""

    def __init__(self, members, **config):
        self.topic, self.name, self.seen = create_topic(6), unique("group"), []
        self.members = [consumer(self.name, **config) for _ in range(members)]
        for member in self.members:
            member.subscribe([self.topic])

    def wait_for_shares(self, *shares):
        def shared():
            poll_into(self.seen, *self.members)
            return sorted(len(member.assignment()) for member in self.members) == list(shares)

        wait_for(f"shares of {shares}", shared)

    def produce_to_all(self, value):
        """Exactly one message a partition arrives at these members."""
        produce(self.topic, [dict(value=value, partition=p) for p in range(6)])

        def partitions():
            return [m.partition() for m in poll_into(self.seen, *self.members) if m.value() == value]

        wait_for("a message of each partition", lambda: len(partitions()) >= 6)
        assert sorted(partitions()) == list(range(6))

    def close(self):
        for member in self.members:
            member.close()


def three_members_share_and_one_leaves():
    for strategy in ({}, {"partition.assignment.strategy": "cooperative-sticky", **QUICK_GROUP}):
        group = Group(3, **strategy)
        group.wait_for_shares(2, 2, 2)
        group.produce_to_all(b"three")
        group.members.pop().close()
        group.wait_for_shares(3, 3)
        group.produce_to_all(b"two")
        group.close()


def doomed_member(topic, group, joined):
    member = consumer(group, **QUICK_GROUP)
    member.subscribe([topic])
    while True:
        member.poll(0.1)
        if member.assignment():
            joined.set()


def what_a_crashed_member_had_goes_to_the_others():
    group = Group(2, **QUICK_GROUP)
    spawn = multiprocessing.get_context("spawn")
    joined = spawn.Event()
    doomed = spawn.Process(target=doomed_member, args=(group.topic, group.name, joined))
    doomed.start()
    wait_for("the third member", lambda: poll_into(group.seen, *group.members) is not None and joined.is_set())
    group.wait_for_shares(2, 2)
    doomed.kill()
    group.wait_for_shares(3, 3)
    group.produce_to_all(b"two")
    group.close()


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


def timestamps_are_the_producers_or_those_of_the_append():
    topic = create_topic()
    produce(topic, [dict(value=b"v", timestamp=1_700_000_000_123)])
    assert consume(topic, 1)[0].timestamp() == (TIMESTAMP_CREATE_TIME, 1_700_000_000_123)
    stamped = create_topic(config={"message.timestamp.type": "LogAppendTime"})
    (delivered,) = produce(stamped, [dict(value=b"v", timestamp=1_700_000_000_123)])
    kind, timestamp = consume(stamped, 1)[0].timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME and abs(timestamp - time.time() * 1000) < 60_000, timestamp
    assert delivered.timestamp()[1] == timestamp


def every_kind_of_acks_stores():
    topic = create_topic()
    for acks in ("0", "1", "all"):
        produce(topic, [dict(value=acks)], acks=acks)
    assert sorted(m.value() for m in consume(topic, 3)) == [b"0", b"1", b"all"]


def topics_are_created_described_and_deleted():
    admin = new_admin()
    topic = create_topic(3, {"retention.ms": "123456789"})
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    configs = admin.describe_configs([resource])[resource].result(30)
    assert (configs["retention.ms"].value, configs["retention.ms"].is_default) == ("123456789", False)
    assert (configs["max.message.bytes"].value, configs["max.message.bytes"].is_default) == ("1048588", True)

    def create(name, partitions=1, replicas=1, config=None):
        admin.create_topics([NewTopic(name, partitions, replicas, config=config or {})])[name].result(30)

    refused(KafkaError.TOPIC_ALREADY_EXISTS, create, topic)
    refused(KafkaError.TOPIC_EXCEPTION, create, "no blanks")
    refused(KafkaError.INVALID_REPLICATION_FACTOR, create, unique("python"), replicas=3)
    refused(KafkaError.INVALID_CONFIG, create, unique("python"), config={"no.such.config": "1"})
    refused(KafkaError.INVALID_CONFIG, create, unique("python"), config={"retention.ms": "soon"})
    admin.delete_topics([topic])[topic].result(30)
    wait_for("the topic to be gone", lambda: topic not in admin.list_topics(timeout=10).topics)
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: admin.delete_topics([topic])[topic].result(30))
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: admin.describe_configs([resource])[resource].result(30))


def configs_are_altered_one_by_one():
    admin, topic = new_admin(), create_topic(config={"segment.ms": "60000"})

    def alter(key, operation, value=None, name=topic):
        entries = [ConfigEntry(key, value, incremental_operation=operation)]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        admin.incremental_alter_configs([resource])[resource].result(30)

    def expect(**expected):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)

        def described():
            configs = admin.describe_configs([resource])[resource].result(30)
            return all(configs[key.replace("_", ".")].value == value for key, value in expected.items())

        wait_for(f"{expected}", described)

    alter("retention.ms", AlterConfigOpType.SET, "1234")
    alter("cleanup.policy", AlterConfigOpType.APPEND, "compact")
    expect(retention_ms="1234", cleanup_policy="delete,compact", segment_ms="60000")
    alter("cleanup.policy", AlterConfigOpType.SUBTRACT, "delete")
    alter("segment.ms", AlterConfigOpType.DELETE)
    expect(retention_ms="1234", cleanup_policy="compact", segment_ms="604800000")
    refused(KafkaError.INVALID_CONFIG, alter, "retention.ms", AlterConfigOpType.SET, "soon")
    refused(KafkaError.INVALID_CONFIG, alter, "retention.ms", AlterConfigOpType.APPEND, "1")
    refused(KafkaError.INVALID_CONFIG, alter, "no.such.config", AlterConfigOpType.SET, "1")
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, alter, "retention.ms", AlterConfigOpType.SET, "1", unique("none"))


def records_are_deleted_and_readers_go_on():
    admin, topic = new_admin(), create_topic()
    compacted = create_topic(config={"cleanup.policy": "compact"})
    produce(topic, [dict(value=str(i)) for i in range(10)], **{"batch.num.messages": 3})

    def delete(name, offset):
        partition = TopicPartition(name, 0, offset)
        return admin.delete_records([partition])[partition].result(30).low_watermark

    assert (delete(topic, 7), delete(topic, 3)) == (7, 7)
    refused(KafkaError.OFFSET_OUT_OF_RANGE, delete, topic, 11)
    refused(KafkaError.POLICY_VIOLATION, delete, compacted, 0)
    refused(KafkaError._NOENT, delete, unique("none"), 0)
    one = consumer()
    assert one.get_watermark_offsets(TopicPartition(topic, 0), 30) == (7, 10)
    one.assign([TopicPartition(topic, 0, 2)])
    messages = []
    wait_for("what is left", lambda: len(poll_into(messages, one)) == 3)
    assert [(m.offset(), m.value()) for m in messages] == [(i, str(i).encode()) for i in (7, 8, 9)]
    one.close()
    strict = consumer(**{"auto.offset.reset": "error"})
    strict.assign([TopicPartition(topic, 0, 2)])
    refused(KafkaError._AUTO_OFFSET_RESET, wait_for, "the error", lambda: poll_into([], strict))
    strict.close()
    assert delete(topic, -1) == 10


def groups_are_listed_described_moved_and_deleted():
    admin, group = new_admin(), Group(1)
    group.wait_for_shares(6)
    assert group.name in [one.group_id for one in admin.list_consumer_groups().result().valid]
    described = admin.describe_consumer_groups([group.name])[group.name].result()
    assert described.state.name == "STABLE" and len(described.members) == 1, described.state
    assert len(described.members[0].assignment.topic_partitions) == 6
    refused(KafkaError.NON_EMPTY_GROUP, lambda: admin.delete_consumer_groups([group.name])[group.name].result())
    group.close()
    moved = ConsumerGroupTopicPartitions(group.name, [TopicPartition(group.topic, 0, 5)])
    admin.alter_consumer_group_offsets([moved])[group.name].result()
    stored = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group.name)])[group.name].result()
    assert (group.topic, 0, 5) in [(one.topic, one.partition, one.offset) for one in stored.topic_partitions]
    admin.delete_consumer_groups([group.name])[group.name].result()
    refused(KafkaError.GROUP_ID_NOT_FOUND, lambda: admin.delete_consumer_groups([group.name])[group.name].result())


def an_offset_out_of_range_is_told():
    topic = create_topic()
    one = consumer(**{"auto.offset.reset": "error"})
    one.assign([TopicPartition(topic, 0, 1000)])
    refused(KafkaError._AUTO_OFFSET_RESET, wait_for, "the error", lambda: poll_into([], one))
    one.close()


def a_topic_that_is_not_there_is_told():
    one = consumer()
    one.subscribe([unique("none")])
    message = wait_for("the error", lambda: one.poll(0.5))
    assert message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART, message.error()
    one.close()


def a_transactional_id_is_refused_for_good_and_quickly():
    only_ours("transactions are not supported yet")
    started = time.monotonic()
    producer = Producer({**CLIENT, "transactional.id": unique("transaction")})
    error = refused(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, producer.init_transactions, 30)
    assert error.fatal() and not error.retriable(), error
    assert time.monotonic() - started < 5


def what_is_not_supported_is_refused_as_such():
    only_ours("Kafka does all of this")
    topic, admin = create_topic(), new_admin()
    refused(KafkaError._UNSUPPORTED_FEATURE, lambda: admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30))


def an_unknown_partition_is_refused():
    topic = create_topic()
    producer = Producer(CLIENT)
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
    producer = Producer(CLIENT)
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
    producer = Producer({**CLIENT, "enable.idempotence": True})
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


if __name__ == "__main__":
    run(
        [
            every_codec_returns_what_was_sent,
            null_and_empty_keys_and_values_survive,
            one_megabyte_passes,
            sixteen_megabytes_pass_where_allowed,
            an_idempotent_producer_keeps_order,
            three_members_share_and_one_leaves,
            what_a_crashed_member_had_goes_to_the_others,
            a_commit_is_where_the_group_resumes,
            offsets_are_found_by_time_and_watermark,
            timestamps_are_the_producers_or_those_of_the_append,
            every_kind_of_acks_stores,
            topics_are_created_described_and_deleted,
            configs_are_altered_one_by_one,
            records_are_deleted_and_readers_go_on,
            groups_are_listed_described_moved_and_deleted,
            an_offset_out_of_range_is_told,
            a_topic_that_is_not_there_is_told,
            an_unknown_partition_is_refused,
            an_oversized_message_is_refused_and_the_next_is_taken,
            a_transactional_id_is_refused_for_good_and_quickly,
            what_is_not_supported_is_refused_as_such,
            a_crash_of_the_broker_loses_and_doubles_nothing,
        ]
    )
