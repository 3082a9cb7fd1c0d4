// Errors that are shown to users.

/** A mistake that its user can mend; the message is one line: what, where, and the mend. */
export class UserError extends Error {}

/** @param {unknown} error of a library */
export function oneLine(error) {
  return String(error?.message ?? error).replace(/\s+/g, " ").slice(0, 200);
}
