// An open microphone whose samples go to a stream.
import { Recording, wav } from "./recording.js";

/** Seconds by which the time lags behind the newest frame at most: frames come in batches. */
const MAX_LAG = 0.1;

export class Live {
  /** Seconds that are shown. */
  time = 0;
  #source;
  /** @type {Float32Array[]} all samples so far */
  #chunks = [];

  /**
   * @param {Awaited<ReturnType<typeof import("./microphone.js").open>>} source
   * @param {import("./backend.js").Stream} stream
   * @param {import("./face.js").Face} face to which the stream's frames are appended
   */
  constructor(source, stream, face) {
    this.#source = source;
    this.stream = stream;
    this.face = face;
    source.port.onmessage = ({ data }) => {
      this.#chunks.push(data);
      stream.push(data);
    };
  }

  /** Seconds of the newest frame. */
  get newest() {
    return Math.max(this.face.frames - 1, 0) / this.face.fps;
  }

  /**
   * @param {number} passed seconds since the last call
   * @returns {number} the time that is to be shown
   */
  advance(passed) {
    this.time = Math.min(Math.max(this.time + passed, this.newest - MAX_LAG), this.newest);
    return this.time;
  }

  /** Close microphone and stream; fulfilled after the last frames. */
  async close() {
    this.#source.port.onmessage = null;
    await this.#source.stop();
    await this.stream.close();
  }

  /** What the microphone recorded. */
  recording() {
    return new Recording(wav(this.#chunks, this.#source.rate), "microphone.wav");
  }
}
