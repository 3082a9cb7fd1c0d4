// When the eyes close is drawn, how they close is learned: diffusiontalker/runtime/blinks.py.
import { philox } from "./noise.js";

const STREAM = 1;

/** The blinks of one recording or stream, chunk after chunk: the same however it is cut. */
export class Blinks {
  #shape;
  #width;
  #lids;
  #words;
  /** Frames since the last blink began. */
  #since = Infinity;

  /**
   * @param {string[]} channels
   * @param {{shape: number[]}} parameters how far the lids are closed in each frame of a blink; empty: the face
   *     never blinks
   * @param {number} seed
   */
  constructor(channels, { shape }, seed) {
    this.#shape = Float32Array.from(shape);
    this.#width = channels.length;
    this.#lids = ["eyeBlinkLeft", "eyeBlinkRight"].map((name) => channels.indexOf(name));
    this.#words = philox(seed, STREAM);
  }

  /**
   * @param {Float32Array} coefficients (T * 52,) of the next chunk; changed in place
   * @param {Float32Array} probability (T,) that a blink begins
   * @returns {Float32Array} the coefficients
   */
  process(coefficients, probability) {
    const length = this.#shape.length;
    if (!length) return coefficients;
    for (let t = 0; t < probability.length; t++) {
      const [high] = this.#words();
      if (this.#since >= length && high * 2 ** -32 < probability[t]) this.#since = 0;
      if (this.#since < length) {
        for (const lid of this.#lids) {
          const at = t * this.#width + lid;
          coefficients[at] += (1 - coefficients[at]) * this.#shape[this.#since];
        }
      }
      this.#since += 1;
    }
    return coefficients;
  }
}
