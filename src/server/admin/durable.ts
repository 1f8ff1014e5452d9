/** Waits for what was committed so far. */
import type { Broker } from '../../broker/broker.ts';

/** Resolves when everything that was committed until now is durable; never if storage fails before. */
export const durable = ({ gate }: Broker): Promise<void> => {
  const ticket = gate.current;
  if (gate.durable >= ticket) return Promise.resolve();
  return new Promise((resolve) => gate.wait(ticket, { onDurable: resolve }));
};
