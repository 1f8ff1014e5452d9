/** JSON documents, one a line, over a socket. Reading stops while the reader is busy, writing waits for the peer. */
import type { Socket } from 'node:net';

/** Longest line: a message of the largest size in base64, and its headers. */
const lineBytesMax = 64 * 1024 * 1024;

/** Ends with the connection. @throws when a line is too long or no JSON */
export async function* readJsonLines(socket: Socket): AsyncGenerator<unknown> {
  let parts: Buffer[] = [];
  let partsBytes = 0;
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      parts.push(chunk.subarray(start, end));
      const line = Buffer.concat(parts).toString();
      parts = [];
      partsBytes = 0;
      start = end + 1;
      if (line.trim() !== '') yield JSON.parse(line);
    }
    if (start === chunk.length) continue;
    parts.push(chunk.subarray(start));
    partsBytes += chunk.length - start;
    if (partsBytes > lineBytesMax) throw new Error(`a line of more than ${lineBytesMax} bytes`);
  }
}

/** False: wait for drained() before the next. */
export const writeJsonLine = (socket: Socket, document: unknown): boolean =>
  socket.write(`${JSON.stringify(document)}\n`);

/** Resolves when the socket takes more, or is gone. */
export const drained = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.destroyed || !socket.writableNeedDrain) {
      resolve();
      return;
    }
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.on('drain', done);
    socket.on('close', done);
  });
