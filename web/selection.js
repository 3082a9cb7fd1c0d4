// How a caller selects identity and emotion: diffusiontalker/runtime/conditioning.py.
import { UserError } from "./errors.js";

/** What a student has a library of. */
export const KINDS = ["identity", "emotion"];
/** The library's entry that is most like the voice. */
export const AUTO = "auto";

/** @typedef {string | Record<string, number> | Float32Array} VoiceSelection `AUTO`, a name, weights over
 *     names, or an embedding */

/** Names of identities or of emotions that a student knows, and their unit embeddings. */
export class Library {
  /**
   * @param {string} kind identity or emotion
   * @param {string[]} names
   * @param {Float32Array} rows their embeddings, one after another
   */
  constructor(kind, names, rows) {
    const width = rows.length / names.length;
    this.kind = kind;
    this.names = names;
    this.entries = names.map((_, i) => rows.slice(i * width, (i + 1) * width));
  }

  /**
   * @param {VoiceSelection} selection
   * @returns {Float32Array | null} its unit embedding; null for `AUTO`
   * @throws {UserError} an unknown name, no usable weight, or an embedding of another size
   */
  resolve(selection) {
    if (selection === AUTO) return null;
    if (typeof selection === "string") return this.entries[this.#index(selection)];
    const width = this.entries[0].length;
    let sum = new Float32Array(width);
    if (selection instanceof Float32Array) {
      if (selection.length !== width) {
        throw new UserError(`${this.kind}: an embedding of ${selection.length} numbers; this student's have ${width}`);
      }
      sum = selection;
    } else {
      for (const [name, weight] of Object.entries(selection)) {
        if (!(weight >= 0 && weight < Infinity)) {
          throw new UserError(`${this.kind} '${name}': weight ${weight}; give 0 or more`);
        }
        const entry = this.entries[this.#index(name)];
        sum.forEach((_, i) => { sum[i] += weight * entry[i]; });
      }
    }
    if (!(norm(sum) > 1e-12 && norm(sum) < Infinity)) {
      throw new UserError(`${this.kind}: the weights or the embedding are all zero or not finite`);
    }
    return unit(sum);
  }

  /**
   * Cosine similarity of a unit embedding to each entry.
   *
   * @param {Float32Array} embedding
   * @returns {number[]}
   */
  similarities(embedding) {
    return this.entries.map((entry) => entry.reduce((sum, value, i) => sum + value * embedding[i], 0));
  }

  /**
   * The entry of highest cosine similarity to a unit embedding.
   *
   * @param {Float32Array} embedding
   * @returns {number}
   */
  nearest(embedding) {
    const similarities = this.similarities(embedding);
    return similarities.indexOf(Math.max(...similarities));
  }

  /** The normalised mean of the entries: what a stream begins with. */
  mean() {
    const count = this.names.length;
    const mean = this.entries[0].map((_, i) => this.entries.reduce((sum, entry) => sum + entry[i], 0) / count);
    return norm(mean) < 1e-6 ? this.entries[0] : unit(mean);
  }

  #index(name) {
    const index = this.names.indexOf(name);
    if (index < 0) {
      const known = this.names.slice(0, 20).join(", ");
      throw new UserError(`unknown ${this.kind} '${name}'; known: ${known} (or '${AUTO}')`);
    }
    return index;
  }
}

/** @param {Float32Array} vector */
export function norm(vector) {
  return Math.sqrt(vector.reduce((sum, value) => sum + value ** 2, 0));
}

/** @param {Float32Array} vector not 0 */
export function unit(vector) {
  const length = norm(vector);
  return vector.map((value) => value / length);
}
