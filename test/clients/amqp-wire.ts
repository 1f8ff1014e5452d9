// What the handshake tests need below any client: a proxy that counts frames and can go deaf, and a bare socket.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { waitFor } from './conditions.ts';

export const frameTypes = { method: 1, header: 2, body: 3, heartbeat: 8 } as const;

export interface FrameCount {
  readonly types: number[];
  /** The largest whole frame, its 8 bytes of frame around the payload included. */
  readonly largestBytes: () => number;
}

/** Splits a stream into frames by their headers, without keeping the payloads. */
class FrameCounter implements FrameCount {
  readonly types: number[] = [];
  #largestBytes = 0;
  #header = Buffer.alloc(0);
  #payloadLeft = 0;

  largestBytes(): number {
    return this.#largestBytes;
  }

  take(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#payloadLeft > 0) {
        const skipped = Math.min(this.#payloadLeft, rest.length);
        this.#payloadLeft -= skipped;
        rest = rest.subarray(skipped);
        continue;
      }
      const wanted = 7 - this.#header.length;
      this.#header = Buffer.concat([this.#header, rest.subarray(0, wanted)]);
      rest = rest.subarray(wanted);
      if (this.#header.length < 7) return;
      const sizeBytes = this.#header.readUInt32BE(3);
      this.types.push(this.#header.readUInt8(0));
      this.#largestBytes = Math.max(this.#largestBytes, sizeBytes + 8);
      this.#payloadLeft = sizeBytes + 1;
      this.#header = Buffer.alloc(0);
    }
  }
}

export interface FrameProxy {
  readonly port: number;
  readonly fromServer: FrameCount;
  /** From now on nothing of what the client sends reaches the server. */
  readonly silenceClient: () => void;
  /** Resolves when the server ends or resets the connection. */
  readonly serverClosed: Promise<void>;
  readonly close: () => Promise<void>;
}

/** A proxy for one connection to the AMQP server at `url`. */
export const startFrameProxy = async (url: string): Promise<FrameProxy> => {
  const { hostname, port } = new URL(url);
  const fromServer = new FrameCounter();
  const sockets: Socket[] = [];
  let silenced = false;
  let serverClosed = (): void => {};
  const closed = new Promise<void>((resolve) => {
    serverClosed = resolve;
  });
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    sockets.push(client, upstream);
    client.on('data', (chunk) => {
      if (!silenced) upstream.write(chunk);
    });
    upstream.on('data', (chunk: Buffer) => {
      fromServer.take(chunk);
      client.write(chunk);
    });
    client.on('error', () => {});
    upstream.on('error', () => {});
    client.on('close', () => upstream.destroy());
    for (const event of ['end', 'close']) {
      upstream.on(event, () => {
        serverClosed();
        client.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    fromServer,
    silenceClient: () => {
      silenced = true;
    },
    serverClosed: closed,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
};

/** Sends the bytes on a fresh connection and gives all the server says until it closes, by TCP or by connection.close. */
export const exchangeBytes = async (url: string, bytes: Buffer): Promise<Buffer> => {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const chunks: Buffer[] = [];
  let closed = false;
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => {});
  socket.on('close', () => {
    closed = true;
  });
  socket.write(bytes);
  try {
    await waitFor('the server to close', () => closed || connectionClose(Buffer.concat(chunks)) !== undefined);
  } finally {
    socket.destroy();
  }
  return Buffer.concat(chunks);
};

const frame = (classId: number, methodId: number, ...args: Buffer[]): Buffer => {
  const payload = Buffer.concat([Buffer.from([0, classId, 0, methodId]), ...args]);
  const head = Buffer.alloc(7);
  head.writeUInt8(frameTypes.method, 0);
  head.writeUInt32BE(payload.length, 3);
  return Buffer.concat([head, payload, Buffer.from([0xce])]);
};

const shortString = (text: string): Buffer => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);

const longString = (text: string): Buffer => {
  const bytes = Buffer.alloc(4 + text.length);
  bytes.writeUInt32BE(text.length, 0);
  bytes.write(text, 4, 'latin1');
  return bytes;
};

/** Everything a client says until its connection is open (protocol header, start-ok, tune-ok, open), at once. */
export const clientHandshake = (options: { vhost?: string; frameMax?: number }): Buffer => {
  const tune = Buffer.alloc(8);
  tune.writeUInt16BE(2047, 0);
  tune.writeUInt32BE(options.frameMax ?? 131_072, 2);
  const noProperties = Buffer.alloc(4);
  return Buffer.concat([
    Buffer.from('AMQP\x00\x00\x09\x01', 'latin1'),
    frame(10, 11, noProperties, shortString('PLAIN'), longString('\0guest\0guest'), shortString('en_US')),
    frame(10, 31, tune),
    frame(10, 40, shortString(options.vhost ?? '/'), shortString(''), Buffer.from([0])),
  ]);
};

/** The reply code and text of the connection.close (10, 50) among the frames, if there is one. */
export const connectionClose = (answer: Buffer): { code: number; text: string } | undefined => {
  for (let position = 0; position + 14 <= answer.length; position += answer.readUInt32BE(position + 3) + 8) {
    if (answer.readUInt32BE(position + 7) !== 0x000a_0032) continue;
    const textAt = position + 14;
    const text = answer.toString('utf8', textAt, textAt + answer.readUInt8(position + 13));
    return { code: answer.readUInt16BE(position + 11), text };
  }
  return undefined;
};
