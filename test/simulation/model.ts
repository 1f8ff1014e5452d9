// What the clients know: which topics, queues, subscriptions, exchanges, bindings and committed offsets they have asked for, and
// what each log and each consumer is owed.
import type { LogModel } from './log-model.ts';
import type { PartModel } from './part-model.ts';
import { Register, type Survivors } from './survivors.ts';

export type DestinationKind = 'queue' | 'topic' | 'subscription';

export interface Destination {
  readonly name: string;
  readonly kind: DestinationKind;
  /** Another one for each creation under the same name. */
  readonly id: string;
  /** Of a subscription: those of its topic. */
  readonly logs: readonly LogModel[];
  /** One per log of a queue or a subscription; none of a topic. */
  readonly parts: readonly PartModel[];
}

export interface BindingName {
  readonly exchange: string;
  readonly key: string;
  readonly destination: string;
}

/** Of the exchanges that the simulation declares. */
export const exchangeTypes = { fan: 'fanout', keys: 'direct', words: 'topic' } as const;
export type ExchangeName = keyof typeof exchangeTypes;

export class Model {
  /** Id of the destination that has a name. */
  readonly #names = new Map<string, Register<string | undefined>>();
  readonly #destinations = new Map<string, Destination>();
  /** Those that there are, as far as the process knows. Another list after each change. */
  destinations: readonly Destination[] = [];
  readonly exchanges = new Map<ExchangeName, Register<boolean>>();
  /** By the text of a BindingName. */
  readonly bindings = new Map<string, { readonly binding: BindingName; readonly isBound: Register<boolean> }>();
  /** By group, topic id and partition, as text. */
  readonly committedOffsets = new Map<string, Register<number | undefined>>();
  readonly producerIds = new Set<number>();
  clusterId = '';

  destination(name: string): Destination | undefined {
    return this.destinations.find((destination) => destination.name === name);
  }

  get logs(): LogModel[] {
    return this.destinations.flatMap(({ kind, logs }) => (kind === 'subscription' ? [] : logs));
  }

  get parts(): PartModel[] {
    return this.destinations.flatMap(({ parts }) => parts);
  }

  /** A reader by offset need not find the message. */
  mayBeGone(log: LogModel, offset: number, nowMs: number): boolean {
    if (!log.isQueue) return log.mayBeDeleted(offset, nowMs);
    const part = this.parts.find((each) => each.log === log)!;
    return part.isSettled(offset) && log.mayGoWhenSettled(offset, nowMs);
  }

  create(destination: Destination, ticket: number): void {
    this.#destinations.set(destination.id, destination);
    registerOf(this.#names, destination.name, undefined).set(destination.id, ticket);
    this.#listDestinations();
  }

  /** With the subscriptions of a topic, and what is bound to it. */
  delete(destination: Destination, ticket: number): void {
    const gone = this.destinations.filter(
      (other) => other === destination || (destination.kind === 'topic' && other.logs[0] === destination.logs[0]),
    );
    for (const { name } of gone) this.#names.get(name)!.set(undefined, ticket);
    this.#listDestinations();
    this.#unbind((binding) => binding.destination === destination.name, ticket);
  }

  /** A restart has found what has each name. */
  recoverNames(identify: (name: string) => string | undefined, survivors: Survivors): void {
    for (const [name, id] of this.#names) id.recover(identify(name), survivors, `what is called ${name}`);
    this.#listDestinations();
  }

  #listDestinations(): void {
    this.destinations = [...this.#names.values()].flatMap(({ value: id }) =>
      id === undefined ? [] : this.#destinations.get(id)!,
    );
  }

  #unbind(isMeant: (binding: BindingName) => boolean, ticket: number): void {
    for (const { binding, isBound } of this.bindings.values()) {
      if (isMeant(binding) && isBound.value) isBound.set(false, ticket);
    }
  }

  setExchange(name: ExchangeName, exists: boolean, ticket: number): void {
    registerOf(this.exchanges, name, false).set(exists, ticket);
    if (!exists) this.#unbind((binding) => binding.exchange === name, ticket);
  }

  setBinding(binding: BindingName, isBound: boolean, ticket: number): void {
    const text = JSON.stringify(binding);
    const known = this.bindings.get(text) ?? { binding, isBound: new Register(false) };
    this.bindings.set(text, known);
    known.isBound.set(isBound, ticket);
  }

  hasBinding(binding: BindingName): boolean {
    return this.bindings.get(JSON.stringify(binding))?.isBound.value === true;
  }

  /** Names of the queues and topics that a message goes to, in order of name. */
  route(exchange: string, key: string): string[] {
    const isTarget = (name: string): boolean => (this.destination(name)?.kind ?? 'subscription') !== 'subscription';
    if (exchange === '') return isTarget(key) ? [key] : [];
    const found = new Set<string>();
    for (const { binding, isBound } of this.bindings.values()) {
      if (isBound.value && binding.exchange === exchange && matches(exchange as ExchangeName, binding.key, key))
        found.add(binding.destination);
    }
    return [...found].filter(isTarget).sort();
  }

  offset(group: string, topicId: string, partition: number): Register<number | undefined> {
    return registerOf(this.committedOffsets, JSON.stringify([group, topicId, partition]), undefined);
  }
}

/** Patterns of topic exchanges are of one or two words here, the last of which may be `#`. */
const matches = (exchange: ExchangeName, bound: string, key: string): boolean => {
  const type = exchangeTypes[exchange];
  if (type === 'fanout') return true;
  if (type === 'direct' || !bound.endsWith('#')) return bound === key;
  return bound === '#' || key.split('.')[0] === bound.split('.')[0];
};

const registerOf = <Name, Value extends string | number | boolean | undefined>(
  registers: Map<Name, Register<Value>>,
  name: Name,
  initial: Value,
): Register<Value> => {
  let register = registers.get(name);
  if (register === undefined) {
    register = new Register<Value>(initial);
    registers.set(name, register);
  }
  return register;
};
