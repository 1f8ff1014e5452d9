// Idempotent producers of two client libraries, compressing and not. They live through crashes of the broker and send
// again what was not answered, as their libraries do; what is acknowledged is noted in a ledger.
import { type CompressionAlgorithmValue, Producer } from '@platformatic/kafka';
import { CompressionTypes } from 'kafkajs';
import { KafkajsSession } from '../clients/kafkajs-session.ts';
import type { Dice } from '../model/dice.ts';
import type { KafkaLedger } from './kafka-ledger.ts';

interface Message {
  readonly partition: number;
  readonly value: string;
}

/** Where the first message of a request went, for each partition that it has messages for. */
interface Written {
  readonly partition: number;
  readonly baseOffset: number;
}

interface IdempotentProducer {
  /** One request. Rejects when the client has given up, what it knows of sequence numbers is in doubt then. */
  send(topic: string, messages: readonly Message[]): Promise<readonly Written[]>;
  close(): Promise<void>;
}

type MakeProducer = () => Promise<IdempotentProducer>;

const requestRecordsMax = 100;
const bodyBytesMax = 800;

const kafkajsProducer =
  (session: KafkajsSession, compression: CompressionTypes): MakeProducer =>
  async () => {
    const producer = await session.producer({ idempotent: true, maxInFlightRequests: 1 });
    return {
      send: async (topic, messages) => {
        // kafkajs throws what carries an error code.
        const answers = await producer.send({ topic, acks: -1, compression, messages: [...messages] });
        return answers.map(({ partition, baseOffset }) => ({ partition, baseOffset: Number(baseOffset) }));
      },
      // The session closes it.
      close: async () => {},
    };
  };

const platformaticProducer =
  (address: string, compression: CompressionAlgorithmValue): MakeProducer =>
  async () => {
    const producer = new Producer({
      clientId: 'loss-checker',
      bootstrapBrokers: [address],
      idempotent: true,
      // Its default is to go on for ever, even when it is closed.
      retries: 200,
      retryDelay: 100,
    });
    return {
      send: async (topic, messages) => {
        const { offsets } = await producer.send({
          compression,
          messages: messages.map(({ partition, value }) => ({ topic, partition, value: Buffer.from(value) })),
        });
        return offsets!.map(({ partition, offset }) => ({ partition, baseOffset: Number(offset) }));
      },
      close: async () => {
        await producer.close(true);
      },
    };
  };

export interface Sending {
  readonly topic: string;
  readonly partitionCount: number;
  readonly ledger: KafkaLedger;
  readonly isStopped: () => boolean;
}

/** One producer; a send that failed for good leaves it behind. */
class Sender {
  static #lastName = 0;
  readonly #make: MakeProducer;
  readonly #dice: Dice;
  #producer: IdempotentProducer | undefined;
  #name = '';
  #sent = 0;
  #isClosed = false;

  constructor(make: MakeProducer, dice: Dice) {
    this.#make = make;
    this.#dice = dice;
  }

  /** One request at a time until it is stopped, but at least one that is answered. */
  async run(sending: Sending): Promise<void> {
    for (let answered = 0; !this.#isClosed && (answered === 0 || !sending.isStopped()); ) {
      if (this.#producer === undefined) {
        this.#producer = await this.#make();
        this.#name = `p${++Sender.#lastName}`;
        this.#sent = 0;
      }
      try {
        await this.#send(this.#producer, sending);
        answered++;
      } catch {
        await this.#leaveProducer();
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#leaveProducer();
  }

  async #leaveProducer(): Promise<void> {
    const producer = this.#producer;
    this.#producer = undefined;
    await producer?.close();
  }

  async #send(producer: IdempotentProducer, { topic, partitionCount, ledger }: Sending): Promise<void> {
    const identities = Array.from({ length: partitionCount }, (): string[] => []);
    const messages = Array.from({ length: this.#dice.between(1, requestRecordsMax) }, () => {
      const partition = this.#dice.below(partitionCount);
      const identity = `${this.#name}/${this.#sent++}`;
      identities[partition]!.push(identity);
      return { partition, value: `${identity} ${'x'.repeat(this.#dice.below(bodyBytesMax))}` };
    });
    for (const { partition, baseOffset } of await producer.send(topic, messages)) {
      for (const [index, identity] of identities[partition]!.entries()) {
        ledger.acknowledge({ partition, offset: baseOffset + index, identity });
      }
    }
  }
}

/** A sender for each library, with compression and without. */
export class Senders implements AsyncDisposable {
  readonly #session: KafkajsSession;
  readonly #senders: readonly Sender[];

  constructor(address: string, dice: Dice) {
    this.#session = new KafkajsSession(address);
    this.#senders = [
      kafkajsProducer(this.#session, CompressionTypes.None),
      kafkajsProducer(this.#session, CompressionTypes.GZIP),
      platformaticProducer(address, 'none'),
      platformaticProducer(address, 'gzip'),
    ].map((make) => new Sender(make, dice));
  }

  /** Resolves when all are stopped and their last requests answered. */
  async run(sending: Sending): Promise<void> {
    await Promise.all(this.#senders.map((sender) => sender.run(sending)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#senders.map((sender) => sender.close()));
    await this.#session[Symbol.asyncDispose]();
  }
}
