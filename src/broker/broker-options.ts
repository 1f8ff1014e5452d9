/** What a broker is opened with, and what it tells its owner. */
import type { Clock } from '../core/clock.ts';
import type { BrokerError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { LogStoreLimits } from '../log/log-store.ts';
import type { BackupFile } from '../shard/local/log-backup.ts';
import type { WalLimits } from '../shard/local/wal-limits.ts';
import type { Durability, OpenProgress } from '../shard/shard-log.ts';
import type { Storage } from '../storage/storage.ts';
import type { MessageForm } from './message.ts';
import type { RetentionPolicy } from './retention.ts';
import type { Topic } from './topic.ts';

/** A batch that no reader but its own protocol's can make sense of: [baseOffset, endOffset) of a partition. */
export interface UnreadableBatch {
  readonly topic: string;
  readonly partition: number;
  readonly baseOffset: number;
  readonly endOffset: number;
}

/** `error` names the file and the byte; it is 'storage-failed' if what is there is read later. */
export interface Damage {
  readonly topic: string;
  readonly partition: number;
  readonly error: BrokerError;
}

/** How far the opening of a shard has come. */
export interface StartProgress extends OpenProgress {
  readonly shard: number;
  /** Topics and queues found so far. */
  readonly topics: number;
}

export interface BrokerOptions {
  /** Where everything is kept. */
  readonly storage: Storage;
  readonly durability: Durability;
  readonly shardCount?: number;
  /** Most bytes of each shard's write-ahead log. */
  readonly walBytesMax?: number;
  /** Other bounds of the write-ahead logs than the process's own; tests make files so small that they roll. */
  readonly walLimits?: Partial<WalLimits>;
  /** Instead of those in `limits`; for tests. */
  readonly storeLimits?: Partial<LogStoreLimits>;
  /** Entities that one slice of a checkpoint looks at, if not as many as is good; tests make it so small that there are slices. */
  readonly sliceEntities?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  /** How the heads' stored messages are read by other heads. */
  readonly forms?: readonly MessageForm[];
  readonly users?: ReadonlyMap<string, string>;
  readonly loopbackUsers?: ReadonlySet<string>;
  /**
   * Storage failed: nothing that was not told as durable may be told any more. The owner closes all connections, disposes
   * this broker and opens a new one from what is durable.
   */
  readonly onFailed?: (error: Error) => void;
  /** What is to stay could not be moved out of the write-ahead log; it is tried again. */
  readonly onFoldFailed?: (error: Error) => void;
  /** A segment of which little is wanted could not be written anew. If it is damaged it is left alone, else it is tried again. */
  readonly onRewriteFailed?: (error: Error) => void;
  /** How long and how much topics keep, and how often they and queues with replay are looked at; everything stays if absent. */
  readonly retention?: { readonly policyOf: (topic: Topic) => RetentionPolicy; readonly checkIntervalMs: number };
  /** A reader of another protocol has passed over a batch that its producer damaged. */
  readonly onUnreadable?: (batch: UnreadableBatch) => void;
  /** Open over damage, with what is left: what is lost is told in one line each. Without it damage is an error. */
  readonly onLoss?: ((what: string) => void) | undefined;
  /** Opening goes on: called often. */
  readonly onProgress?: (progress: StartProgress) => void;
  /** Stored bytes are damaged or cannot be read: told once for each place. What needs them gets an error, everything else goes on. */
  readonly onDamaged?: (damage: Damage) => void;
}

/** What is to be copied for a backup: for each shard, its files. Until release() they stay as they are. */
export interface BrokerBackup {
  readonly shards: readonly (readonly BackupFile[])[];
  release(): Promise<void>;
}

export interface CreateTopicOptions {
  readonly vhost: string;
  readonly name: string;
  readonly partitions: number;
  readonly config: ReadonlyMap<string, string>;
}
