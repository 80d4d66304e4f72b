/** @file What a client of the application is told when something does not work. */

/** Stands for an answer; its message is for the client's eyes. */
export class AnswerError extends Error {
  override readonly name: string = 'AnswerError';
}

/** The client's own mistake. */
export class InvalidTokenError extends AnswerError {
  override readonly name = 'InvalidTokenError';
}

/** A dependency is known to be down, and was not asked. */
export class UnavailableError extends AnswerError {
  override readonly name = 'UnavailableError';
}
