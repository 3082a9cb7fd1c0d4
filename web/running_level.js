// Level correction of a live stream, from the past alone: diffusiontalker/runtime/stream_batch/running_level.py.

/** Windows by which the loudest bins may be filled before they count as speech, not as a click. */
const CLICKS = 2;

/** The gain that brings a stream to the common level, by a histogram of loudness with bins of 1 dB and
 * exponential forgetting. */
export class RunningLevel {
  /** Windows seen so far. */
  windows = 0;
  /** @type {number | null} number of the window in which speech was first detected */
  speechStart = null;
  #frontEnd;
  #parameters;
  /** Windows and their power per bin, the quietest first. */
  #counts;
  #powers;
  #keep;

  /**
   * @param {import("./artifact.js").FrontEnd} frontEnd
   * @param {import("./artifact.js").StreamParameters} parameters
   */
  constructor(frontEnd, parameters) {
    this.#frontEnd = frontEnd;
    this.#parameters = parameters;
    this.#counts = new Float64Array(1 - frontEnd.floor_db);
    this.#powers = new Float64Array(1 - frontEnd.floor_db);
    this.#keep = Math.exp(-1 / parameters.level_memory);
  }

  /**
   * The gain for the next window.
   *
   * @param {number} power its mean square
   */
  next(power) {
    const { floor_db: floor, span_db: span, level_db: level } = this.#frontEnd;
    const { level_trust: trust, level_max_db: most } = this.#parameters;
    const [counts, powers] = [this.#counts, this.#powers];
    for (let bin = 0; bin < counts.length; bin++) {
      counts[bin] *= this.#keep;
      powers[bin] *= this.#keep;
    }
    const decibels = 10 * Math.log10(power + 1e-12);
    if (decibels >= floor) {
      const bin = Math.min(Math.floor(decibels - floor), -floor);
      counts[bin] += 1;
      powers[bin] += power;
    }
    this.windows += 1;
    let top = counts.length - 1;
    for (let above = counts[top]; above <= CLICKS; above += counts[top]) {
      if (--top < 0) return 1;
    }
    this.speechStart ??= this.windows - 1;
    const speech = (values) => values.subarray(Math.max(top - span, 0)).reduce((a, b) => a + b);
    const count = speech(counts);
    const change = Math.min(Math.max(level - 10 * Math.log10(speech(powers) / count), -most), most);
    return 10 ** (((count / (count + trust)) * change) / 20);
  }
}
