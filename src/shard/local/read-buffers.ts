/**
 * Memory for what is read back from files, used again: buffers of a megabyte that come and go make the collector run over the
 * whole heap every few dozen of them, which costs a reader far behind more than the reading.
 */
import { freeReadBytesMax } from './wal-limits.ts';

const unitBytes = 64 * 1024;

export class ReadBuffers {
  readonly #free: Buffer[] = [];
  #freeBytes = 0;

  /** At least so many bytes, with anything in them. */
  take(sizeBytes: number): Buffer {
    const index = this.#free.findIndex(
      ({ length }) => length >= sizeBytes && length <= 2 * Math.max(sizeBytes, unitBytes),
    );
    if (index < 0) return Buffer.allocUnsafeSlow(Math.ceil(sizeBytes / unitBytes) * unitBytes);
    const [buffer] = this.#free.splice(index, 1);
    this.#freeBytes -= buffer!.length;
    return buffer!;
  }

  /** Nobody looks at it any more. */
  giveBack(buffer: Buffer): void {
    if (this.#freeBytes + buffer.length > freeReadBytesMax) return;
    this.#free.push(buffer);
    this.#freeBytes += buffer.length;
  }
}
