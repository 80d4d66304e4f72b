/** @file Where a worker finds what it needs, from its environment. */

export interface Settings {
  /** This worker's name in the daemon's records and in the log. */
  readonly workerId: string;
  readonly breakerd: string;
  readonly dynamodb: string;
  readonly management: string;
  readonly jwks: string;
  readonly issuer: string;
  readonly audience: string;
}

export function settingsFrom(environment: NodeJS.ProcessEnv): Settings {
  const required = (variable: string): string => {
    const value = environment[variable];
    if (!value) throw new Error(`${variable} is not set`);
    return value;
  };
  return {
    workerId: required('WORKER_ID'),
    breakerd: required('BREAKERD_TARGET'),
    dynamodb: required('DYNAMODB_ENDPOINT'),
    management: required('MANAGEMENT_ENDPOINT'),
    jwks: required('JWKS_URI'),
    issuer: required('JWT_ISSUER'),
    audience: required('JWT_AUDIENCE'),
  };
}
