// Connections that start like a client's and go on with damaged frames.
import { connect, type Socket } from 'node:net';
import { batchHeaderBytes, sealBatch } from '../../src/log/batch-header.ts';
import { encodeRequest, makeBatch } from '../../src/protocols/kafka/in-process-kafka.ts';
import type { Dice } from '../model/dice.ts';
import { amqpFraming, kafkaFraming, mutate } from './mutations.ts';
import { fuzzedTopic, type RecordedAmqp } from './recorded-sessions.ts';

/** What one connection sends. */
export interface Attack {
  readonly frames: readonly Buffer[];
  /** How many of the frames are damaged or made up. */
  readonly damagedCount: number;
}

/** Frames of one connection behind its opening. Few are damaged: what comes after the first fatal one is not looked at. */
const framesMax = 12;
const damagedShare = 0.4;
const damagedOpeningShare = 0.05;

/** A stretch of the recorded frames with some of them damaged. */
const damagedStretch = (
  dice: Dice,
  frames: readonly Buffer[],
  damage: (frame: Buffer) => Buffer,
): { frames: Buffer[]; damagedCount: number } => {
  let damagedCount = 0;
  const start = dice.below(frames.length);
  const stretch = Array.from({ length: dice.between(4, framesMax) }, (_, index) => {
    const frame = frames[(start + index) % frames.length]!;
    if (!dice.chance(damagedShare)) return frame;
    damagedCount++;
    return damage(frame);
  });
  return { frames: stretch, damagedCount };
};

export const amqpAttack = (dice: Dice, { opening, frames }: RecordedAmqp): Attack => {
  const damage = (frame: Buffer): Buffer => mutate(dice, frame, frames, amqpFraming);
  const stretch = damagedStretch(dice, frames, damage);
  if (!dice.chance(damagedOpeningShare)) return { ...stretch, frames: [...opening, ...stretch.frames] };
  const at = dice.below(opening.length);
  const damagedOpening = opening.map((frame, index) => (index === at ? damage(frame) : frame));
  return { frames: [...damagedOpening, ...stretch.frames], damagedCount: stretch.damagedCount + 1 };
};

const damagedBatchShare = 0.15;
const attributesAt = 21;

/** A batch with the right checksum over wrong contents: it is stored, and its readers have to cope. */
const produceDamagedBatch = (dice: Dice): Buffer => {
  const batch = makeBatch({ values: Array.from({ length: dice.between(1, 5) }, (_, index) => `value ${index}`) });
  const from = dice.chance(0.5) ? attributesAt : batchHeaderBytes;
  for (let i = dice.between(1, 4); i > 0; i--) batch[from + dice.below(batch.length - from)] = dice.below(256);
  sealBatch(batch, 0);
  const partitionData = [{ index: dice.below(2), records: batch }];
  const topicData = [{ name: fuzzedTopic, topicId: '', partitionData }];
  return encodeRequest('Produce', 9, 1, { acks: -1, timeoutMs: 1000, topicData });
};

export const kafkaAttack = (dice: Dice, frames: readonly Buffer[]): Attack =>
  damagedStretch(dice, frames, (frame) =>
    dice.chance(damagedBatchShare) ? produceDamagedBatch(dice) : mutate(dice, frame, frames, kafkaFraming),
  );

const chunkBytesMax = 2000;
/** A peer that is waited for: some attacks leave the broker waiting for the rest of a frame. */
const patienceMs = 15;

/** Whether the broker ends the connection or resets it. */
const untilClosed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.destroyed) resolve();
    else socket.once('close', () => resolve());
  });

/** Sends the attack, in chunks that cut frames anywhere, and leaves in one way or another. */
export const perform = async (dice: Dice, address: string, { frames }: Attack): Promise<void> => {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host!);
  socket.on('error', () => {});
  socket.resume();
  await Promise.race([new Promise<void>((resolve) => socket.once('connect', resolve)), untilClosed(socket)]);
  const bytes = Buffer.concat(frames);
  for (let at = 0; at < bytes.length && !socket.destroyed; ) {
    const end = Math.min(bytes.length, at + dice.between(1, chunkBytesMax));
    await new Promise((resolve) => socket.write(bytes.subarray(at, end), resolve));
    at = end;
  }
  if (socket.destroyed) return;
  const patience = setTimeout(() => socket.resetAndDestroy(), dice.below(patienceMs));
  if (dice.chance(0.5)) socket.end();
  await untilClosed(socket);
  clearTimeout(patience);
};
