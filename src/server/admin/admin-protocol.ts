/**
 * What a command-line client and the broker say to each other over the socket in the data directory: one JSON document a
 * line. The first line is a request. It is answered by one line, except that
 * - `produce` is followed by lines with records and a last line {"end":true}, then answered;
 * - `backup` is answered by what is to be copied, which stays as it is until the client has said {"end":true}, which is answered
 *   once more, or is gone;
 * - `consume` is answered by lines with records, then by {"end":true}. The client may say {"ack":N} (so many of the records
 *   are dealt with) and {"stop":true}, which is answered by {"end":true} when all acks are durable.
 */
import type { SettingValue } from '../setting.ts';

export type AdminRequest =
  | { readonly op: 'status' }
  | { readonly op: 'backup' }
  | { readonly op: 'topic-list' | 'queue-list' | 'group-list' }
  | { readonly op: 'topic-describe' | 'queue-describe' | 'group-describe'; readonly name: string }
  | {
      readonly op: 'topic-create';
      readonly name: string;
      readonly partitions?: number;
      readonly config?: Readonly<Record<string, string>>;
    }
  | { readonly op: 'topic-delete' | 'group-delete'; readonly name: string }
  | { readonly op: 'group-create'; readonly name: string; readonly topic: string; readonly start?: 'first' | 'next' }
  | {
      readonly op: 'queue-create';
      readonly name: string;
      /** Makes it a subscription on this topic, from its beginning or its end. */
      readonly topic?: string;
      readonly start?: 'first' | 'next';
    }
  | { readonly op: 'queue-delete'; readonly name: string; readonly ifUnused?: boolean; readonly ifEmpty?: boolean }
  | { readonly op: 'produce'; readonly name: string; readonly partition?: number }
  | ConsumeRequest;

export interface ConsumeRequest {
  readonly op: 'consume';
  readonly name: string;
  /** Topics: of all partitions unless one is named. Negative: so many before the end. */
  readonly offset?: 'beginning' | 'end' | number;
  readonly partition?: number;
  /** Most records. */
  readonly count?: number;
  /** End at what is there now instead of waiting for more. */
  readonly exit?: boolean;
  /** Queues: look without taking. */
  readonly peek?: boolean;
}

/** Bytes as base64. */
export interface AdminRecord {
  readonly partition: number;
  readonly offset: number;
  readonly timestampMs: number | null;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: readonly (readonly [name: string, value: string | null])[];
}

export interface ProduceRecord {
  readonly key?: string | null;
  readonly value: string | null;
  readonly headers?: AdminRecord['headers'];
}

export type ProduceLine = ProduceRecord | { readonly end: true };
export type ConsumeControl = { readonly ack: number } | { readonly stop: true };

export interface AdminError {
  readonly kind: string;
  readonly message: string;
}

export type AdminReply = { readonly result: unknown } | { readonly error: AdminError };
export type ConsumeReply = { readonly record: AdminRecord } | { readonly end: true } | { readonly error: AdminError };

export interface BackupResult {
  /** For each shard, its files and how much of each is wanted, in bytes. */
  readonly shards: readonly (readonly { readonly name: string; readonly sizeBytes: number }[])[];
}

export interface StatusResult {
  readonly version: string;
  readonly pid: number;
  readonly host: string;
  readonly startedAt: string;
  readonly state: 'open' | 'opening';
  readonly durability: string;
  readonly kafka: readonly string[];
  readonly amqp: readonly string[];
  readonly hasRoom?: boolean;
  readonly topics?: number;
  readonly queues?: number;
}

export interface TopicSummary {
  readonly name: string;
  readonly partitions: number;
  readonly messages: number;
}

export interface TopicDescription {
  readonly name: string;
  readonly id: string;
  readonly config: Readonly<Record<string, SettingValue>>;
  readonly partitions: readonly {
    readonly partition: number;
    readonly start: number;
    readonly end: number;
  }[];
}

export interface QueueSummary {
  readonly name: string;
  readonly ready: number;
  readonly unacked: number;
  readonly consumers: number;
  /** The topic that it is a subscription on. */
  readonly topic: string | null;
}

export interface QueueDescription extends QueueSummary {
  readonly durable: boolean;
  readonly exclusive: boolean;
  readonly autoDelete: boolean;
  readonly arguments: Readonly<Record<string, string>>;
}

export interface GroupSummary {
  readonly name: string;
  readonly members: number;
  readonly lag: number;
}

export interface GroupDescription {
  readonly name: string;
  readonly protocol: string | null;
  readonly generation: number;
  readonly members: readonly { readonly memberId: string; readonly clientId: string; readonly clientHost: string }[];
  readonly offsets: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
    readonly lag: number | null;
    readonly metadata: string;
  }[];
}
