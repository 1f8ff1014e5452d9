/**
 * The longest turns of the event loop while a file of the log is folded and nothing else is asked of the broker, without any socket.
 *
 *   node --import tsx bench/engine/fold-turns.ts [queues]
 *
 * Messages of 100 bytes come alone, one commit for each, to so many queues (default 10) in turn, until the log has so many entries
 * that it folds.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openBroker } from '../../src/broker/broker.ts';
import type { Log } from '../../src/log/log.ts';
import { DiskStorage } from '../../src/storage/disk-storage.ts';

const queueCount = Number(process.argv[2] ?? 10);
const form = 200;
const body = Buffer.alloc(100, 'x');
const commitsAtOnce = 2000;
const shownTurns = 5;
/** Of which a fold takes the last after it has brought the log below its bound. */
const lastTurns = 1000;

const directory = mkdtempSync(join(tmpdir(), 'rosettamq-fold-turns-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const broker = await openBroker({ storage: await DiskStorage.at(directory), durability: 'os' });
const { log: shardLog } = broker.shards[0]!;

const logs: Log[] = [];
const properties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map() };
while (logs.length < queueCount) {
  logs.push(broker.vhost('/')!.declareQueue(`queue-${logs.length}`, properties, undefined).log!);
  if (logs.length % 1000 === 0) await broker.gate.durableNow();
}

const publish = (log: Log): void => {
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(form, broker.clock.now());
  builder.beginMessage();
  builder.piece(body, 0, body.length);
  builder.deliver(log, builder.endMessage(), false);
  builder.commit();
};

let published = 0;
const isFolding = (): boolean => logs[0]!.store.wantsFold;
while (!isFolding()) {
  for (let i = 0; i < commitsAtOnce; i++) publish(logs[published++ % queueCount]!);
  await broker.gate.durableNow();
}
const turnsMs: number[] = [];
let last = performance.now();
for (let left = lastTurns; isFolding() || left > 0; left -= isFolding() ? 0 : 1) {
  await new Promise((resolve) => setImmediate(resolve));
  const now = performance.now();
  turnsMs.push(now - last);
  last = now;
}
turnsMs.sort((a, b) => b - a);
const shown = turnsMs.slice(0, shownTurns).map((ms) => ms.toFixed(1));
console.log(`${published} messages in ${queueCount} queues, ${shardLog.liveSegments.length} segments`);
console.log(`${turnsMs.length} turns, the longest: ${shown.join(', ')} ms`);
await broker.close();
