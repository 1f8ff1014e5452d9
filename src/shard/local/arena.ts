/**
 * The arena: the memory that commits are built in, written from and served from. It is a row of chunks in order of
 * position; the newest is being filled, the older ones are the tail cache. Memory comes chunk by chunk when it is needed
 * and is reused oldest first once `arenaBytes` are in use, so an idle log holds little.
 *
 * A buffer is reused only if all in it is durable (so no write is reading it) and nobody pins it; a pinned one is left
 * to the garbage collector instead, which frees it when its last view goes. A chunk object is never reused: whoever
 * still holds an evicted one has a stale view, but no wrong position.
 */
import type { Position } from '../../core/ids.ts';
import type { Chunk } from '../shard-log.ts';

export class ArenaChunk implements Chunk {
  readonly buffer: Buffer;
  readonly basePosition: Position;
  /** One past the last position that may lie in it; final once the chunk is closed. */
  limitPosition: number;
  /** Views that others hold; at 0 the buffer may be reused after eviction. */
  pinCount = 0;

  constructor(buffer: Buffer, basePosition: number, limitPosition: number) {
    this.buffer = buffer;
    this.basePosition = basePosition as Position;
    this.limitPosition = limitPosition;
  }

  pin(): void {
    this.pinCount++;
  }

  unpin(): void {
    if (this.pinCount === 0) throw new Error('chunk unpinned more often than pinned');
    this.pinCount--;
  }
}

export class Arena {
  readonly #chunkBytes: number;
  readonly #bytesMax: number;
  /** In order of position, without overlap. The last one is being filled. */
  readonly #chunks: ArenaChunk[] = [];
  /** Sum of the buffers of #chunks. */
  #usedBytes = 0;
  /** Evicted last. Its buffer is reused by the next eviction, so that views taken earlier in this turn stay true. */
  #evicted: ArenaChunk | undefined;
  /** Where the last lookup ended; neighbours are usually asked for in a row. */
  #lastHit: ArenaChunk | undefined;

  constructor(chunkBytes: number, bytesMax: number) {
    this.#chunkBytes = chunkBytes;
    this.#bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * Closes the current chunk at `closedPosition` and opens one at `basePosition` that holds at least `bytesMin` and at
   * most up to `limitPosition`.
   */
  next(closedPosition: number, basePosition: number, bytesMin: number, limits: ChunkLimits): ArenaChunk {
    const current = this.#chunks.at(-1);
    if (current !== undefined) current.limitPosition = Math.min(current.limitPosition, closedPosition);
    const buffer = this.#takeBuffer(Math.max(bytesMin, this.#chunkBytes), limits.durablePosition);
    const limit = Math.min(limits.limitPosition, basePosition + buffer.length);
    const chunk = new ArenaChunk(buffer, basePosition, limit);
    this.#chunks.push(chunk);
    this.#usedBytes += buffer.length;
    return chunk;
  }

  /** The chunk that holds this position, if it is still cached. */
  find(position: number): ArenaChunk | undefined {
    const hit = this.#lastHit;
    if (hit !== undefined && position >= hit.basePosition && position < hit.limitPosition) return hit;
    const chunks = this.#chunks;
    let low = 0;
    let high = chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (chunks[middle]!.basePosition <= position) low = middle + 1;
      else high = middle;
    }
    const found = chunks[low - 1];
    if (found === undefined || position >= found.limitPosition) return undefined;
    this.#lastHit = found;
    return found;
  }

  /** A buffer of this size: a new one, or that of a chunk evicted before if the arena is full. */
  #takeBuffer(sizeBytes: number, durablePosition: number): Buffer {
    let reusable: Buffer | undefined;
    if (this.#evicted?.pinCount === 0 && this.#evicted.buffer.length === sizeBytes) reusable = this.#evicted.buffer;
    if (this.#usedBytes + sizeBytes > this.#bytesMax) this.#evicted = undefined;
    else reusable = undefined;
    while (this.#usedBytes + sizeBytes > this.#bytesMax) {
      const oldest = this.#chunks[0];
      if (oldest === undefined || oldest.limitPosition > durablePosition) break;
      this.#chunks.shift();
      this.#usedBytes -= oldest.buffer.length;
      if (this.#lastHit === oldest) this.#lastHit = undefined;
      this.#evicted = oldest;
    }
    return reusable ?? Buffer.allocUnsafeSlow(sizeBytes);
  }
}

export interface ChunkLimits {
  /** The chunk ends here at the latest (end of the file). */
  readonly limitPosition: number;
  /** What is before it may be evicted. */
  readonly durablePosition: number;
}
