/** The commands that talk to a running broker over the socket in its data directory. */
import { type Command, InvalidArgumentError } from 'commander';
import type {
  ConsumeRequest,
  QueueDescription,
  QueueSummary,
  StatusResult,
  TopicDescription,
  TopicSummary,
} from '../admin/admin-protocol.ts';
import {
  ask,
  asRows,
  type CommonOptions,
  clientCommand,
  collect,
  connect,
  countArgument,
  fieldsText,
  integerArgument,
  parsePairs,
  print,
  show,
} from './client-command.ts';
import { addGroupCommands } from './group-commands.ts';
import { formatTable, type Row } from './table.ts';

export const addClientCommands = (program: Command): void => {
  addTopicCommands(program);
  addQueueCommands(program);
  addGroupCommands(program);
  addProduce(program);
  addConsume(program);
  clientCommand(program, 'status', 'Show the running broker.').action((options: CommonOptions) =>
    show<StatusResult>(options, { op: 'status' }, ({ kafka, amqp, ...rest }) =>
      fieldsText({ ...rest, kafka: kafka.join(', '), amqp: amqp.join(', ') } as unknown as Row),
    ),
  );
};

const addTopicCommands = (program: Command): void => {
  const topic = program.command('topic').description('List, describe, create and delete topics.');
  clientCommand(topic, 'list', 'List all topics.').action((options: CommonOptions) =>
    show<TopicSummary[]>(options, { op: 'topic-list' }, (topics) =>
      formatTable(asRows(topics), ['name', 'partitions', 'messages']),
    ),
  );
  clientCommand(topic, 'describe <NAME>', 'Show configuration and offsets of a topic.').action(
    (name: string, options: CommonOptions) =>
      show<TopicDescription>(options, { op: 'topic-describe', name }, ({ id, config, partitions }) => {
        const configText = Object.entries(config).map(([key, value]) => `${key}=${value}`);
        const head = fieldsText({ name, id, config: configText.join(', ') || '-' });
        return `${head}\n\n${formatTable(asRows(partitions), ['partition', 'start', 'end'])}`;
      }),
  );
  clientCommand(topic, 'create <NAME>', 'Create a topic.')
    .option('-p, --partitions <N>', 'Number of partitions. (default: kafka.num.partitions)', countArgument)
    .option('-c, --topic-config <NAME=VALUE>', "A topic config by Kafka's name. May be repeated.", collect)
    .action(async (name: string, options: CommonOptions & { partitions?: number; topicConfig?: readonly string[] }) => {
      const { partitions, topicConfig = [] } = options;
      const config = parsePairs(topicConfig, '--topic-config');
      await ask(options, { op: 'topic-create', name, config, ...(partitions === undefined ? {} : { partitions }) });
    });
  clientCommand(topic, 'delete <NAME>', 'Delete a topic, its messages and its subscriptions.').action(
    async (name: string, options: CommonOptions) => {
      await ask(options, { op: 'topic-delete', name });
    },
  );
};

const addQueueCommands = (program: Command): void => {
  const queue = program.command('queue').description('List, describe, create and delete queues.');
  clientCommand(queue, 'list', 'List all queues.').action((options: CommonOptions) =>
    show<QueueSummary[]>(options, { op: 'queue-list' }, (queues) =>
      formatTable(asRows(queues), ['name', 'ready', 'unacked', 'consumers', 'topic']),
    ),
  );
  clientCommand(queue, 'describe <NAME>', 'Show properties and counts of a queue.').action(
    (name: string, options: CommonOptions) =>
      show<QueueDescription>(options, { op: 'queue-describe', name }, ({ arguments: args, ...rest }) =>
        fieldsText({
          ...rest,
          arguments:
            Object.entries(args)
              .map(([key, value]) => `${key}=${value}`)
              .join(', ') || '-',
        }),
      ),
  );
  clientCommand(queue, 'create <NAME>', 'Create a durable queue.')
    .option('--topic <TOPIC>', 'Make it a subscription on this topic, with a message and an ack at a time.')
    .option(
      '--start <first|next>',
      "Where a subscription starts: the topic's first message or the next new one. (default: first)",
    )
    .action(async (name: string, options: CommonOptions & { topic?: string; start?: 'first' | 'next' }) => {
      const { topic, start } = options;
      await ask(options, {
        op: 'queue-create',
        name,
        ...(topic === undefined ? {} : { topic }),
        ...(start === undefined ? {} : { start }),
      });
    });
  clientCommand(queue, 'delete <NAME>', 'Delete a queue and its messages.')
    .option('--if-unused', 'Only if nobody consumes it.')
    .option('--if-empty', 'Only if no message waits in it.')
    .action(async (name: string, options: CommonOptions & { ifUnused?: boolean; ifEmpty?: boolean }) => {
      const { ifUnused = false, ifEmpty = false } = options;
      await ask(options, { op: 'queue-delete', name, ifUnused, ifEmpty });
    });
};

