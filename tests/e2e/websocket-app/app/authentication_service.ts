/** @file Who a client is, by its JSON Web Token. */

import {JwtVerifier} from 'aws-jwt-verify';
import {FetchError, JwkValidationError, JwksValidationError} from 'aws-jwt-verify/error';
import {SimpleJwksCache, SimplePenaltyBox} from 'aws-jwt-verify/jwk';
import type {CircuitBreakerService} from 'breakerd-client';

import type {CircuitLog} from './circuit_log.js';
import {InvalidTokenError, UnavailableError} from './errors.js';
import {HttpFetcher} from './http_fetcher.js';
import {VERIFY_JWT} from './policies.js';
import type {Settings} from './settings.js';

/** How long a worker takes no new look at the keys after a token named one that is not there. */
const UNKNOWN_KEY_PENALTY_S = 1;

/**
 * The keys could not be had, or are no keys. All other errors of a verifier speak of the token,
 * which is its sender's affair.
 */
function isFailure(error: unknown): boolean {
  return error instanceof FetchError || error instanceof JwksValidationError ||
      error instanceof JwkValidationError;
}

export class AuthenticationService {
  private readonly verifier;

  constructor(settings: Settings, private readonly breakers: CircuitBreakerService,
              private readonly circuitLog: CircuitLog) {
    this.verifier = JwtVerifier.create(
        {issuer: settings.issuer, audience: settings.audience, jwksUri: settings.jwks}, {
          jwksCache: new SimpleJwksCache({
            fetcher: new HttpFetcher(),
            penaltyBox: new SimplePenaltyBox({waitSeconds: UNKNOWN_KEY_PENALTY_S}),
          }),
        });
  }

  /** Resolves with the name of the token's owner. */
  async verify(token: string): Promise<string> {
    try {
      const payload = await this.breakers.execute(
          'cognito', 'verifyJWT', () => this.verifier.verify(token), (refusal) => {
            this.circuitLog.refused(refusal);
            throw new UnavailableError('Authentication temporarily unavailable');
          }, {...VERIFY_JWT, isFailure});
      return payload.sub ?? '';
    } catch (error) {
      if (error instanceof UnavailableError || isFailure(error)) throw error;
      throw new InvalidTokenError('Invalid token', {cause: error});
    }
  }
}
