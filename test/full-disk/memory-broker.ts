// A broker in this process over a disk in memory that runs full: for machines where a test may not mount a file system. The
// files of its write-ahead log are smaller, so that the disk is.
import type { Socket } from 'node:net';
import { amqpForm } from '../../src/protocols/amqp/amqp-form.ts';
import { BrokerSupervisor } from '../../src/server/broker-supervisor.ts';
import { resolveConfig } from '../../src/server/config.ts';
import { createHeads, headSettings, type Protocol, protocols } from '../../src/server/heads.ts';
import { formatHostPort, Listener } from '../../src/server/listener.ts';
import { createLogger } from '../../src/server/logger.ts';
import { MemoryDisk, MemoryStorage } from '../../src/storage/memory-storage.ts';

export interface MemoryBroker extends AsyncDisposable {
  readonly kafka: string;
  readonly amqp: string;
  readonly disk: MemoryDisk;
  /** Opens what is on the disk with another broker, on the same ports. */
  restart(): Promise<void>;
}

export interface MemoryBrokerOptions {
  readonly diskBytes: number;
  readonly walFileBytes: number;
  readonly walFiles: number;
}

export const startMemoryBroker = async (options: MemoryBrokerOptions): Promise<MemoryBroker> => {
  const { diskBytes, walFileBytes, walFiles } = options;
  const disk = new MemoryDisk(diskBytes);
  const config = resolveConfig({ flags: { memory: true, 'kafka.group.initial.rebalance.delay.ms': 0 } });
  const settings = headSettings(config);
  const logger = createLogger('fatal');
  const sockets = new Set<Socket>();
  const cutConnections = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const open = async (): Promise<BrokerSupervisor> => {
    const opened = new BrokerSupervisor({
      broker: {
        storage: new MemoryStorage(disk),
        durability: 'sync',
        walLimits: { walFileBytes, walBytesMax: walFiles * walFileBytes, walReserveBytes: 3 * walFileBytes },
        forms: [amqpForm],
      },
      createHeads: (broker) => createHeads({ broker, protocols: new Set(protocols), settings, logger }),
      logger,
      cutConnections,
      onFatal: (error) => {
        throw error;
      },
    });
    await opened.start();
    return opened;
  };
  let supervisor = await open();
  const end = (): Promise<void> =>
    supervisor.close('the test is over', async (closed) => {
      cutConnections();
      await closed;
    });
  const listen = async (protocol: Protocol): Promise<Listener> => {
    const listener: Listener = await Listener.bind({ host: '127.0.0.1', port: 0 }, (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      supervisor.accept(protocol, socket, listener.address);
    });
    return listener;
  };
  const kafka = await listen('kafka');
  const amqp = await listen('amqp');
  return {
    disk,
    kafka: formatHostPort(kafka.address),
    amqp: `amqp://guest:guest@${formatHostPort(amqp.address)}`,
    restart: async () => {
      await end();
      supervisor = await open();
    },
    [Symbol.asyncDispose]: async () => {
      kafka.close();
      amqp.close();
      await end();
    },
  };
};
