// A real Apache Kafka on free loopback ports: one node, broker and controller in one, with the heap and flags of its own scripts.
// `stock` acknowledges before anything is synced, as Kafka does by default; `flush` syncs every append (log.flush.interval.messages=1).
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts, logFile, newDataDir } from '../run/cache.ts';
import { javaClassPath } from '../run/maven.ts';
import { runToEnd, type ServerOptions, ServerProcess } from '../run/process.ts';

const KAFKA_VERSION = '4.3.0';
const LOG4J_VERSION = '2.25.1';
const FORMAT_TIMEOUT_MS = 60_000;
const READY_TIMEOUT_MS = 60_000;
const READY_LINE = /Kafka Server started/;

/** kafka-server-start.sh's heap and kafka-run-class.sh's collector. */
const JVM_FLAGS = [
  '-server',
  '-Xms1g',
  '-Xmx1g',
  '-XX:+UseG1GC',
  '-XX:MaxGCPauseMillis=20',
  '-XX:InitiatingHeapOccupancyPercent=35',
  '-XX:+ExplicitGCInvokesConcurrent',
  '-Djava.awt.headless=true',
];

const LOG4J_CONFIG = `<Configuration><Appenders><Console name="out"><PatternLayout pattern="%d %p %m%n"/></Console></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="out"/></Root><Logger name="kafka.server.KafkaRaftServer" level="info"/></Loggers>
</Configuration>`;

export type KafkaFlush = 'stock' | 'flush';

/** Class path of the broker and of its command-line tools. */
export const kafkaClassPath = (): Promise<string> =>
  javaClassPath(`kafka-${KAFKA_VERSION}`, [
    `org.apache.kafka:kafka_2.13:${KAFKA_VERSION}`,
    `org.apache.kafka:kafka-tools:${KAFKA_VERSION}`,
    `org.apache.logging.log4j:log4j-slf4j-impl:${LOG4J_VERSION}`,
    `org.apache.logging.log4j:log4j-core:${LOG4J_VERSION}`,
  ]);

const serverProperties = (dataDir: string, ports: { broker: number; controller: number }, flush: KafkaFlush): string =>
  [
    'process.roles=broker,controller',
    'node.id=1',
    `controller.quorum.bootstrap.servers=127.0.0.1:${ports.controller}`,
    `listeners=PLAINTEXT://127.0.0.1:${ports.broker},CONTROLLER://127.0.0.1:${ports.controller}`,
    'inter.broker.listener.name=PLAINTEXT',
    'controller.listener.names=CONTROLLER',
    'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    `log.dirs=${join(dataDir, 'logs')}`,
    'offsets.topic.replication.factor=1',
    'transaction.state.log.replication.factor=1',
    'transaction.state.log.min.isr=1',
    'share.coordinator.state.topic.replication.factor=1',
    'share.coordinator.state.topic.min.isr=1',
    'group.initial.rebalance.delay.ms=0',
    ...(flush === 'flush' ? ['log.flush.interval.messages=1'] : []),
  ].join('\n');

export interface KafkaPeer {
  /** host:port */
  readonly address: string;
  readonly options: ServerOptions;
}

/** A formatted, empty data directory and the command that serves it; the command may be run again after a crash. */
export const prepareKafka = async (flush: KafkaFlush): Promise<KafkaPeer> => {
  const classPath = await kafkaClassPath();
  const [broker, controller] = (await freePorts(2)) as [number, number];
  const dataDir = newDataDir(`kafka-${flush}`);
  const config = join(dataDir, 'server.properties');
  const log4j = join(dataDir, 'log4j2.xml');
  writeFileSync(config, serverProperties(dataDir, { broker, controller }, flush));
  writeFileSync(log4j, LOG4J_CONFIG);
  const java = (main: string, ...args: string[]) => [
    `-Dlog4j2.configurationFile=${log4j}`,
    '-cp',
    classPath,
    main,
    ...args,
  ];
  const storageTool = (...args: string[]) =>
    runToEnd({ command: 'java', args: java('kafka.tools.StorageTool', ...args) }, FORMAT_TIMEOUT_MS);
  const clusterId = (await storageTool('random-uuid')).trim();
  await storageTool('format', '--standalone', '-t', clusterId, '-c', config);
  return {
    address: `127.0.0.1:${broker}`,
    options: {
      name: `Kafka ${KAFKA_VERSION} ${flush === 'flush' ? 'flush=1' : flush}`,
      command: 'java',
      args: [...JVM_FLAGS, ...java('kafka.Kafka', config)],
      logFile: logFile(`kafka-${flush}`),
    },
  };
};

export const startKafka = async (flush: KafkaFlush): Promise<{ address: string; server: ServerProcess }> => {
  const { address, options } = await prepareKafka(flush);
  const server = await ServerProcess.start({ ...options, ready: [READY_LINE], readyTimeoutMs: READY_TIMEOUT_MS });
  return { address, server };
};
