// What happened, in order: a hash of all of it, which two runs of one seed have in common, and the last lines.
const keptLines = 80;

export class Trace {
  #hash = 0x811c9dc5;
  #count = 0;
  readonly #lines: string[] = [];

  note(line: string): void {
    let hash = this.#hash;
    for (let i = 0; i < line.length; i++) hash = Math.imul(hash ^ line.charCodeAt(i), 0x01000193);
    this.#hash = Math.imul(hash ^ 10, 0x01000193);
    this.#lines[this.#count++ % keptLines] = line;
  }

  get hash(): number {
    return this.#hash;
  }

  /** The last lines, oldest first. */
  get tail(): string {
    const first = this.#count % keptLines;
    return [...this.#lines.slice(first), ...this.#lines.slice(0, first)].slice(-this.#count).join('\n');
  }
}
