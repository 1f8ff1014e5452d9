/** Pieces of a checkpoint as their owners write and read them: numbers, little-endian, and texts. */

/** A piece is handed over when it has so many bytes, or when its slice is over. */
export const pieceBytes = 24 * 1024;

const initialBytes = 4 * 1024;

/** Grows as needed. What take() hands out stays as it is until the next take(), whatever is written meanwhile. */
export class PieceWriter {
  #buffer = Buffer.allocUnsafeSlow(initialBytes);
  #other = Buffer.allocUnsafeSlow(initialBytes);
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  u32(value: number): void {
    const at = this.#reserve(4);
    this.#buffer.writeUInt32LE(value, at);
  }

  f64(value: number): void {
    const at = this.#reserve(8);
    this.#buffer.writeDoubleLE(value, at);
  }

  /** A whole number up to 2^53, in a byte for each 7 bits of it. */
  count(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.#byte((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.#byte(rest);
  }

  /** As count(), but with a sign: up to 2^52. */
  difference(value: number): void {
    this.count(value < 0 ? -2 * value - 1 : 2 * value);
  }

  /** UTF-8. */
  text(value: string): void {
    const at = this.#reserve(Buffer.byteLength(value));
    this.#buffer.write(value, at);
  }

  bytes(value: Buffer): void {
    const at = this.#reserve(value.length);
    value.copy(this.#buffer, at);
  }

  /** Puts a number in a place that was written before. */
  setU32(at: number, value: number): void {
    this.#buffer.writeUInt32LE(value, at);
  }

  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#sizeBytes);
    [this.#buffer, this.#other] = [this.#other, this.#buffer];
    this.#sizeBytes = 0;
    return taken;
  }

  /** Forgets what was written, and gives the memory back. */
  clear(): void {
    this.#buffer = Buffer.allocUnsafeSlow(initialBytes);
    this.#other = Buffer.allocUnsafeSlow(initialBytes);
    this.#sizeBytes = 0;
  }

  #byte(value: number): void {
    const at = this.#reserve(1);
    this.#buffer[at] = value;
  }

  #reserve(lengthBytes: number): number {
    const at = this.#sizeBytes;
    this.#sizeBytes += lengthBytes;
    if (this.#sizeBytes > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(this.#sizeBytes, this.#buffer.length * 2));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    return at;
  }
}

export class PieceReader {
  readonly #buffer: Buffer;
  at: number;

  constructor(buffer: Buffer, at: number) {
    this.#buffer = buffer;
    this.at = at;
  }

  get isAtEnd(): boolean {
    return this.at >= this.#buffer.length;
  }

  u32(): number {
    const value = this.#buffer.readUInt32LE(this.at);
    this.at += 4;
    return value;
  }

  f64(): number {
    const value = this.#buffer.readDoubleLE(this.at);
    this.at += 8;
    return value;
  }

  count(): number {
    let value = 0;
    for (let unit = 1; ; unit *= 0x80) {
      const byte = this.#buffer[this.at++]!;
      if (byte < 0x80) return value + byte * unit;
      value += (byte - 0x80) * unit;
    }
  }

  difference(): number {
    const value = this.count();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** A view. */
  bytes(lengthBytes: number): Buffer {
    const value = this.#buffer.subarray(this.at, this.at + lengthBytes);
    this.at += lengthBytes;
    return value;
  }
}
