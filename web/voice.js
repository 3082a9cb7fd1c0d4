// diffusiontalker/runtime/voice.py: who speaks, and in which emotion.
import { UserError } from "./errors.js";

/** The voice decides. */
export const AUTO = "auto";

/** @typedef {string | Record<string, number>} Choice `AUTO`, a name, or weights over names */

/** Mean and variance over time of what the encoder says of the voice. */
export class Statistics {
  #keep;
  #count;
  #total;
  #squares;

  /** @param {Float64Array} keep (H,): share of its weight that a frame keeps in the next */
  constructor(keep) {
    this.#keep = keep;
    this.#count = new Float64Array(keep.length);
    this.#total = new Float64Array(keep.length);
    this.#squares = new Float64Array(keep.length);
  }

  /** @param {Float32Array} voice (T * H,), frames in order */
  add(voice) {
    const width = this.#keep.length;
    voice.forEach((value, i) => {
      const h = i % width;
      this.#count[h] = this.#count[h] * this.#keep[h] + 1;
      this.#total[h] = this.#total[h] * this.#keep[h] + value;
      this.#squares[h] = this.#squares[h] * this.#keep[h] + value ** 2;
    });
  }

  /** @returns {{mean: Float32Array, variance: Float32Array}} (H,) each */
  moments() {
    const mean = this.#total.map((total, h) => total / this.#count[h]);
    const variance = this.#squares.map((squares, h) => Math.max(squares / this.#count[h] - mean[h] ** 2, 0));
    return { mean: Float32Array.from(mean), variance: Float32Array.from(variance) };
  }
}

/** The names that a student knows, of identities or of emotions, and their embeddings. */
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
   * @param {Choice} choice
   * @returns {Float32Array | null} its unit embedding; null: the voice decides
   * @throws {UserError} an unknown name, or no usable weight
   */
  resolve(choice) {
    if (choice === AUTO) return null;
    if (typeof choice === "string") return this.entries[this.#index(choice)];
    const sum = new Float32Array(this.entries[0].length);
    for (const [name, weight] of Object.entries(choice)) {
      if (!(weight >= 0 && weight < Infinity)) {
        throw new UserError(`${this.kind} '${name}': weight ${weight}; give 0 or more`);
      }
      const entry = this.entries[this.#index(name)];
      sum.forEach((_, i) => { sum[i] += weight * entry[i]; });
    }
    if (!(norm(sum) > 1e-12)) throw new UserError(`${this.kind}: the weights are all zero`);
    return unit(sum);
  }

  /**
   * The entry most like the voice, by cosine.
   *
   * @param {Float32Array} heard
   * @returns {number}
   */
  nearest(heard) {
    const likeness = this.entries.map((entry) => entry.reduce((sum, value, i) => sum + value * heard[i], 0));
    return likeness.indexOf(Math.max(...likeness));
  }

  /** Nobody in particular: before anything was heard. */
  middle() {
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
