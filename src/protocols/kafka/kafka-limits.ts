/** Bounds of the Kafka head that no setting of Kafka's names. */
export const kafkaLimits = {
  /** Requests of one connection whose responses are not sent yet; reading pauses at it. */
  pendingRequestsMax: 1000,
  /** Received bytes of one connection that are not answered yet; reading pauses above it. */
  connectionUnansweredBytesMax: 32 * 1024 * 1024,
  /** The same for all connections together; then a connection waits for its own answers before it reads on. */
  unansweredBytesMax: 128 * 1024 * 1024,
  /** Received bytes of requests that are not whole, of all connections; above it large ones are read one after the other. */
  unfinishedBytesMax: 128 * 1024 * 1024,
  /** A request up to this size is small. */
  smallRequestBytes: 1024 * 1024,
  /** The same for small requests, which wait only when large ones do already. */
  unfinishedSmallBytesMax: 256 * 1024 * 1024,
  /** What a chunk of received bytes counts beside its length. */
  chunkOverheadBytes: 256,
  /** While others wait for memory, who holds some and sends nothing for so long is closed. */
  stalledRequestMs: 10_000,
  /** Of those that have received more than this. */
  stalledBytesMin: 64 * 1024,
  /** How fast a request must come whose turn it is, from `stalledRequestMs` on. */
  turnBytesPerSecond: 1024 * 1024,
  /** How often is looked for such connections. */
  stallCheckMs: 1000,
  /** Bytes that the kernel has not taken; above it no Fetch starts and nothing is read until all are taken. */
  outputBytesMax: 1024 * 1024,
  /** Reads of one Fetch from storage, one after the other, before it is answered with what it has. */
  fetchLoadsMax: 64,
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
