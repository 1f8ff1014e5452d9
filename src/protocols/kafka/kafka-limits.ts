/** Bounds of the Kafka head that no setting of Kafka's names. */
export const kafkaLimits = {
  /** Requests of one connection whose responses are not sent yet; reading pauses at it. */
  pendingRequestsMax: 1000,
  /** Received bytes of one connection that are not answered yet; reading pauses above it. */
  connectionUnansweredBytesMax: 32 * 1024 * 1024,
  /** The same for all connections together; then a connection waits for its own answers before it reads on. */
  unansweredBytesMax: 128 * 1024 * 1024,
  /** Bytes that the kernel has not taken; above it no Fetch starts and nothing is read until all are taken. */
  outputBytesMax: 1024 * 1024,
  /** Reads of one Fetch from storage, one after the other, before it is answered with what it has. */
  fetchLoadsMax: 64,
  /** How long a close waits for the disk, and again for peers to take what they are sent. */
  closeTimeoutMs: 2000,
  /** How often idle connections are looked for, at most. */
  idleCheckMsMax: 60_000,
  /** Entries and records that a ListOffsets by time looks at in one turn, some more if they are in one block. */
  timestampSliceRecords: 1024,
  /** Partitions that one CreateTopics may ask for; as of Kafka's controller. */
  partitionsPerRequestMax: 10_000,
  /** Partitions of the topics that one Metadata request creates, one topic at least; the client asks again for the others. */
  autoCreatedPartitionsMax: 500,
  /** What CreateTopics creates in one turn of the event loop, one topic at least: partitions, a topic counts as ten. */
  createdPerTurnMax: 1000,
  /** Once the requests of a connection have taken so much of a turn, the rest waits for the next one. */
  turnMs: 20,
  /** How long a new member may wait for the end of a rebalance. Kafka: group.new.member.join.timeout. */
  newMemberJoinTimeoutMs: 300_000,
} as const;
