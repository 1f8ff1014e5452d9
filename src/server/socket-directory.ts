/**
 * Addresses of Unix sockets in a directory. The kernel takes about a hundred bytes, and data directories may be deep. On
 * Linux a deep one is reached through the descriptor of the directory; elsewhere it is refused.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { BrokerError } from '../core/errors.ts';

/** sockaddr_un holds 108 bytes on Linux, 104 on macOS and BSD, the final zero included. */
const addressBytesMax = 103;
const longestNameBytes = 32;

export class SocketDirectory {
  readonly path: string;
  readonly #handle: FileHandle | undefined;

  private constructor(path: string, handle: FileHandle | undefined) {
    this.path = path;
    this.#handle = handle;
  }

  /** @throws BrokerError 'unsupported' */
  static async open(path: string): Promise<SocketDirectory> {
    if (Buffer.byteLength(path) + 1 + longestNameBytes <= addressBytesMax) return new SocketDirectory(path, undefined);
    if (process.platform !== 'linux') {
      const bytesMax = addressBytesMax - longestNameBytes - 1;
      throw new BrokerError(
        'unsupported',
        `the path of the data directory is too long (${bytesMax} bytes at most): ${path}`,
      );
    }
    return new SocketDirectory(path, await open(path, 'r'));
  }

  /** To listen on or to connect to; valid until close(). */
  addressOf(name: string): string {
    return this.#handle === undefined ? join(this.path, name) : `/proc/self/fd/${this.#handle.fd}/${name}`;
  }

  async close(): Promise<void> {
    await this.#handle?.close();
  }
}
