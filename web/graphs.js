// The ONNX graphs of a student, a method for each: diffusiontalker/runtime/graphs.py.
import { UserError } from "./errors.js";
import { KINDS, Library } from "./selection.js";

/** @typedef {{encoder: Float32Array, decoder: Float32Array}} ChunkState what the graphs carry from one chunk
 *     to the next */

/** The graphs of one artifact. They hold nothing of what they animate. */
export class Graphs {
  #ort;
  #sessions;
  #bands;
  #channels;

  /**
   * @param {object} ort onnxruntime-web
   * @param {Record<string, object>} sessions
   * @param {import("./artifact.js").Config} config
   * @returns {Promise<Graphs>}
   * @throws {Error} they do not belong to the configuration
   */
  static async of(ort, sessions, config) {
    const graphs = new Graphs(ort, sessions, config);
    await graphs.#readLibraries(config);
    return graphs;
  }

  /** Use `of`. */
  constructor(ort, sessions, config) {
    this.#ort = ort;
    this.#sessions = sessions;
    this.#bands = config.front_end.bands;
    this.#channels = config.channels.length;
  }

  /** @returns {ChunkState} at the beginning of a clip; `encode` and `decode` update it */
  newState() {
    const zeros = (graph) => new Float32Array(this.#width(graph, "state"));
    return { encoder: zeros("encoder"), decoder: zeros("decoder") };
  }

  /**
   * `encoder.onnx`: the next chunk of T frames.
   *
   * @param {Float32Array} logMel (2T + 3) * 80
   * @param {ChunkState} state
   * @returns {Promise<{audio: Float32Array, voice: Float32Array}>} audio features (T * A,) and voice features
   *     (T * H,)
   */
  async encode(logMel, state) {
    const made = await this.#run("encoder", {
      log_mel: [logMel, [1, logMel.length / this.#bands, this.#bands]],
      state: [state.encoder, [1, state.encoder.length]],
    });
    state.encoder = made.next_state;
    return { audio: made.audio, voice: made.voice };
  }

  /**
   * `personalizer.onnx`.
   *
   * @param {import("./voice_statistics.js").VoiceStatistics} statistics
   * @returns {Promise<{identity: Float32Array, emotion: Float32Array}>} unit embeddings
   */
  async personalise(statistics) {
    const { mean, variance } = statistics.moments();
    return this.#run("personalizer", { mean: [mean, [1, mean.length]], variance: [variance, [1, variance.length]] });
  }

  /**
   * `modulation.onnx`.
   *
   * @param {{identity: Float32Array, emotion: Float32Array}} embeddings
   * @returns {Promise<Float32Array>} FiLM scale and shift of all layers in all sampling steps
   */
  async modulate({ identity, emotion }) {
    const made = await this.#run("modulation", {
      identity: [identity, [1, identity.length]],
      emotion: [emotion, [1, emotion.length]],
    });
    return made.modulation;
  }

  /**
   * `decoder.onnx`: the next chunk of T frames.
   *
   * @param {Float32Array} audio features (T * A,)
   * @param {Float32Array} noise (T * 52,), standard normal in every frame
   * @param {Float32Array} modulation
   * @param {ChunkState} state
   * @returns {Promise<{coefficients: Float32Array, blink: Float32Array}>} (T * 52,), and the probability (T,)
   *     that a blink begins
   */
  async decode(audio, noise, modulation, state) {
    const frames = audio.length / this.audioWidth;
    const made = await this.#run("decoder", {
      audio: [audio, [1, frames, this.audioWidth]],
      noise: [noise, [1, frames, this.#channels]],
      modulation: [modulation, [1, 1, modulation.length]],
      state: [state.decoder, [1, state.decoder.length]],
    });
    state.decoder = made.next_state;
    return { coefficients: made.coefficients, blink: made.blink };
  }

  async #readLibraries({ identities, emotions }) {
    /** Numbers of voice features, H: the first half serves identity, the second emotion. */
    this.voiceWidth = this.#width("personalizer", "mean");
    /** Numbers of audio features, A. */
    this.audioWidth = this.#width("decoder", "audio");
    const ones = [new Float32Array(this.voiceWidth).fill(1), [1, this.voiceWidth]];
    const rows = await this.#run("personalizer", { mean: ones, variance: ones });
    this.libraries = {
      identity: new Library("identity", identities, rows.identities),
      emotion: new Library("emotion", emotions, rows.emotions),
    };
    for (const kind of KINDS) {
      if (this.libraries[kind].entries[0].length !== rows[kind].length) {
        throw new UserError(`config.yaml has another number of names for ${kind}`);
      }
    }
    this.newState();
  }

  /** The last axis of an input of a graph. */
  #width(graph, input) {
    return this.#sessions[graph].inputMetadata.find(({ name }) => name === input).shape.at(-1);
  }

  async #run(graph, inputs) {
    const feeds = {};
    for (const [name, [data, dims]] of Object.entries(inputs)) {
      feeds[name] = new this.#ort.Tensor("float32", data, dims);
    }
    const made = await this.#sessions[graph].run(feeds);
    return Object.fromEntries(Object.entries(made).map(([name, tensor]) => [name, tensor.data]));
  }
}
