/** A mistake that its user can mend; the message is one line: what, where, and the mend. */
export class UserError extends Error {}
