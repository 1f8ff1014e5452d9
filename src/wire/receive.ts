/**
 * Reading from sockets without a new piece of memory for each read. Node takes 64 KiB for every read of a socket and leaves
 * them to the garbage collector, which then runs all the time under load. Here all sockets of the process read into one
 * buffer: whoever needs bytes after the call copies them.
 *
 * Node offers this (`onread`) only for sockets that connect, so for accepted ones it is set by hand, in the same fields.
 * Where they are not as expected, and for streams that are not plain sockets, the bytes come by 'data' events as usual.
 */
import type { Socket } from 'node:net';

const receiveBytes = 64 * 1024;

let shared: Buffer | undefined;

interface SocketInternals {
  _handle?: { useUserBuffer?: (buffer: Buffer) => void };
  [field: symbol]: unknown;
}

/** Calls back with what arrives. The chunk's memory is valid during the call only. Stop and go on with pause() and resume(). */
export const receive = (socket: Socket, onChunk: (chunk: Buffer) => void): void => {
  const internals = socket as unknown as SocketInternals;
  const fields = Object.getOwnPropertySymbols(socket);
  const buffer = fields.find(({ description }) => description === 'kBuffer');
  const callback = fields.find(({ description }) => description === 'kBufferCb');
  const handle = internals._handle;
  if (buffer === undefined || callback === undefined || handle?.useUserBuffer === undefined) {
    socket.on('data', onChunk);
    return;
  }
  const memory = (shared ??= Buffer.allocUnsafeSlow(receiveBytes));
  internals[buffer] = memory;
  internals[callback] = (bytes: number): boolean => {
    onChunk(memory.subarray(0, bytes));
    if (bytes < receiveBytes) return true;
    // More is waiting, and libuv would read on, up to 32 times: the other sockets get their turn first.
    setImmediate(() => {
      if (!socket.destroyed && !socket.isPaused()) socket.resume();
    });
    return false;
  };
  handle.useUserBuffer(memory);
};
