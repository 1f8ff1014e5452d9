// A real RabbitMQ on free loopback ports: Debian's package in a directory of its own, run in a chroot.
// Needs root. The mounts it wants live in a private mount namespace and its processes in a private pid namespace, so nothing is left
// behind when it ends, whichever way, and removing the cache can never reach the machine's own /dev or /proc.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDir, freePorts, logFile, newDataDir } from '../run/cache.ts';
import { javaClassPath } from '../run/maven.ts';
import { type Command, runToEnd, type ServerOptions, ServerProcess } from '../run/process.ts';

const DEBIAN_SUITE = 'forky';
/** The suite whose debootstrap script is used: older debootstraps do not know the suite above by name. */
const SCRIPT_SUITE = 'sid';
const PERF_TEST = 'com.rabbitmq:perf-test:2.22.1';
const INSTALL_TIMEOUT_MS = 10 * 60_000;
const READY_TIMEOUT_MS = 60_000;
const READY_LINE = /Starting broker\.\.\. completed/;

const rootDir = join(cacheDir, 'rabbitmq-root');

export const perfTestClassPath = (): Promise<string> => javaClassPath('perf-test', [PERF_TEST]);

/** Runs a shell script, with its arguments, where mounts are its own. */
const privately = (script: string, args: readonly string[]): Command => ({
  command: 'unshare',
  args: ['--mount', '--uts', '--pid', '--fork', '--kill-child', 'sh', '-ec', script, 'sh', ...args],
});

const INSTALL_SCRIPT = `
tools=$1 target=$2 suite=$3 script=$4
cd "$tools"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
test -n "$mirror" || { echo 'no Debian mirror among the apt sources: run apt-get update' >&2; exit 1; }
apt-get download -q debootstrap
dpkg-deb -x debootstrap_*.deb .
DEBOOTSTRAP_DIR=$tools/usr/share/debootstrap usr/sbin/debootstrap --variant=minbase --include=rabbitmq-server \
  "$suite" "$target" "$mirror" "$tools/usr/share/debootstrap/scripts/$script"
`;

const SERVE_SCRIPT = `
root=$1 data=$2
shift 2
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --bind "$data" "$root/mnt"
hostname localhost
exec chroot "$root" /usr/bin/env -i "$@" /usr/lib/rabbitmq/bin/rabbitmq-server
`;

const install = async (): Promise<void> => {
  if (existsSync(rootDir)) return;
  console.error(`Installing RabbitMQ from Debian ${DEBIAN_SUITE} ...`);
  const tools = join(cacheDir, 'debootstrap');
  const partial = join(cacheDir, 'rabbitmq-partial');
  for (const dir of [tools, partial]) {
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
  }
  await runToEnd(privately(INSTALL_SCRIPT, [tools, partial, DEBIAN_SUITE, SCRIPT_SUITE]), INSTALL_TIMEOUT_MS);
  renameSync(partial, rootDir);
};

const version = (): string => {
  const found = readdirSync(join(rootDir, 'usr/lib/rabbitmq/lib')).find((name) => name.startsWith('rabbitmq_server-'));
  return found?.slice('rabbitmq_server-'.length) ?? '?';
};

export interface RabbitmqPeer {
  /** host:port */
  readonly address: string;
  readonly options: ServerOptions;
}

/** An empty data directory and the command that serves it; the command may be run again after a crash. */
export const prepareRabbitmq = async (): Promise<RabbitmqPeer> => {
  await install();
  const [amqp, dist, epmd] = (await freePorts(3)) as [number, number, number];
  const environment = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/mnt',
    LANG: 'C.UTF-8',
    RABBITMQ_NODENAME: 'bench@localhost',
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: amqp,
    RABBITMQ_DIST_PORT: dist,
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    ERL_EPMD_PORT: epmd,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_MNESIA_BASE: '/mnt/db',
    RABBITMQ_LOG_BASE: '/mnt/log',
    RABBITMQ_ENABLED_PLUGINS_FILE: '/dev/null',
  };
  const assignments = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  return {
    address: `127.0.0.1:${amqp}`,
    options: {
      name: `RabbitMQ ${version()}`,
      ...privately(SERVE_SCRIPT, [rootDir, newDataDir('rabbitmq'), ...assignments]),
      brokerName: 'beam.smp',
      logFile: logFile('rabbitmq'),
    },
  };
};

export const startRabbitmq = async (): Promise<{ address: string; server: ServerProcess }> => {
  const { address, options } = await prepareRabbitmq();
  const server = await ServerProcess.start({ ...options, ready: [READY_LINE], readyTimeoutMs: READY_TIMEOUT_MS });
  return { address, server };
};
