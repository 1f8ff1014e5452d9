/**
 * The end of one connection: connection.close goes one way and close-ok the other, what is still to be said leaves, and the
 * socket is closed. A peer that does not play its part is dropped when its time is up.
 */
import type { Socket } from 'node:net';
import type { AmqpError } from './amqp-errors.ts';
import { amqpLimits } from './amqp-limits.ts';
import type { Connection } from './connection.ts';
import { methodCodes } from './generated/methods.ts';

export class ClosingHandshake {
  readonly #connection: Connection;
  readonly #socket: Socket;
  /** Drops the connection; set before it is open, and from the first word of its end. */
  #timer: { cancel(): void } | undefined;

  constructor(connection: Connection, socket: Socket) {
    this.#connection = connection;
    this.#socket = socket;
  }

  /** Tells the client why and awaits its close-ok. `method`: class and method that caused the error. */
  close(error: AmqpError, method: number): void {
    this.#sendClose(error, method);
    this.dropAfter(error.fatalFraming ? amqpLimits.silentCloseMs : amqpLimits.closeTimeoutMs);
    this.#connection.input.awaitCloseOk();
  }

  /** Clients that cannot take the error wait for the end of the connection, and not for nothing. */
  refuseLogin(error: AmqpError, method: number): void {
    if (this.#connection.client.authenticationFailureClose) this.#sendClose(error, method);
    this.dropAfter(amqpLimits.silentCloseMs);
  }

  /** Answers connection.close. */
  closeOk(): void {
    this.#connection.reply(0, { method: 'connection.close-ok' });
    this.dropAfter(amqpLimits.closeTimeoutMs);
    this.#endAfterReplies();
  }

  /** A method on channel 0 after close() or closeOk(), by its class and method; most are of no interest any more. */
  take(code: number): void {
    if (code === methodCodes['connection.close']) this.#connection.reply(0, { method: 'connection.close-ok' });
    if (code === methodCodes['connection.close'] || code === methodCodes['connection.close-ok'])
      this.#endAfterReplies();
  }

  /** All is said and heard: the rest is written and the socket closed. */
  end(): void {
    this.#connection.input.discard();
    this.#connection.output.flush();
    this.#socket.end();
    this.dropAfter(amqpLimits.silentCloseMs);
  }

  /** Drops the connection after this time, whatever happens, unless another time is set. */
  dropAfter(delayMs: number, onDrop?: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#connection.broker.clock.after(delayMs, () => {
      onDrop?.();
      this.#socket.destroy();
    });
  }

  /** There is no hurry, or nothing left to drop. */
  cancelDrop(): void {
    this.#timer?.cancel();
  }

  #sendClose({ code, message }: AmqpError, method: number): void {
    const [classId, methodId] = [method >>> 16, method & 0xffff];
    this.#connection.reply(0, { method: 'connection.close', replyCode: code, replyText: message, classId, methodId });
  }

  /** A peer that has said close or close-ok has nothing more to say. */
  #endAfterReplies(): void {
    this.#connection.input.discard();
    this.#connection.outbox.afterReplies(() => this.end());
  }
}
