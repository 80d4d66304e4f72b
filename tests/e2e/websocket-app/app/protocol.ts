/** @file What clients and the application say to each other: JSON, one object a message. */

export type Request =
    {readonly type: 'authenticate', readonly token: string} |
    {readonly type: 'message', readonly id: string, readonly text: string};

export type Answer =
    {readonly type: 'authenticated', readonly user: string} |
    /** Of the bot, to the message with that id. */
    {readonly type: 'reply', readonly id: string, readonly text: string} |
    /** Without an id it speaks of the authentication. */
    {readonly type: 'error', readonly id?: string, readonly message: string};

/** Null for what is no request. */
export function parseRequest(text: string): Request | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const {type, token, id, text: said} = Object(value) as Record<string, unknown>;
  if (type === 'authenticate' && typeof token === 'string') return {type, token};
  if (type === 'message' && typeof id === 'string' && typeof said === 'string') {
    return {type, id, text: said};
  }
  return null;
}
