/**
 * Every bound of the AMQP head, with its unit. What users may set under RabbitMQ's names is in `amqp-settings.ts`;
 * the relations between the two are asserted there.
 */
export const amqpLimits = {
  /** Largest frame before tune-ok, and the smallest frame_max that may be negotiated. */
  initialFrameBytesMax: 8192,
  /** A frame may exceed frame_max by this much, as with RabbitMQ: many clients are off by the size of an empty frame. */
  frameFudgeBytes: 8,
  /** After a refused login or a lost frame boundary the peer may read the error for this long. */
  silentCloseMs: 3000,
  /** How long a peer may take to answer connection.close. */
  closeTimeoutMs: 10_000,
  /** Unacknowledged deliveries of one channel, also without prefetch. */
  unackedPerChannelMax: 262_144,
  consumersPerChannelMax: 8192,
  /** Output of one connection that the kernel has not taken; above it no more deliveries. */
  outputHighBytes: 1024 * 1024,
  /** Deliveries start again below it. */
  outputLowBytes: 256 * 1024,
  /** Replies that a peer does not read; above it the peer is not read either. Far above outputHighBytes, because acks must get through. */
  outputStopBytes: 64 * 1024 * 1024,
  /** One piece of output memory. */
  outputPieceBytes: 64 * 1024,
  /** Free pieces of output memory kept for all connections together. */
  outputPiecesKept: 64,
  /** Output that has piled up in this turn is handed to the socket at this size, without waiting for the turn's end. */
  outputFlushBytes: 256 * 1024,
  /** A frame body this large is given to the socket from where it is stored instead of being copied. */
  referenceBodyBytes: 16 * 1024,
  /** Messages of one socket chunk go into one commit, unless they exceed this. */
  blockBytesMax: 1024 * 1024,
  /** Published bytes of one connection that are not durable yet; above it the connection is not read. */
  undurableBytesMax: 8 * 1024 * 1024,
  /** Publishes of one connection that are held while publishing is blocked; above it the connection is not read. */
  heldPublishBytesMax: 1024 * 1024,
  /** Body bytes of unfinished publishes of one connection, beyond which it is closed. */
  unfinishedBytesMax: 64 * 1024 * 1024,
  /** Largest body size that a content header may announce; what lies above max_message_size is read and dropped. */
  announcedBodyBytesMax: 536_870_912,
  /** Distinct publish targets (exchange, key, flags) remembered per channel. */
  publishTargetsMax: 1024,
  /** Targets with a longer method payload are not remembered. */
  publishTargetBytesMax: 1024,
  /** Content headers up to this size are recognised by comparison with the one before. */
  contentHeaderMemoBytes: 512,
  /** Nesting of field tables and arrays. */
  tableDepthMax: 64,
} as const;
