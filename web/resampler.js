// Resampling with a delay of a millisecond or two, by a windowed sinc: diffusiontalker/audio/resampler.py.
import { joined } from "./arrays.js";

/** Zero crossings of the sinc to either side. */
const CROSSINGS = 24;
/** Where the pass band ends, as a share of half the lower rate. */
const ROLL_OFF = 0.92;
/** Of the Kaiser window. */
const BETA = 8;

/** Chunks at one rate in, chunks at another out: the same samples however they are cut. */
export class Resampler {
  #buffer;
  /** Number, in the whole input, of the first sample in the buffer. */
  #first;
  #made = 0;
  /** @type {Map<number, Float64Array>} */
  #taps = new Map();

  /**
   * @param {number} rate Hz, whole
   * @param {number} out Hz, whole
   */
  constructor(rate, out) {
    const divisor = gcd(rate, out);
    this.rate = rate;
    this.out = out;
    this.step = rate / divisor;
    this.phases = out / divisor;
    /** Input samples to either side that an output sample depends on. */
    this.half = Math.ceil(CROSSINGS * Math.max(rate / out, 1));
    this.#buffer = new Float32Array(this.half - 1);
    this.#first = 1 - this.half;
  }

  /** Delay in seconds. */
  get delay() {
    return this.rate === this.out ? 0 : this.half / this.rate;
  }

  /**
   * @param {Float32Array} samples
   * @returns {Float32Array} all output samples that do not depend on later input
   */
  push(samples) {
    if (this.rate === this.out) return samples;
    this.#buffer = joined(this.#buffer, samples);
    const known = this.#first + this.#buffer.length;
    // Output k lies at k * step / phases of the input and depends on `half` samples after it.
    const until = Math.floor(((known - this.half) * this.phases - 1) / this.step) + 1;
    return this.#make(until);
  }

  /**
   * @param {number} pushed samples of the input
   * @returns {Float32Array} the last output samples, with silence after the end of the input
   */
  close(pushed) {
    if (this.rate === this.out) return new Float32Array(0);
    this.#buffer = joined(this.#buffer, new Float32Array(this.half + 1));
    return this.#make(Math.ceil((pushed * this.phases) / this.step));
  }

  #make(until) {
    const made = new Float32Array(Math.max(until - this.#made, 0));
    for (let k = 0; k < made.length; k++) {
      const position = (this.#made + k) * this.step;
      const at = Math.floor(position / this.phases) - (this.half - 1) - this.#first;
      const taps = this.#tapsOf(position % this.phases);
      let sum = 0;
      for (let i = 0; i < taps.length; i++) sum += taps[i] * this.#buffer[at + i];
      made[k] = sum;
    }
    if (made.length) {
      this.#made += made.length;
      const next = Math.floor((this.#made * this.step) / this.phases) - (this.half - 1);
      this.#buffer = this.#buffer.slice(next - this.#first);
      this.#first = next;
    }
    return made;
  }

  /** Weights of the input samples around an output sample of this phase: (2 * half,). */
  #tapsOf(phase) {
    let taps = this.#taps.get(phase);
    if (!taps) {
      const cutoff = ROLL_OFF * Math.min(this.out / this.rate, 1);
      const raw = Float64Array.from({ length: 2 * this.half }, (_, i) => {
        const distance = phase / this.phases - (i + 1 - this.half);
        const inside = Math.max(1 - (distance / this.half) ** 2, 0);
        return sinc(cutoff * distance) * bessel(BETA * Math.sqrt(inside));
      });
      const sum = raw.reduce((a, b) => a + b);
      taps = raw.map((tap) => tap / sum);
      this.#taps.set(phase, taps);
    }
    return taps;
  }
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** The modified Bessel function of order 0, by its series. */
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
