// diffusiontalker/runtime/student.py: audio in, coefficients out, on onnxruntime-web.
import { joined } from "./arrays.js";
import { open } from "./artifact.js";
import { FLOOR_DB, isQuiet, normalize, resampled, SAMPLE_RATE } from "./audio.js";
import { oneLine, UserError } from "./errors.js";
import {
  BANDS,
  FPS,
  frameCount,
  OVERLAP,
  pad,
  PER_FRAME,
  power,
  standardise,
  starts,
  STEM,
} from "./log_mel.js";
import { gaussian } from "./noise.js";
import { Stream } from "./stream.js";
import { AUTO, Library, Statistics } from "./voice.js";

/** Frames of a recording that pass through the graphs together. */
const CHUNK = 10 * FPS;
const SILENT = `silent: nothing in it is louder than ${FLOOR_DB} dB, and the face is at rest`;

/**
 * @typedef {object} Options
 * @property {import("./voice.js").Choice} [identity] "auto", a name, or weights over names
 * @property {import("./voice.js").Choice} [emotion] likewise
 * @property {number} [seed] of the noise; the same seed gives the same face, here and in Python
 *
 * @typedef {object} Animation
 * @property {Float32Array} coefficients (frames * 52,) in 0-1, frame after frame
 * @property {number} frames 30 a second
 * @property {string | null} identity the library's entry used; null: weights were given, or nobody speaks
 * @property {string | null} emotion
 * @property {string[]} channels names of the 52
 * @property {string[]} notes what is odd about the recording
 *
 * @typedef {{encoder: Float32Array, decoder: Float32Array}} State
 */

/** A loaded artifact. It holds nothing of what it animates. */
export class Student {
  #ort;
  #sessions;

  /**
   * @param {string} folder address of the artifact: config.yaml and its graphs
   * @param {{ort: object}} runtime the onnxruntime-web that runs it
   * @returns {Promise<Student>}
   * @throws {UserError} a file is missing or damaged, or two of them do not belong together
   */
  static async load(folder, { ort }) {
    const { config, sessions } = await open(folder, ort);
    const student = new Student(folder, ort, config, sessions);
    try {
      await student.#readLibraries(config);
    } catch (error) {
      throw new UserError(`${folder}: these are not a student's graphs (${oneLine(error)})`);
    }
    return student;
  }

  /** Use `load`. */
  constructor(folder, ort, config, sessions) {
    this.#ort = ort;
    this.#sessions = sessions;
    this.folder = folder;
    this.channels = config.channels;
    /** Mel frames (`lookAheadMs`); null: it hears whole recordings alone. */
    this.lookAhead = config.look_ahead;
  }

  /** Names of the library. */
  get identities() {
    return this.libraries.identity.names;
  }

  /** Names of the library. */
  get emotions() {
    return this.libraries.emotion.names;
  }

  /**
   * Animate a recording. Of one in which nobody speaks the face is at rest: all zeros.
   *
   * @param {Float32Array} samples mono, in [-1, 1]
   * @param {number} rate Hz
   * @param {Options} [options]
   * @returns {Promise<Animation>}
   * @throws {UserError} bad audio, an unknown name or a bad value
   */
  async animate(samples, rate, { identity = AUTO, emotion = AUTO, seed = 0 } = {}) {
    const given = {
      identity: this.libraries.identity.resolve(identity),
      emotion: this.libraries.emotion.resolve(emotion),
    };
    const sound = resampled(samples, rate);
    if (isQuiet(sound)) return this.#atRest(frameCount(sound.length), identity, emotion);
    const draw = gaussian(seed, this.channels.length);
    const state = this.newState();
    const features = [];
    const statistics = new Statistics(new Float64Array(this.voiceWidth).fill(1));
    for (const logMel of chunks(normalize(sound), this.lookAhead)) {
      const { audio, voice } = await this.listen(logMel, state);
      features.push(audio);
      statistics.add(voice);
    }
    const names = { identity, emotion };
    const heard = given.identity && given.emotion ? null : await this.embed(statistics);
    for (const kind of ["identity", "emotion"]) {
      if (given[kind]) {
        if (typeof names[kind] !== "string") names[kind] = null;
      } else {
        const index = this.libraries[kind].nearest(heard[kind]);
        names[kind] = this.libraries[kind].names[index];
        given[kind] = this.libraries[kind].entries[index];
      }
    }
    const modulation = await this.modulate(given);
    let coefficients = new Float32Array(0);
    for (const audio of features) {
      const frames = audio.length / this.audioWidth;
      coefficients = joined(coefficients, await this.move(audio, draw(frames), modulation, state));
    }
    const frames = coefficients.length / this.channels.length;
    return { coefficients, frames, ...names, channels: this.channels, notes: [] };
  }

