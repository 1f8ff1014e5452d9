/** Branded numbers: ids and counters that must not be mixed. An id that comes from outside passes an asserting constructor. */

declare const brand: unique symbol;
type Branded<Name extends string> = number & { readonly [brand]: Name };

/** Byte position in one shard's write-ahead log; grows for ever. */
export type Position = Branded<'Position'>;
/** Number of a log, unique in a data directory for ever. */
export type LogId = Branded<'LogId'>;
/** How often a shard has been opened; stamped into batches as Kafka's leader epoch. */
export type Epoch = Branded<'Epoch'>;

const requireInteger = (value: number, what: string): number => {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${what} out of range: ${value}`);
  return value;
};

export const logId = (value: number): LogId => requireInteger(value, 'log id') as LogId;
