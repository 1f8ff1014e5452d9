/** Lines to standard output: gathered into larger writes, no faster than they are read, and quiet when nobody reads any more. */
import { once } from 'node:events';
import type { Writable } from 'node:stream';

const gatheredCharactersMax = 64 * 1024;

export class LineOutput {
  readonly #output: Writable;
  #gathered: string[] = [];
  #gatheredCharacters = 0;
  #error: NodeJS.ErrnoException | undefined;

  constructor(output: Writable) {
    this.#output = output;
    output.on('error', (error) => {
      this.#error ??= error;
    });
  }

  /** The reader has left, as after `| head`: further lines go nowhere. */
  get isClosed(): boolean {
    return this.#error?.code === 'EPIPE' || this.#output.destroyed;
  }

  /** Resolves when there is room for more. Rejects with the error of the output, unless nobody reads any more. */
  async write(line: string): Promise<void> {
    this.#gathered.push(line, '\n');
    this.#gatheredCharacters += line.length + 1;
    if (this.#gatheredCharacters >= gatheredCharactersMax) await this.flush();
  }

  /** Writes what was gathered. Rejects as write() does. */
  async flush(): Promise<void> {
    const text = this.#gathered.join('');
    this.#gathered = [];
    this.#gatheredCharacters = 0;
    if (text !== '' && !this.isClosed && !this.#output.write(text)) await once(this.#output, 'drain').catch(() => {});
    if (this.#error !== undefined && !this.isClosed) throw this.#error;
  }
}
