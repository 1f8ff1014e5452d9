/** What Linux calls the file systems in statfs(2), and which of them keep no promise of durability. */

export interface FileSystem {
  readonly name: string;
  /** Why not to keep data there; undefined for a disk of this machine. */
  readonly warning?: string;
}

const network = 'over a network neither the lock nor the durability can be relied on';
const memory = 'it is memory: nothing survives the machine';
const unknownBehind = 'what lies behind it decides whether a synced write is on a disk';

/** By f_type; statfs(2) and linux/magic.h. */
const fileSystems: ReadonlyMap<number, FileSystem> = new Map([
  [0xef53, { name: 'ext' }],
  [0x58465342, { name: 'xfs' }],
  [0x9123683e, { name: 'btrfs' }],
  [0x2fc12fc1, { name: 'zfs' }],
  [0xf2f52010, { name: 'f2fs' }],
  [0xca451a4e, { name: 'bcachefs' }],
  [0x01021994, { name: 'tmpfs', warning: memory }],
  [0x858458f6, { name: 'ramfs', warning: memory }],
  [0x794c7630, { name: 'overlay', warning: "a container's own layer goes with the container: mount a volume" }],
  [0x6969, { name: 'nfs', warning: network }],
  [0x517b, { name: 'smb', warning: network }],
  [0xff534d42, { name: 'cifs', warning: network }],
  [0xfe534d42, { name: 'smb2', warning: network }],
  [0x00c36400, { name: 'ceph', warning: network }],
  [0x5346414f, { name: 'afs', warning: network }],
  [0x0bd00bd0, { name: 'lustre', warning: network }],
  [0x01161970, { name: 'gfs2', warning: network }],
  [0x7461636f, { name: 'ocfs2', warning: network }],
  [0x01021997, { name: '9p', warning: unknownBehind }],
  [0x6a656a63, { name: 'virtiofs', warning: unknownBehind }],
  [0x65735546, { name: 'fuse', warning: unknownBehind }],
  [0x4d44, { name: 'fat', warning: 'it has no journal and no Unix sockets' }],
  [0x2011bab0, { name: 'exfat', warning: 'it has no journal and no Unix sockets' }],
]);

/** @param type f_type of statfs on Linux */
export const fileSystemOf = (type: number): FileSystem => {
  const unsigned = type >>> 0;
  return fileSystems.get(unsigned) ?? { name: `of type 0x${unsigned.toString(16)}` };
};
