// A file of another format is named, with the version found and the one that is read, and damage that is accepted does not pass it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { segmentFooterBytes } from '../shard/local/segment-file.ts';
import { crc32c } from '../wire/crc32c.ts';
import { makeFiles, writeFiles } from './damaged-files.ts';
import { open } from './folding-stand.ts';

/** The version of each kind of file lies behind six letters; then the checksum is made right again. */
const setVersion: Readonly<Record<string, (bytes: Buffer) => void>> = {
  wal: (bytes) => {
    bytes.writeUInt16LE(7, 6);
    bytes.writeUInt32LE(crc32c(bytes, 0, 24), 24);
  },
  checkpoint: (bytes) => {
    bytes.writeUInt16LE(7, 6);
    bytes.writeUInt32LE(crc32c(bytes, 12, bytes.length), 8);
  },
  segment: (bytes) => {
    const footer = bytes.subarray(bytes.length - segmentFooterBytes);
    footer.writeUInt16LE(7, 6);
    footer.writeUInt32LE(crc32c(footer, 12, segmentFooterBytes, crc32c(footer, 0, 8)), 8);
  },
};

for (const [kind, set] of Object.entries(setVersion)) {
  test(`a ${kind} of another format`, async () => {
    // After a clean shutdown segments are not looked at.
    const files = await makeFiles(kind === 'segment' ? 'kill' : 'close');
    const name = [...files.keys()].findLast((each) => new RegExp(`^${kind}-\\d+$`).test(each))!;
    const bytes = Buffer.from(files.get(name)!);
    set(bytes);
    const changed = new Map([...files, [name, bytes]]);
    const expected = { kind: 'unsupported', message: new RegExp(`${name}.* has format 7; this version reads \\d$`) };
    await assert.rejects(open(await writeFiles(changed)), expected);
    await assert.rejects(
      open(await writeFiles(changed), undefined, () => {}),
      expected,
    );
  });
}