  /**
   * A face for speech as it comes.
   *
   * @param {number} [rate] Hz
   * @param {Options} [options]
   * @throws {UserError} a student that hears whole recordings alone, a bad rate, name or value
   */
  stream(rate = SAMPLE_RATE, options = {}) {
    return new Stream(this, rate, options);
  }

  /** The face where nobody speaks. */
  #atRest(frames, ...choices) {
    const [identity, emotion] = choices.map((choice) => (typeof choice === "string" && choice !== AUTO ? choice : null));
    const coefficients = new Float32Array(frames * this.channels.length);
    return { coefficients, frames, identity, emotion, channels: this.channels, notes: [SILENT] };
  }

  // The parts, for whole recordings and streams alike.

  /** @returns {State} at the beginning of a clip; `listen` and `move` change it */
  newState() {
    const zeros = (graph) => new Float32Array(this.#width(graph, "state"));
    return { encoder: zeros("encoder"), decoder: zeros("decoder") };
  }

  /**
   * @param {Float32Array} logMel the next chunk of T frames: (2T + 3) * 80
   * @param {State} state
   * @returns {Promise<{audio: Float32Array, voice: Float32Array}>} T rows each
   */
  async listen(logMel, state) {
    const made = await this.#run("encoder", {
      log_mel: [logMel, [1, logMel.length / BANDS, BANDS]],
      state: [state.encoder, [1, state.encoder.length]],
    });
    state.encoder = made.next_state;
    return { audio: made.audio, voice: made.voice };
  }

  /**
   * @param {Statistics} statistics
   * @returns {Promise<{identity: Float32Array, emotion: Float32Array}>} unit
   */
  async embed(statistics) {
    const { mean, variance } = statistics.moments();
    return this.#run("personalizer", { mean: [mean, [1, mean.length]], variance: [variance, [1, variance.length]] });
  }

  /**
   * @param {{identity: Float32Array, emotion: Float32Array}} embeddings
   * @returns {Promise<Float32Array>} what they do to the layers
   */
  async modulate({ identity, emotion }) {
    const made = await this.#run("modulation", {
      identity: [identity, [1, identity.length]],
      emotion: [emotion, [1, emotion.length]],
    });
    return made.modulation;
  }

  /**
   * @param {Float32Array} audio what `listen` made of the next chunk of T frames
   * @param {Float32Array} noise (T * 52,)
   * @param {Float32Array} modulation
   * @param {State} state
   * @returns {Promise<Float32Array>} (T * 52,)
   */
  async move(audio, noise, modulation, state) {
    const frames = audio.length / this.audioWidth;
    const made = await this.#run("decoder", {
      audio: [audio, [1, frames, this.audioWidth]],
      noise: [noise, [1, frames, this.channels.length]],
      modulation: [modulation, [1, 1, modulation.length]],
      state: [state.decoder, [1, state.decoder.length]],
    });
    state.decoder = made.next_state;
    return made.coefficients;
  }

  async #readLibraries({ identities, emotions }) {
    this.voiceWidth = this.#width("personalizer", "mean");
    this.audioWidth = this.#width("decoder", "audio");
    const ones = [new Float32Array(this.voiceWidth).fill(1), [1, this.voiceWidth]];
    const rows = await this.#run("personalizer", { mean: ones, variance: ones });
    this.libraries = {
      identity: new Library("identity", identities, rows.identities),
      emotion: new Library("emotion", emotions, rows.emotions),
    };
    for (const kind of ["identity", "emotion"]) {
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

/**
 * The log-mel chunks of a prepared recording, for a look-ahead of `ahead` mel frames; for null,
 * one chunk, which may see to either side.
 */
function* chunks(samples, ahead) {
  const total = frameCount(samples.length);
  const size = ahead === null ? total : CHUNK;
  const first = (ahead ?? PER_FRAME) - STEM + 1;
  const padded = pad(samples);
  for (let begin = 0; begin < total; begin += size) {
    const rows = PER_FRAME * Math.min(size, total - begin) + OVERLAP;
    const low = PER_FRAME * begin + first;
    const inside = [low, low + rows].map((row) => Math.min(Math.max(row, 0), PER_FRAME * total));
    const out = new Float32Array(rows * BANDS);
    const made = standardise(power(padded, starts(inside[0], inside[1] - inside[0])));
    out.set(made, (inside[0] - low) * BANDS);
    yield out;
  }
}
