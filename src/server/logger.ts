/** Log lines as JSON on standard error; standard output belongs to the ready lines and to the commands' results. */
import { type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** Written before the call returns, so that the last line before a crash is there. */
export const createLogger = (level: string): Logger =>
  pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }));
