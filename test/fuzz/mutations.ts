// Frames of both protocols, and what can go wrong with them on the way.
import type { Dice } from '../model/dice.ts';

/** How a protocol cuts its stream: where in a frame the length of the rest stands, and what else the length leaves out. */
export interface Framing {
  readonly lengthAt: number;
  /** Bytes of a frame that its length does not count. */
  readonly uncountedBytes: number;
  /** Last octet of every frame. */
  readonly endOctet: number | undefined;
}

export const kafkaFraming: Framing = { lengthAt: 0, uncountedBytes: 4, endOctet: undefined };
export const amqpFraming: Framing = { lengthAt: 3, uncountedBytes: 8, endOctet: 0xce };

export const splitFrames = (stream: Buffer, { lengthAt, uncountedBytes }: Framing): Buffer[] => {
  const frames: Buffer[] = [];
  for (let at = 0; at + lengthAt + 4 <= stream.length; ) {
    const end = at + stream.readUInt32BE(at + lengthAt) + uncountedBytes;
    frames.push(stream.subarray(at, end));
    at = end;
  }
  return frames;
};

/** Numbers that code which counts gets wrong. */
const awkwardNumbers = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

const randomBytes = (dice: Dice, lengthBytes: number): Buffer =>
  Buffer.from(Array.from({ length: lengthBytes }, () => dice.below(256)));

const mutations = { flip: 6, number: 4, cut: 2, length: 2, splice: 3, repeat: 1, random: 2 } as const;
const randomBytesMax = 200;

/** Makes the frame pass as one again, so that what is inside is looked at. */
const repair = (frame: Buffer, { lengthAt, uncountedBytes, endOctet }: Framing): Buffer => {
  if (frame.length < uncountedBytes) return frame;
  frame.writeUInt32BE(frame.length - uncountedBytes, lengthAt);
  if (endOctet !== undefined) frame[frame.length - 1] = endOctet;
  return frame;
};

const repairShare = 0.7;

/** A damaged copy of one of the frames. */
export const mutate = (dice: Dice, frame: Buffer, corpus: readonly Buffer[], framing: Framing): Buffer => {
  const copy = Buffer.from(frame);
  const kind = dice.weighted(mutations);
  const repaired = (bytes: Buffer): Buffer => (dice.chance(repairShare) ? repair(bytes, framing) : bytes);
  switch (kind) {
    case 'flip':
      for (let i = dice.between(1, 8); i > 0; i--) copy[dice.below(copy.length)]! ^= 1 << dice.below(8);
      return repaired(copy);
    case 'number': {
      const sizeBytes = dice.pick([1, 2, 4] as const)!;
      if (copy.length < sizeBytes) return copy;
      const value = dice.pick(awkwardNumbers)! % 2 ** (8 * sizeBytes);
      copy.writeUIntBE(value, dice.below(copy.length - sizeBytes + 1), sizeBytes);
      return repaired(copy);
    }
    case 'cut':
      return repaired(copy.subarray(0, dice.below(copy.length)));
    case 'length':
      copy.writeUInt32BE(
        dice.chance(0.5) ? dice.pick(awkwardNumbers)! : Math.max(0, copy.length + dice.between(-20, 20)),
        framing.lengthAt,
      );
      return copy;
    case 'splice': {
      const other = dice.pick(corpus)!;
      const head = copy.subarray(0, dice.below(copy.length + 1));
      return repaired(Buffer.concat([head, other.subarray(dice.below(other.length + 1))]));
    }
    case 'repeat':
      return Buffer.concat([copy, copy]);
    case 'random':
      return repaired(randomBytes(dice, dice.between(1, randomBytesMax)));
  }
};
