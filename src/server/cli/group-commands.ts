/** `rosettamq group`: the consumer groups of Kafka clients. */
import type { Command } from 'commander';
import type { GroupDescription, GroupSummary } from '../admin/admin-protocol.ts';
import { ask, asRows, type CommonOptions, clientCommand, fieldsText, show } from './client-command.ts';
import { formatTable } from './table.ts';

export const addGroupCommands = (program: Command): void => {
  const group = program
    .command('group')
    .description('List, describe, create and delete the consumer groups of Kafka clients.');
  clientCommand(group, 'list', 'List all groups.').action((options: CommonOptions) =>
    show<GroupSummary[]>(options, { op: 'group-list' }, (groups) =>
      formatTable(asRows(groups), ['name', 'members', 'lag']),
    ),
  );
  clientCommand(group, 'describe <NAME>', 'Show members, committed offsets and lag of a group.').action(
    (name: string, options: CommonOptions) =>
      show<GroupDescription>(options, { op: 'group-describe', name }, ({ members, offsets, ...rest }) =>
        [
          fieldsText({ ...rest, members: members.length }),
          formatTable(asRows(offsets), ['topic', 'partition', 'offset', 'lag', 'metadata']),
          ...(members.length === 0 ? [] : [formatTable(asRows(members), ['memberId', 'clientId', 'clientHost'])]),
        ].join('\n\n'),
      ),
  );
  clientCommand(group, 'create <NAME>', 'Create a group that starts at the beginning or the end of a topic.')
    .requiredOption('--topic <TOPIC>', 'The topic.')
    .option('--start <first|next>', "The topic's first message or the next new one. (default: first)")
    .action(async (name: string, options: CommonOptions & { topic: string; start?: 'first' | 'next' }) => {
      const { topic, start = 'first' } = options;
      await ask(options, { op: 'group-create', name, topic, start });
    });
  clientCommand(group, 'delete <NAME>', 'Delete a group without members, and its offsets.').action(
    async (name: string, options: CommonOptions) => {
      await ask(options, { op: 'group-delete', name });
    },
  );
};
