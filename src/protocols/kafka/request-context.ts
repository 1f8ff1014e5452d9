/** What a handler gets beside the request: who asks, by which version, and what it works on. */
import type { Broker } from '../../broker/broker.ts';
import type { GroupCoordinator } from '../../broker/groups/group-coordinator.ts';
import type { KafkaSettings } from './kafka-settings.ts';
import type { TopicDirectory } from './topic-directory.ts';

export interface Advertised {
  readonly host: string;
  readonly port: number;
}

/** One broker as the Kafka head works on it. */
export interface KafkaServices {
  readonly broker: Broker;
  readonly topics: TopicDirectory;
  readonly groups: GroupCoordinator;
  readonly settings: KafkaSettings;
}

export interface RequestContext extends KafkaServices {
  readonly version: number;
  readonly clientId: string;
  /** As Kafka shows it in group descriptions, such as /127.0.0.1. */
  readonly clientHost: string;
  /** Address of this node for this client. */
  readonly advertised: Advertised;
  /** The connection is closed: nobody waits for the answer. */
  readonly isGone: () => boolean;
  /** For handlers that answer later: what would have been thrown at once. The connection ends. */
  readonly fail: (error: unknown) => void;
}
