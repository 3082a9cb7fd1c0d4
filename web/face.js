/** Coefficients as they come, frame after frame, and as they are saved. */
export class Face {
  #values = new Float32Array(0);
  frames = 0;

  /**
   * @param {string[]} channels
   * @param {number} fps
   */
  constructor(channels, fps) {
    this.channels = channels;
    this.fps = fps;
  }

  /** @param {Float32Array} coefficients (T * channels,) */
  append(coefficients) {
    const used = this.frames * this.channels.length;
    const needed = used + coefficients.length;
    if (needed > this.#values.length) {
      const roomier = new Float32Array(2 * needed);
      roomier.set(this.#values.subarray(0, used));
      this.#values = roomier;
    }
    this.#values.set(coefficients, used);
    this.frames = needed / this.channels.length;
  }

  /**
   * The curve of a channel.
   *
   * @param {string} channel
   * @param {number} [first] frame
   */
  curve(channel, first = 0) {
    const index = this.channels.indexOf(channel);
    return Array.from(
      { length: this.frames - first },
      (_, i) => this.#values[(first + i) * this.channels.length + index],
    );
  }

  /** BEAT's layout: names once, then per frame its weights and time. */
  toJSON() {
    const width = this.channels.length;
    const frames = Array.from({ length: this.frames }, (_, i) => ({
      time: rounded(i / this.fps),
      weights: Array.from(this.#values.subarray(i * width, (i + 1) * width), rounded),
    }));
    return { names: this.channels, fps: this.fps, frames };
  }
}

const rounded = (value) => Math.round(value * 1e6) / 1e6;