const addProduce = (program: Command): void => {
  clientCommand(program, 'produce <NAME>', 'Publish each line of standard input to a topic or a queue.')
    .option('-k, --key-delimiter <TEXT>', 'What stands between key and value on each line.')
    .option('-H, --header <NAME=VALUE>', 'A header for every message. May be repeated.', collect)
    .option('-p, --partition <N>', 'Partition of the topic. (default: by key, else in turn)', integerArgument)
    .action(async (name: string, options: CommonOptions & Record<string, unknown>) => {
      const { produce } = await import('./produce-command.ts');
      const client = await connect(options);
      const partition = options.partition as number | undefined;
      const keyDelimiter = options.keyDelimiter as string | undefined;
      try {
        const count = await produce(client, process.stdin, {
          name,
          headers: (options.header as readonly string[] | undefined) ?? [],
          ...(partition === undefined ? {} : { partition }),
          ...(keyDelimiter === undefined ? {} : { keyDelimiter }),
        });
        if (options.json === true) print(JSON.stringify({ count }));
      } finally {
        client.close();
        process.stdin.destroy();
      }
    });
};

const parseOffset = (text: string): 'beginning' | 'end' | number => {
  if (text === 'beginning' || text === 'end') return text;
  if (!/^-?\d+$/.test(text)) throw new InvalidArgumentError('expected beginning, end, an offset, or -N for the last N');
  return Number(text);
};

const addConsume = (program: Command): void => {
  clientCommand(
    program,
    'consume <NAME>',
    'Print the messages of a topic, or take those of a queue off it and print them.',
  )
    .option(
      '-o, --offset <OFFSET>',
      'Topics: beginning, end, an offset, or -N for the last N. (default: beginning)',
      parseOffset,
    )
    .option('-p, --partition <N>', 'Topics: only this partition.', integerArgument)
    .option('-c, --count <N>', 'End after so many messages.', countArgument)
    .option('-e, --exit', 'End at the last message instead of waiting for more.')
    .option('--peek', 'Queues: look without taking.')
    .option(
      '-f, --format <FORMAT>',
      'What to print, as with kcat: %s value, %k key, %t topic, %p partition, %o offset, %T time, %h headers, %S and %K lengths, %%; \\n \\t \\r \\xHH.',
      '%s\\n',
    )
    .action(async (name: string, options: CommonOptions & Record<string, unknown>) => {
      const { consume } = await import('./consume-command.ts');
      const request: Record<string, unknown> = { op: 'consume', name };
      for (const key of ['offset', 'partition', 'count', 'exit', 'peek']) {
        if (options[key] !== undefined) request[key] = options[key];
      }
      const stopping = new AbortController();
      process.once('SIGINT', () => stopping.abort());
      process.once('SIGTERM', () => stopping.abort());
      const client = await connect(options);
      try {
        await consume(client, process.stdout, {
          request: request as unknown as ConsumeRequest,
          format: options.format as string,
          json: options.json === true,
          signal: stopping.signal,
        });
      } finally {
        client.close();
      }
    });
};
