// Audio in, coefficients out, on onnxruntime-web: diffusiontalker/runtime/{student,offline}.py.
import { joined } from "./arrays.js";
import { open } from "./artifact.js";
import { FPS, isQuiet, normalize, resampled, SAMPLE_RATE } from "./audio.js";
import { Blinks } from "./blinks.js";
import { oneLine, UserError } from "./errors.js";
import { Graphs } from "./graphs.js";
import { frameCount, LogMel } from "./log_mel.js";
import { coloured } from "./noise.js";
import { PostProcessor } from "./post_processing.js";
import { AUTO, KINDS } from "./selection.js";
import { Stream } from "./stream.js";
import { VoiceStatistics } from "./voice_statistics.js";

/** Frames of a recording that pass through the graphs together. */
const CHUNK = 10 * FPS;

/**
 * @typedef {object} Options
 * @property {import("./selection.js").VoiceSelection} [identity] "auto", a name, weights over names, or an
 *     embedding from `recognise`
 * @property {import("./selection.js").VoiceSelection} [emotion] likewise
 * @property {number} [seed] of the noise; the same seed gives the same face, here and in Python
 * @property {number} [smoothMs] time constant of a moving average, which keeps lip closures
 * @property {boolean} [mirror] swap left and right
 *
 * @typedef {object} Animation
 * @property {Float32Array} coefficients (frames * 52,) in 0-1, frame after frame
 * @property {number} frames 30 a second
 * @property {string | null} identity the library's entry used; null: weights or an embedding were given, or
 *     there is no speech
 * @property {string | null} emotion
 * @property {string[]} channels names of the 52
 * @property {string[]} notes what is unusual about the recording
 *
 * @typedef {object} Recognised
 * @property {Float32Array} identity unit embedding, which may be kept and given to `animate` as an identity
 * @property {Float32Array} emotion
 * @property {Record<string, number>} identities cosine similarity to each entry of the library
 * @property {Record<string, number>} emotions
 */

/** A loaded artifact. It holds nothing of what it animates. */
export class Student {
  /**
   * @param {string} folder address of the artifact: config.yaml and its graphs
   * @param {{ort: object}} runtime the onnxruntime-web that runs it
   * @returns {Promise<Student>}
   * @throws {UserError} a file is missing or damaged, or two of them do not belong together
   */
  static async load(folder, { ort }) {
    const { config, sessions } = await open(folder, ort);
    try {
      return new Student(folder, config, await Graphs.of(ort, sessions, config));
    } catch (error) {
      throw new UserError(`${folder}: these are not a student's graphs (${oneLine(error)})`);
    }
  }

  /** Use `load`. */
  constructor(folder, config, graphs) {
    this.folder = folder;
    this.channels = config.channels;
    /** Parameters of noise and blinks. */
    this.motion = { noise: config.noise, blinks: config.blinks };
    /** Mel frames (`LogMel.lookAheadMs`); null: it takes whole recordings only. */
    this.lookAhead = config.look_ahead;
    /** @type {import("./artifact.js").StreamParameters | null} */
    this.streamParameters = config.stream;
    this.graphs = graphs;
    this.logMel = new LogMel(config.front_end);
  }

  /** Names of the library. */
  get identities() {
    return this.graphs.libraries.identity.names;
  }

  /** Names of the library. */
  get emotions() {
    return this.graphs.libraries.emotion.names;
  }

