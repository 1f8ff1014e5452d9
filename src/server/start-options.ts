/**
 * The options of `startBroker`, and the settings that they come to. JavaScript callers have no compiler that knows the names:
 * an option that would be passed over in silence, such as a misspelt `data`, could lose everything, so all are checked.
 */
import { settingByName } from './config-schema.ts';
import { formatHostPort } from './listener.ts';
import type { Logger } from './logger.ts';
import { nearestName } from './nearest-name.ts';
import { ConfigError, type SettingValue } from './setting.ts';

/** Where one protocol listens. */
export interface ListenerOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: a free one. */
  readonly port?: number;
}

export interface KafkaListenerOptions extends ListenerOptions {
  /** HOST:PORT that clients are told; port 0 is the real one. */
  readonly advertised?: string;
}

export interface StartBrokerOptions {
  /** Directory of the data. Without it everything is kept in memory. */
  readonly data?: string;
  /** Keep everything in memory, which is the default without `data`. False needs `data`. */
  readonly memory?: boolean;
  /** False: no Kafka clients. */
  readonly kafka?: KafkaListenerOptions | readonly KafkaListenerOptions[] | false;
  /** False: no AMQP clients. */
  readonly amqp?: ListenerOptions | readonly ListenerOptions[] | false;
  /** Any other setting by its name, such as 'kafka.num.partitions'. */
  readonly settings?: Readonly<Record<string, SettingValue>>;
  /** Default: one that writes to standard error, at setting log.level, here 'warn' if not set. */
  readonly logger?: Logger;
  /** The data cannot be opened any more; the broker serves nobody from now on. Close it. */
  readonly onFatal?: (error: Error) => void;
}

const optionNames = ['data', 'memory', 'kafka', 'amqp', 'settings', 'logger', 'onFatal'] as const;
const listenerNames = { kafka: ['host', 'port', 'advertised'], amqp: ['host', 'port'] } as const;
const logMethods = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;

type Listening = KafkaListenerOptions | readonly KafkaListenerOptions[] | false | undefined;

/** Values of settings by name. @throws ConfigError for what is no option, has another type or is said twice */
export const settingsOf = (options: StartBrokerOptions): Record<string, unknown> => {
  checkOptions(options);
  const { data, memory, kafka, amqp, settings = {} } = options;
  const advertised = told(kafka);
  const given: Record<string, unknown> = {
    ...(data === undefined ? {} : { data }),
    ...(memory === undefined ? {} : { memory }),
    ...(kafka === undefined ? {} : { 'listeners.kafka': addresses(kafka) }),
    ...(advertised.length === 0 ? {} : { 'listeners.kafka.advertised': advertised }),
    ...(amqp === undefined ? {} : { 'listeners.amqp': addresses(amqp) }),
  };
  const twice = Object.keys(settings).find((name) => name in given);
  if (twice !== undefined)
    throw new ConfigError(`startBroker: '${twice}' is among the settings, and an option says it`);
  return {
    'listeners.kafka': addresses(undefined),
    'listeners.amqp': addresses(undefined),
    memory: data === undefined && settings.data === undefined,
    'log.level': 'warn',
    ...given,
    ...settings,
  };
};

const listenersOf = (listening: Listening): readonly KafkaListenerOptions[] => {
  if (listening === false) return [];
  if (listening === undefined) return [{}];
  return 'length' in listening ? listening : [listening];
};

const addresses = (listening: Listening): string[] =>
  listenersOf(listening).map(({ host = '127.0.0.1', port = 0 }) => formatHostPort({ host, port }));

const told = (listening: Listening): string[] => {
  const listeners = listenersOf(listening);
  if (listeners.every(({ advertised }) => advertised === undefined)) return [];
  return listeners.map(({ host = '127.0.0.1', advertised }) => advertised ?? formatHostPort({ host, port: 0 }));
};

// ---- checks, which trust no type

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';

const isPort = (value: unknown): boolean => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 65_535;

const isLogger = (value: unknown): boolean =>
  isObject(value) && logMethods.every((method) => typeof value[method] === 'function');

const shown = (value: unknown): string =>
  typeof value === 'function' ? 'a function' : (JSON.stringify(value) ?? String(value));

const requireType = (what: string, value: unknown, isRight: boolean, expected: string): void => {
  if (value !== undefined && !isRight)
    throw new ConfigError(`startBroker: ${what} must be ${expected}, not ${shown(value)}`);
};

const requireNames = (what: string, value: object, names: readonly string[], hint: (name: string) => string): void => {
  for (const name of Object.keys(value)) {
    if (names.includes(name)) continue;
    const nearest = nearestName(name, names);
    const help = nearest === undefined ? hint(name) : `did you mean '${nearest}'?`;
    throw new ConfigError(`startBroker: ${what} '${name}'; ${help}`);
  }
};

const checkOptions = (options: StartBrokerOptions): void => {
  if (!isObject(options)) throw new ConfigError(`startBroker: options must be an object, not ${shown(options)}`);
  requireNames('unknown option', options, optionNames, (name) =>
    settingByName(name) === undefined
      ? `there are ${optionNames.join(', ')}`
      : `it is a setting: settings: { '${name}': ${shown(options[name])} }`,
  );
  const { data, memory, settings, logger, onFatal } = options;
  requireType('data', data, isText(data), 'the path of a directory');
  requireType('memory', memory, typeof memory === 'boolean', 'true or false');
  requireType('settings', settings, isObject(settings), 'an object of values by name');
  requireType('logger', logger, isLogger(logger), 'a logger of pino, or one with its methods');
  requireType('onFatal', onFatal, typeof onFatal === 'function', 'a function');
  checkListening('kafka', options.kafka);
  checkListening('amqp', options.amqp);
};

const checkListening = (protocol: 'kafka' | 'amqp', value: unknown): void => {
  if (value === undefined || value === false) return;
  const names = listenerNames[protocol];
  for (const listener of Array.isArray(value) ? value : [value]) {
    const isRight = isObject(listener);
    requireType(protocol, listener ?? null, isRight, 'false, an object such as { port: 0 }, or a list of such');
    if (!isRight) continue;
    requireNames(`${protocol}: there is no`, listener, names, () => `there are ${names.join(', ')}`);
    const { host, port, advertised } = listener;
    requireType(`${protocol}: host`, host, isText(host), 'a name or an address');
    requireType(`${protocol}: port`, port, isPort(port), 'an integer between 0 and 65535');
    requireType(`${protocol}: advertised`, advertised, isText(advertised), 'HOST:PORT');
  }
};
