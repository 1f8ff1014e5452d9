/** Who may do what. One check at the entry of the broker, whatever the protocol. */
export interface Principal {
  readonly user: string;
}

export interface Resource {
  readonly vhost: string;
  readonly kind: 'queue' | 'exchange' | 'topic';
  readonly name: string;
}

export type Action = 'configure' | 'write' | 'read';

export interface AccessOptions {
  /** Passwords by user name. */
  readonly users: ReadonlyMap<string, string>;
  /** Users that may only come from this machine. */
  readonly loopbackUsers: ReadonlySet<string>;
}

export class Access {
  readonly #options: AccessOptions;

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** Undefined: refused. */
  authenticate(user: string, password: string, peer: { readonly loopback: boolean }): Principal | undefined {
    if (this.#options.users.get(user) !== password) return undefined;
    return this.#options.loopbackUsers.has(user) && !peer.loopback ? undefined : { user };
  }

  /** Every known user may do everything; permissions per user come with the management of users. */
  authorize(principal: Principal, _action: Action, _resource: Resource): boolean {
    return this.#options.users.has(principal.user);
  }
}
