import {BreakerdError} from './errors.js';

const MAX_BYTES = 128;

/** Throws BreakerdError INVALID_ARGUMENT unless both are valid: see below. */
export function checkNames(service: string, operation: string): void {
  checkName('service', service);
  checkName('operation', operation);
}

/** As above; may not be empty, since an empty one is no name to count a worker by. */
export function checkWorkerId(workerId: string, field = 'workerId'): void {
  checkName(field, workerId);
}

function checkName(field: string, value: unknown): void {
  const valid = typeof value === 'string' && value !== '' &&
      Buffer.byteLength(value) <= MAX_BYTES && !/[\x00-\x1f\x7f-\x9f]/.test(value);
  if (valid) return;
  const allowed = `1 to ${MAX_BYTES} bytes without control characters`;
  throw new BreakerdError(
      'INVALID_ARGUMENT', `${field}: ${JSON.stringify(value)} is not ${allowed}`);
}
