import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.function.Supplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.TransactionalIdAuthorizationException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client in its default configuration (idempotent, acks=all), save where a check needs a setting. */
public final class KafkaClient {
    private static final long DEADLINE_MS = 60_000;
    private static final BufferedReader STDIN = new BufferedReader(new InputStreamReader(System.in));
    private static String address;

    private interface Check {
        void run() throws Exception;
    }

    private static final class Skip extends RuntimeException {
        Skip(String reason) {
            super(reason);
        }
    }

    public static void main(String[] args) {
        address = args[0];
        Map<String, Check> checks = new LinkedHashMap<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            checks.put("codec " + codec + " returns what was sent", () -> codecReturnsWhatWasSent(codec));
        }
        checks.put("null and empty keys and values survive", KafkaClient::nullsSurvive);
        checks.put("1 MB passes, 16 MB where allowed", KafkaClient::largeMessagesPass);
        for (String assignor : List.of("RangeAssignor", "CooperativeStickyAssignor")) {
            checks.put("three members share, one leaves and one crashes: " + assignor, () -> threeMembersShareAndTheyGo(assignor));
        }
        checks.put("a static member comes back to what it had", KafkaClient::staticMemberComesBack);
        checks.put("a commit is where the group resumes", KafkaClient::commitIsWhereTheGroupResumes);
        checks.put("offsets are found by time", KafkaClient::offsetsAreFoundByTime);
        checks.put("topics are described, refused twice and deleted", KafkaClient::topicsAreAdministered);
        checks.put("configs are altered one by one", KafkaClient::configsAreAltered);
        checks.put("records are deleted and readers go on", KafkaClient::recordsAreDeleted);
        checks.put("groups are described, moved and deleted", KafkaClient::groupsAreAdministered);
        checks.put("an unknown partition is refused", KafkaClient::unknownPartitionIsRefused);
        checks.put("an oversized message is refused and the next is taken", KafkaClient::oversizedIsRefused);
        checks.put("a transactional id is refused for good and quickly", KafkaClient::transactionsAreRefused);
        checks.put("what is not supported is refused as such", KafkaClient::unsupportedIsRefused);
        checks.put("a crash of the broker loses and doubles nothing", KafkaClient::crashLosesNothing);
        int failed = 0;
        for (Map.Entry<String, Check> check : checks.entrySet()) {
            long started = System.nanoTime();
            try {
                check.getValue().run();
                System.out.printf("ok - %s (%.1f s)%n", check.getKey(), (System.nanoTime() - started) / 1e9);
            } catch (Skip reason) {
                System.out.printf("skip - %s: %s%n", check.getKey(), reason.getMessage());
            } catch (Throwable failure) {
                failed += 1;
                System.out.printf("not ok - %s%n", check.getKey());
                failure.printStackTrace();
            }
        }
        System.exit(failed == 0 ? 0 : 1);
    }

    private static void require(boolean condition, Object message) {
        if (!condition) throw new AssertionError(message);
    }

    private static void requireEqual(Object actual, Object expected) {
        require(Objects.equals(actual, expected), actual + " instead of " + expected);
    }

    private static void waitFor(String what, Supplier<Boolean> condition) {
        long deadline = System.currentTimeMillis() + DEADLINE_MS;
        while (!condition.get()) require(System.currentTimeMillis() < deadline, "waited too long for: " + what);
    }

    private static void crashAndRestartBroker() throws Exception {
        System.out.println("request: crash and restart the broker");
        if (!"done".equals(STDIN.readLine())) throw new Skip("the broker is not ours to kill");
    }

    /** Skips a check of a limit of this broker where a real peer runs instead. */
    private static void onlyOurs(String reason) {
        if (System.getenv("ROSETTAMQ_TEST_KAFKA") != null) throw new Skip(reason);
    }

    private static Map<String, Object> settings(Object... pairs) {
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", address));
        for (int i = 0; i < pairs.length; i += 2) settings.put((String) pairs[i], pairs[i + 1]);
        return settings;
    }

    private static KafkaProducer<byte[], byte[]> producer(Object... pairs) {
        return new KafkaProducer<>(settings(pairs), new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String group, Object... pairs) {
        Map<String, Object> settings = settings(pairs);
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static String unique(String prefix) {
        return prefix + "-" + UUID.randomUUID();
    }

    private static String createTopic(int partitions, Map<String, String> configs) throws Exception {
        String topic = unique("java");
        try (Admin admin = Admin.create(settings())) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
            waitFor("the partitions", () -> {
                try {
                    return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size() == partitions;
                } catch (InterruptedException | ExecutionException notYet) {
                    return false;
                }
            });
        }
        return topic;
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static byte[] randomBytes(int size) {
        byte[] bytes = new byte[size];
        new Random().nextBytes(bytes);
        return bytes;
    }

    private static List<RecordMetadata> produce(KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records)
            throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (ProducerRecord<byte[], byte[]> record : records) sent.add(producer.send(record));
        List<RecordMetadata> stored = new ArrayList<>();
        for (Future<RecordMetadata> one : sent) stored.add(one.get());
        return stored;
    }

    private static List<ProducerRecord<byte[], byte[]>> numbered(String topic, int from, int to) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = from; i < to; i += 1) records.add(new ProducerRecord<>(topic, utf8(String.valueOf(i))));
        return records;
    }

    private static void pollInto(List<ConsumerRecord<byte[], byte[]>> records, Collection<KafkaConsumer<byte[], byte[]>> from) {
        for (KafkaConsumer<byte[], byte[]> consumer : from) consumer.poll(Duration.ofMillis(50)).forEach(records::add);
    }

    private static List<ConsumerRecord<byte[], byte[]>> consume(String topic, int count, String group) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(group)) {
            consumer.subscribe(List.of(topic));
            waitFor(count + " messages", () -> {
                pollInto(records, List.of(consumer));
                return records.size() >= count;
            });
        }
        requireEqual(records.size(), count);
        return records;
    }

    private static List<String> values(List<ConsumerRecord<byte[], byte[]>> records) {
        return records.stream().map(record -> new String(record.value(), StandardCharsets.UTF_8)).toList();
    }

    private static void codecReturnsWhatWasSent(String codec) throws Exception {
        String topic = createTopic(1, Map.of());
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < 500; i += 1) {
            byte[] value = Arrays.copyOf(randomBytes(50), 250);
            ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, utf8("k" + i), value);
            record.headers().add("n", utf8(String.valueOf(i))).add("n", utf8("twice")).add("null", null);
            sent.add(record);
        }
        try (KafkaProducer<byte[], byte[]> producer = producer("compression.type", codec)) {
            produce(producer, sent);
        }
        List<ConsumerRecord<byte[], byte[]>> received = consume(topic, 500, unique("group"));
        for (int i = 0; i < 500; i += 1) {
            requireEqual(received.get(i).offset(), (long) i);
            require(Arrays.equals(received.get(i).key(), sent.get(i).key()), "key " + i);
            require(Arrays.equals(received.get(i).value(), sent.get(i).value()), "value " + i);
            requireEqual(received.get(i).headers(), sent.get(i).headers());
        }
    }

    private static void nullsSurvive() throws Exception {
        String topic = createTopic(1, Map.of());
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (byte[] key : new byte[][] {null, {}, {1}}) {
            for (byte[] value : new byte[][] {null, {}, {2}}) sent.add(new ProducerRecord<>(topic, key, value));
        }
        // One partition, so that keyless records do not spread.
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            produce(producer, sent);
        }
        List<ConsumerRecord<byte[], byte[]>> received = consume(topic, sent.size(), unique("group"));
        for (int i = 0; i < sent.size(); i += 1) {
            require(Arrays.equals(received.get(i).key(), sent.get(i).key()), "key " + i);
            require(Arrays.equals(received.get(i).value(), sent.get(i).value()), "value " + i);
        }
    }

    private static void largeMessagesPass() throws Exception {
        byte[] one = randomBytes(1_000_000);
        String stock = createTopic(1, Map.of());
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            produce(producer, List.of(new ProducerRecord<>(stock, one)));
        }
        require(Arrays.equals(consume(stock, 1, unique("group")).get(0).value(), one), "1 MB");
        byte[] sixteen = randomBytes(16 * 1024 * 1024);
        String large = createTopic(1, Map.of("max.message.bytes", "20000000"));
        try (KafkaProducer<byte[], byte[]> producer = producer("max.request.size", 20_000_000)) {
            produce(producer, List.of(new ProducerRecord<>(large, sixteen)));
        }
        require(Arrays.equals(consume(large, 1, unique("group")).get(0).value(), sixteen), "16 MB");
    }

    private static void waitForShares(
            List<ConsumerRecord<byte[], byte[]>> records, List<KafkaConsumer<byte[], byte[]>> members, List<Integer> shares) {
        waitFor("shares of " + shares, () -> {
            pollInto(records, members);
            return members.stream().map(member -> member.assignment().size()).sorted().toList().equals(shares);
        });
    }

    private static void threeMembersShareAndTheyGo(String assignor) throws Exception {
        String topic = createTopic(6, Map.of());
        String group = unique("group");
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        List<KafkaConsumer<byte[], byte[]>> members = new ArrayList<>();
        for (int i = 0; i < 3; i += 1) {
            members.add(
                    consumer(
                            group,
                            "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor,
                            "session.timeout.ms", 6000,
                            "heartbeat.interval.ms", 300));
            members.get(i).subscribe(List.of(topic));
        }
        waitForShares(records, members, List.of(2, 2, 2));
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            requireOneOfEachPartition(producer, topic, records, members, "three");
            members.remove(2).close();
            waitForShares(records, members, List.of(3, 3));
            requireOneOfEachPartition(producer, topic, records, members, "two");
            members.remove(1).close(CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP));
            waitForShares(records, members, List.of(6));
            requireOneOfEachPartition(producer, topic, records, members, "one");
        }
        members.forEach(KafkaConsumer::close);
    }

    private static void requireOneOfEachPartition(
            KafkaProducer<byte[], byte[]> producer,
            String topic,
            List<ConsumerRecord<byte[], byte[]>> records,
            List<KafkaConsumer<byte[], byte[]>> members,
            String value)
            throws Exception {
        for (int partition = 0; partition < 6; partition += 1) {
            produce(producer, List.of(new ProducerRecord<>(topic, partition, null, utf8(value))));
        }
        waitFor("a message of each partition", () -> {
            pollInto(records, members);
            return values(records).stream().filter(value::equals).count() == 6;
        });
    }

    private static void staticMemberComesBack() throws Exception {
        String topic = createTopic(2, Map.of());
        String group = unique("group");
        List<KafkaConsumer<byte[], byte[]>> members = new ArrayList<>();
        for (String instance : List.of("a", "b")) {
            members.add(consumer(group, "group.instance.id", instance, "heartbeat.interval.ms", 300));
            members.get(members.size() - 1).subscribe(List.of(topic));
        }
        waitForShares(new ArrayList<>(), members, List.of(1, 1));
        Set<TopicPartition> had = members.get(1).assignment();
        int generation = members.get(0).groupMetadata().generationId();
        members.remove(1).close();
        members.add(consumer(group, "group.instance.id", "b", "heartbeat.interval.ms", 300));
        members.get(1).subscribe(List.of(topic));
        waitForShares(new ArrayList<>(), members, List.of(1, 1));
        requireEqual(members.get(1).assignment(), had);
        requireEqual(members.get(1).groupMetadata().generationId(), generation);
        members.forEach(KafkaConsumer::close);
    }

    private static void commitIsWhereTheGroupResumes() throws Exception {
        String topic = createTopic(1, Map.of());
        String group = unique("group");
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            produce(producer, numbered(topic, 0, 10));
        }
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> first = consumer(group, "enable.auto.commit", false)) {
            first.subscribe(List.of(topic));
            List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
            waitFor("ten messages", () -> {
                pollInto(records, List.of(first));
                return records.size() == 10;
            });
            first.commitSync(Map.of(partition, new OffsetAndMetadata(6, "six")));
            requireEqual(first.committed(Set.of(partition)).get(partition).metadata(), "six");
        }
        requireEqual(values(consume(topic, 4, group)), List.of("6", "7", "8", "9"));
    }

    private static void offsetsAreFoundByTime() throws Exception {
        String topic = createTopic(1, Map.of());
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 10; i += 1) {
            records.add(new ProducerRecord<>(topic, 0, 1_700_000_000_000L + i * 1000, null, utf8(String.valueOf(i))));
        }
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            produce(producer, records);
        }
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(unique("group"))) {
            OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, 1_700_000_003_500L)).get(partition);
            requireEqual(List.of(found.offset(), found.timestamp()), List.of(4L, 1_700_000_004_000L));
            requireEqual(consumer.beginningOffsets(List.of(partition)).get(partition), 0L);
            requireEqual(consumer.endOffsets(List.of(partition)).get(partition), 10L);
            consumer.assign(List.of(partition));
            consumer.seek(partition, 7);
            List<ConsumerRecord<byte[], byte[]>> polled = new ArrayList<>();
            waitFor("three messages", () -> {
                pollInto(polled, List.of(consumer));
                return polled.size() == 3;
            });
            requireEqual(values(polled), List.of("7", "8", "9"));
        }
    }

    private static void requireCause(Class<? extends Throwable> type, Future<?> future) throws Exception {
        try {
            future.get();
            throw new AssertionError("not refused");
        } catch (ExecutionException refused) {
            require(type.isInstance(refused.getCause()), refused.getCause());
        }
    }

    private static void topicsAreAdministered() throws Exception {
        String topic = createTopic(2, Map.of("retention.ms", "123456789"));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try (Admin admin = Admin.create(settings())) {
            requireEqual(admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms").value(), "123456789");
            requireEqual(admin.describeCluster().nodes().get().size(), 1);
            require(admin.listTopics().names().get().contains(topic), "not listed");
            requireCause(TopicExistsException.class, create(admin, new NewTopic(topic, 1, (short) 1)));
            requireCause(InvalidTopicException.class, create(admin, new NewTopic("no blanks", 1, (short) 1)));
            requireCause(InvalidReplicationFactorException.class, create(admin, new NewTopic(unique("java"), 1, (short) 3)));
            NewTopic misspelt = new NewTopic(unique("java"), 1, (short) 1).configs(Map.of("no.such.config", "1"));
            requireCause(InvalidConfigurationException.class, create(admin, misspelt));
            TopicCollection byId = TopicCollection.ofTopicIds(List.of(topicId(admin, topic)));
            requireEqual(admin.describeTopics(byId).allTopicIds().get().values().iterator().next().name(), topic);
            admin.deleteTopics(byId).all().get();
            requireCause(UnknownTopicIdException.class, admin.deleteTopics(byId).all());
            requireCause(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(topic)).all());
            requireCause(UnknownTopicOrPartitionException.class, admin.describeConfigs(List.of(resource)).all());
        }
    }

    private static Future<?> create(Admin admin, NewTopic topic) {
        return admin.createTopics(List.of(topic)).all();
    }

    private static Uuid topicId(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).topicId();
    }

    private static Future<?> alter(Admin admin, String topic, String key, AlterConfigOp.OpType operation, String value) {
        AlterConfigOp change = new AlterConfigOp(new ConfigEntry(key, value), operation);
        return admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), List.of(change))).all();
    }

    private static void waitForConfigs(Admin admin, String topic, Map<String, String> expected) {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        waitFor("configs " + expected, () -> {
            try {
                Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
                return expected.entrySet().stream().allMatch(one -> one.getValue().equals(config.get(one.getKey()).value()));
            } catch (InterruptedException | ExecutionException failure) {
                throw new AssertionError(failure);
            }
        });
    }

    private static void configsAreAltered() throws Exception {
        String topic = createTopic(1, Map.of("segment.ms", "60000"));
        try (Admin admin = Admin.create(settings())) {
            alter(admin, topic, "retention.ms", AlterConfigOp.OpType.SET, "1234").get();
            alter(admin, topic, "cleanup.policy", AlterConfigOp.OpType.APPEND, "compact").get();
            waitForConfigs(admin, topic, Map.of("retention.ms", "1234", "cleanup.policy", "delete,compact", "segment.ms", "60000"));
            alter(admin, topic, "cleanup.policy", AlterConfigOp.OpType.SUBTRACT, "delete").get();
            alter(admin, topic, "segment.ms", AlterConfigOp.OpType.DELETE, "").get();
            waitForConfigs(admin, topic, Map.of("retention.ms", "1234", "cleanup.policy", "compact", "segment.ms", "604800000"));
            AlterConfigOp.OpType set = AlterConfigOp.OpType.SET;
            requireCause(InvalidConfigurationException.class, alter(admin, topic, "retention.ms", set, "soon"));
            requireCause(InvalidConfigurationException.class, alter(admin, topic, "retention.ms", AlterConfigOp.OpType.APPEND, "1"));
            requireCause(InvalidConfigurationException.class, alter(admin, topic, "no.such.config", set, "1"));
            requireCause(UnknownTopicOrPartitionException.class, alter(admin, unique("none"), "retention.ms", set, "1"));
        }
    }

    private static long deleteRecords(Admin admin, String topic, long offset) throws Exception {
        TopicPartition partition = new TopicPartition(topic, 0);
        return admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(offset))).lowWatermarks().get(partition).get().lowWatermark();
    }

    private static Future<?> refusedDeletion(Admin admin, String topic, long offset) {
        return admin.deleteRecords(Map.of(new TopicPartition(topic, 0), RecordsToDelete.beforeOffset(offset))).all();
    }

    private static void recordsAreDeleted() throws Exception {
        String topic = createTopic(1, Map.of());
        try (KafkaProducer<byte[], byte[]> producer = producer("batch.size", 100)) {
            produce(producer, numbered(topic, 0, 10));
        }
        String compacted = createTopic(1, Map.of("cleanup.policy", "compact"));
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Admin admin = Admin.create(settings())) {
            requireEqual(deleteRecords(admin, topic, 7), 7L);
            requireEqual(deleteRecords(admin, topic, 3), 7L);
            requireCause(OffsetOutOfRangeException.class, refusedDeletion(admin, topic, 11));
            requireCause(PolicyViolationException.class, refusedDeletion(admin, compacted, 0));
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(unique("group"))) {
                consumer.assign(List.of(partition));
                requireEqual(consumer.beginningOffsets(List.of(partition)).get(partition), 7L);
                consumer.seek(partition, 2);
                List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
                waitFor("what is left", () -> {
                    pollInto(records, List.of(consumer));
                    return records.size() >= 3;
                });
                requireEqual(values(records), List.of("7", "8", "9"));
            }
            requireEqual(deleteRecords(admin, topic, -1), 10L);
        }
    }

    private static void groupsAreAdministered() throws Exception {
        String topic = createTopic(1, Map.of());
        String group = unique("group");
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Admin admin = Admin.create(settings())) {
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(group)) {
                consumer.subscribe(List.of(topic));
                waitForShares(new ArrayList<>(), List.of(consumer), List.of(1));
                var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
                requireEqual(List.of(described.groupState(), described.members().size()), List.of(GroupState.STABLE, 1));
                require(admin.listGroups().all().get().stream().anyMatch(one -> one.groupId().equals(group)), "not listed");
                requireCause(GroupNotEmptyException.class, admin.deleteConsumerGroups(List.of(group)).all());
            }
            admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(5))).all().get();
            requireEqual(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition).offset(), 5L);
            admin.deleteConsumerGroups(List.of(group)).all().get();
            requireCause(GroupIdNotFoundException.class, admin.deleteConsumerGroups(List.of(group)).all());
        }
    }

    private static void transactionsAreRefused() {
        onlyOurs("transactions are not supported yet");
        long started = System.currentTimeMillis();
        try (KafkaProducer<byte[], byte[]> producer = producer("transactional.id", unique("transaction"))) {
            producer.initTransactions();
            throw new AssertionError("not refused");
        } catch (TransactionalIdAuthorizationException refused) {
            require(System.currentTimeMillis() - started < 5000, "after " + (System.currentTimeMillis() - started) + " ms");
        }
    }

    private static void unsupportedIsRefused() throws Exception {
        onlyOurs("Kafka does all of this");
        String topic = createTopic(1, Map.of());
        try (Admin admin = Admin.create(settings())) {
            requireCause(UnsupportedVersionException.class, admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all());
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(unique("group"), "group.protocol", "consumer")) {
            consumer.subscribe(List.of(topic));
            waitFor("the refusal", () -> {
                consumer.poll(Duration.ofMillis(50));
                return false;
            });
        } catch (UnsupportedVersionException refused) {
            // As it should be.
        }
    }

    private static void unknownPartitionIsRefused() throws Exception {
        String topic = createTopic(1, Map.of());
        try (KafkaProducer<byte[], byte[]> producer = producer("max.block.ms", 3000)) {
            produce(producer, numbered(topic, 0, 1));
            requireCause(TimeoutException.class, producer.send(new ProducerRecord<>(topic, 7, null, utf8("v"))));
        }
    }

    private static void oversizedIsRefused() throws Exception {
        String topic = createTopic(1, Map.of("max.message.bytes", "10000"));
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            requireCause(RecordTooLargeException.class, producer.send(new ProducerRecord<>(topic, randomBytes(20_000))));
            produce(producer, numbered(topic, 0, 1));
        }
        requireEqual(values(consume(topic, 1, unique("group"))), List.of("0"));
    }

    private static void crashLosesNothing() throws Exception {
        String topic = createTopic(1, Map.of());
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            for (ProducerRecord<byte[], byte[]> record : numbered(topic, 0, 2000)) sent.add(producer.send(record));
            sent.get(0).get();
            crashAndRestartBroker();
            for (ProducerRecord<byte[], byte[]> record : numbered(topic, 2000, 4000)) sent.add(producer.send(record));
            for (int i = 0; i < sent.size(); i += 1) requireEqual(sent.get(i).get().offset(), (long) i);
        }
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 4000; i += 1) expected.add(String.valueOf(i));
        requireEqual(values(consume(topic, 4000, unique("group"))), expected);
    }
}
