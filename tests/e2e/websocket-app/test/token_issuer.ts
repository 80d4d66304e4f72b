/** @file Issues JSON Web Tokens, and publishes the keys to verify them with in a file. */

import {generateKeyPair, sign, type KeyObject} from 'node:crypto';
import {rename, writeFile} from 'node:fs/promises';
import {promisify} from 'node:util';

const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const newKey = () => promisify(generateKeyPair)('rsa', {modulusLength: 2048});

interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export class TokenIssuer {
  static readonly ISSUER = 'https://issuer.test/';
  static readonly AUDIENCE = 'chat';

  private readonly keys: SigningKey[] = [];

  private constructor(private readonly file: string, private readonly stranger: KeyObject) {}

  static async create(file: string): Promise<TokenIssuer> {
    const issuer = new TokenIssuer(file, (await newKey()).privateKey);
    await issuer.rotate();
    return issuer;
  }

  /** From now on tokens are signed with a new key; those of before stay valid. */
  async rotate(): Promise<void> {
    const key = {kid: `key-${this.keys.length + 1}`, ...await newKey()};
    const jwks = {
      keys: [...this.keys, key].map(({kid, publicKey}) => (
        {...publicKey.export({format: 'jwk'}), kid, alg: 'RS256', use: 'sig'})),
    };
    await writeFile(`${this.file}.new`, JSON.stringify(jwks));
    await rename(`${this.file}.new`, this.file);  // A reader sees all of it, or what was before.
    this.keys.push(key);
  }

  /** A valid one, with the newest key. */
  issue(user: string): string {
    return this.signed(user);
  }

  /** One of each kind that is not to be accepted. */
  invalid(): Record<string, string> {
    const good = this.signed('eve');
    return {
      garbage: 'no.token',
      'no token at all': '',
      'cut off': good.slice(0, -20),
      expired: this.signed('eve', {claims: {exp: Math.floor(Date.now() / 1000) - 60}}),
      'of another issuer': this.signed('eve', {claims: {iss: 'https://elsewhere.test/'}}),
      'for another audience': this.signed('eve', {claims: {aud: 'mail'}}),
      'signed by a stranger': this.signed('eve', {key: this.stranger}),
      'of an unknown key': this.signed('eve', {key: this.stranger, kid: 'key-0'}),
      'without a key': this.signed('eve', {kid: ''}),
    };
  }

  private signed(user: string, {key, kid, claims}: {
    key?: KeyObject, kid?: string, claims?: Record<string, unknown>,
  } = {}): string {
    const newest = this.keys.at(-1)!;
    const header = base64url({alg: 'RS256', typ: 'JWT', kid: kid ?? newest.kid});
    const payload = base64url({
      iss: TokenIssuer.ISSUER,
      aud: TokenIssuer.AUDIENCE,
      sub: user,
      exp: Math.floor(Date.now() / 1000) + 3600,
      ...claims,
    });
    const signature = sign('sha256', Buffer.from(`${header}.${payload}`), key ?? newest.privateKey);
    return `${header}.${payload}.${signature.toString('base64url')}`;
  }
}
