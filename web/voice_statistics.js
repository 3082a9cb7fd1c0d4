// Mean and variance over time of the encoder's voice features, which personalizer.onnx takes:
// diffusiontalker/runtime/voice_statistics.py.

/** Count, sum and sum of squares per voice feature, with exponential forgetting where that is asked for. */
export class VoiceStatistics {
  #keep;
  #count;
  #total;
  #squares;

  /** @param {Float64Array} keep (H,): factor on the sums of each voice feature per frame; 1 forgets nothing */
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