  /**
   * Animate a recording. Where there is no speech the face is at rest: all zeros.
   *
   * @param {Float32Array} samples mono, in [-1, 1]
   * @param {number} rate Hz
   * @param {Options} [options]
   * @returns {Promise<Animation>}
   * @throws {UserError} bad audio, an unknown name or a bad value
   */
  async animate(samples, rate, { identity = AUTO, emotion = AUTO, seed = 0, smoothMs = 0, mirror = false } = {}) {
    const { graphs, channels } = this;
    const selections = { identity, emotion };
    const embeddings = {};
    for (const kind of KINDS) embeddings[kind] = graphs.libraries[kind].resolve(selections[kind]);
    const noise = coloured(seed, this.motion.noise);
    const blinks = new Blinks(channels, this.motion.blinks, seed);
    const post = new PostProcessor(channels, smoothMs, mirror);
    const sound = resampled(samples, rate);
    if (isQuiet(sound, this.logMel.frontEnd)) return this.#atRest(frameCount(sound.length), selections);
    const { features, statistics, state } = await this.#encode(sound);
    const names = {};
    const voice = KINDS.every((kind) => embeddings[kind]) ? null : await graphs.personalise(statistics);
    for (const kind of KINDS) {
      const library = graphs.libraries[kind];
      if (embeddings[kind]) {
        names[kind] = typeof selections[kind] === "string" ? selections[kind] : null;
      } else {
        const index = library.nearest(voice[kind]);
        names[kind] = library.names[index];
        embeddings[kind] = library.entries[index];
      }
    }
    const modulation = await graphs.modulate(embeddings);
    let coefficients = new Float32Array(0);
    for (const audio of features) {
      const made = await graphs.decode(audio, noise(audio.length / graphs.audioWidth), modulation, state);
      const face = blinks.process(made.coefficients, made.blink);
      coefficients = joined(coefficients, post.process(face));
    }
    return { coefficients, frames: coefficients.length / channels.length, ...names, channels, notes: [] };
  }

  /**
   * Embeddings of the voice in a recording.
   *
   * @param {Float32Array} samples mono, in [-1, 1]
   * @param {number} rate Hz
   * @returns {Promise<Recognised>}
   * @throws {UserError} bad audio
   */
  async recognise(samples, rate) {
    const { statistics } = await this.#encode(resampled(samples, rate));
    const { identity, emotion } = await this.graphs.personalise(statistics);
    const similarities = (library, embedding) => {
      const values = library.similarities(embedding);
      return Object.fromEntries(library.names.map((name, i) => [name, values[i]]));
    };
    const { libraries } = this.graphs;
    return {
      identity,
      emotion,
      identities: similarities(libraries.identity, identity),
      emotions: similarities(libraries.emotion, emotion),
    };
  }

  /**
   * A live stream of one speaker.
   *
   * @param {number} [rate] Hz
   * @param {Options} [options]
   * @throws {UserError} a student that takes whole recordings only, a bad rate, name or value
   */
  stream(rate = SAMPLE_RATE, options = {}) {
    return new Stream(this, rate, options);
  }

  /** Whether there is no speech in samples at 16 kHz. */
  isQuiet(samples) {
    return isQuiet(samples, this.logMel.frontEnd);
  }

  /** Audio features of a recording at 16 kHz, chunk by chunk, and the statistics of its voice features. */
  async #encode(sound) {
    const { graphs } = this;
    const state = graphs.newState();
    const features = [];
    const statistics = new VoiceStatistics(new Float64Array(graphs.voiceWidth).fill(1));
    for (const logMel of chunks(this.logMel, normalize(sound, this.logMel.frontEnd), this.lookAhead)) {
      const { audio, voice } = await graphs.encode(logMel, state);
      features.push(audio);
      statistics.add(voice);
    }
    return { features, statistics, state };
  }

  #atRest(frames, selections) {
    const name = (selection) => (typeof selection === "string" && selection !== AUTO ? selection : null);
    const [identity, emotion] = KINDS.map((kind) => name(selections[kind]));
    const { channels } = this;
    const coefficients = new Float32Array(frames * channels.length);
    const silent = `silent: nothing in it is louder than ${this.logMel.frontEnd.floor_db} dB, and the face is at rest`;
    return { coefficients, frames, identity, emotion, channels, notes: [silent] };
  }
}

/**
 * The log-mel chunks of a recording at the common level, for a look-ahead of `ahead` mel frames; for null,
 * one chunk, whose frames depend on the whole recording. Zeros stand for mel frames outside the recording.
 */
function* chunks(logMel, samples, ahead) {
  const { perFrame, bands, stem, overlap } = logMel;
  const total = frameCount(samples.length);
  const size = ahead === null ? total : CHUNK;
  const first = (ahead ?? perFrame) - stem + 1;
  const padded = logMel.pad(samples);
  for (let begin = 0; begin < total; begin += size) {
    const rows = perFrame * Math.min(size, total - begin) + overlap;
    const low = perFrame * begin + first;
    const inside = [low, low + rows].map((row) => Math.min(Math.max(row, 0), perFrame * total));
    const out = new Float32Array(rows * bands);
    const made = logMel.standardise(logMel.power(padded, logMel.starts(inside[0], inside[1] - inside[0])));
    out.set(made, (inside[0] - low) * bands);
    yield out;
  }
}
