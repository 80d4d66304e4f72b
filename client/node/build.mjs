/**
 * @fileoverview Builds the package: code from the contract (../../proto, by protoc and ts-proto),
 * then ESM and CommonJS with their types.
 *
 * PROTOC names another protoc than the one in PATH.
 */

import {execFileSync} from 'node:child_process';
import {mkdirSync, rmSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const GENERATED = join(HERE, 'src', 'generated');
const require = createRequire(import.meta.url);

const run = (program, ...args) =>
  execFileSync(program, args, {cwd: HERE, stdio: ['ignore', 'inherit', 'inherit']});
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
const compile = (project) => run(process.execPath, tsc, '-p', project);

for (const folder of [GENERATED, join(HERE, 'dist')]) {
  rmSync(folder, {recursive: true, force: true});
}
mkdirSync(GENERATED, {recursive: true});

run(process.env.PROTOC ?? 'protoc',
    `--plugin=protoc-gen-ts_proto=${join(HERE, 'node_modules', '.bin', 'protoc-gen-ts_proto')}`,
    `--ts_proto_out=${GENERATED}`,
    `--ts_proto_opt=${[
      'env=node',
      'esModuleInterop=true',
      'importSuffix=.js',
      'outputServices=grpc-js',
      // permit_id and session_id use all 64 bits.
      'forceLong=bigint',
      'useOptionals=messages',
      'unrecognizedEnum=false',
      'outputJsonMethods=false',
      'outputPartialMethods=false',
      'exportCommonSymbols=false',
    ].join(',')}`,
    '-I', join('..', '..', 'proto'), 'breaker/v1/breaker.proto');

compile('tsconfig.json');
compile('tsconfig.cjs.json');
writeFileSync(join(HERE, 'dist', 'cjs', 'package.json'), '{"type": "commonjs"}\n');
