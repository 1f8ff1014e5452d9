/**
 * Memory that is used again unless the collector has taken it meanwhile: of what is needed now and then, there is one piece to be
 * collected and not several.
 */
export class ReusedMemory {
  #memory: WeakRef<Buffer> | undefined;

  /** At least so many bytes, with anything in them. Whoever took it before must not use it any more. */
  take(sizeBytes: number): Buffer {
    const last = this.#memory?.deref();
    if (last !== undefined && last.length >= sizeBytes) return last;
    const memory = Buffer.allocUnsafeSlow(sizeBytes);
    this.#memory = new WeakRef(memory);
    return memory;
  }
}
