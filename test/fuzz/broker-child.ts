// The broker that is fuzzed, in a process of its own that can be asked how much memory it holds. Run with --expose-gc.
import { startBroker } from '../../src/server/broker-process.ts';

export interface BrokerMemory {
  /** After a collection: what the broker's own data takes, on the heap and in buffers. */
  readonly heldBytes: number;
  readonly rssBytes: number;
}

export type FromChild =
  | { readonly kind: 'ready'; readonly kafka: string; readonly amqp: string }
  | { readonly kind: 'memory'; readonly memory: BrokerMemory };

const tell = (message: FromChild): void => {
  process.send!(message);
};

const memory = (): BrokerMemory => {
  globalThis.gc!();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heldBytes: heapUsed + external, rssBytes: rss };
};

const broker = await startBroker({
  data: process.argv[2]!,
  settings: { 'kafka.group.initial.rebalance.delay.ms': 0 },
});
process.on('message', () => tell({ kind: 'memory', memory: memory() }));
process.on('disconnect', () => process.exit());
tell({ kind: 'ready', kafka: broker.addresses.kafka[0]!, amqp: broker.addresses.amqp[0]! });
