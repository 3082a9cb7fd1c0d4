// The files of an exported student, fetched and checked: diffusiontalker/runtime/artifact.py.
import { load as parse } from "js-yaml";

import { FPS, SAMPLE_RATE } from "./audio.js";
import { oneLine, UserError } from "./errors.js";
import { GAZE } from "./noise.js";

const FORMAT_VERSION = 6;
const GRAPHS = ["encoder", "personalizer", "modulation", "decoder"];
const MAX_LOOK_AHEAD = 60;

/**
 * @typedef {object} FrontEnd parameters of log-mel and level; diffusiontalker/audio/front_end.py
 * @property {number} window samples of a mel window
 * @property {number} fft points, 3 * 2^n
 * @property {number} bands
 * @property {number} mel_per_frame mel frames per frame of animation
 * @property {number} floor power added before the logarithm
 * @property {number} mean log-mel is standardised as (x - mean) / scale
 * @property {number} scale
 * @property {number} stem mel frames that the first convolution takes for one frame of animation
 * @property {number} level_db RMS of speech after normalisation, dB relative to full scale
 * @property {number} floor_db level below which nothing counts as speech
 * @property {number} span_db speech lies within so many dB of the loudest part
 *
 * @typedef {object} StreamParameters diffusiontalker/runtime/stream_parameters.py
 * @property {number} level_memory mel frames after which a window weighs 1/e in the loudness histogram
 * @property {number} level_trust mel frames of speech until half of the level correction is applied
 * @property {number} level_max_db largest level correction, up or down
 * @property {number} early_frames frames with the first value of each pair below; then the second applies
 * @property {[number, number]} update_frames identity and emotion are taken from the voice every so many frames
 * @property {[number, number]} glide share of the way to a new embedding per update
 * @property {[number, number]} voice_seconds time constants of the moving averages of voice features, for
 *     identity and for emotion
 * @property {number} rise_frames frames in which a face at rest fades in when speech begins
 *
 * @typedef {object} Config
 * @property {string[]} channels
 * @property {string[]} identities
 * @property {string[]} emotions
 * @property {number | null} look_ahead mel frames; null: the student takes whole recordings only
 * @property {FrontEnd} front_end
 * @property {StreamParameters | null} stream null where `look_ahead` is
 * @property {import("./noise.js").NoiseParameters} noise
 * @property {{shape: number[]}} blinks how far the lids are closed in each frame of a blink
 */

const FRONT_END = {
  window: [16, 8000], fft: [16, 8192], bands: [1, 512], mel_per_frame: [1, 8], floor: [1e-12, 1], mean: [-100, 100],
  scale: [1e-3, 1e3], stem: [1, 16], level_db: [-60, 0], floor_db: [-120, -10], span_db: [1, 100],
};
const STREAM = {
  level_memory: [1, 1e9], level_trust: [0, 1e9], level_max_db: [0, 120], early_frames: [0, 1e9],
  update_frames: [1, 1e6], glide: [0, 1], voice_seconds: [1e-3, 1e9], rise_frames: [1, 1e6],
};
/** Key of `front_end` and `stream` to the least and the most that its value may be: those of
 * diffusiontalker/runtime/artifact.py. Of a pair, both are within. */
export const RANGES = { ...FRONT_END, ...STREAM };
const PAIRS = ["update_frames", "glide", "voice_seconds"];
const WHOLE = [
  "window", "fft", "bands", "mel_per_frame", "stem", "floor_db", "span_db", "early_frames", "update_frames",
  "rise_frames",
];

const isNames = (values) =>
  Array.isArray(values) && values.length > 0 && values.every((name) => typeof name === "string");

const isNumbers = (values, least, most) =>
  Array.isArray(values) && values.every((one) => Number.isFinite(one) && one >= least && one <= most);

/** Whether the page can honour a value of `front_end` or `stream`. */
function isWithin(key, value) {
  const [least, most] = RANGES[key];
  const isOne = (one) =>
    Number.isFinite(one) && one >= least && one <= most && (!WHOLE.includes(key) || Number.isInteger(one));
  return PAIRS.includes(key) ? Array.isArray(value) && value.length === 2 && value.every(isOne) : isOne(value);
}

/** A value for a message; what is in a list or a mapping could be as long as it likes. */
function shown(value) {
  if (Array.isArray(value) && value.length === 2) return value.map((one) => (Array.isArray(one) ? "a list" : shown(one))).join(", ");
  return value !== null && typeof value === "object" ? "no number" : String(value).slice(0, 40);
}

/**
 * The configuration and the graphs of an artifact, but for `frame.onnx`, which serves many streams at once.
 *
 * @param {string} folder its address
 * @param {object} ort onnxruntime-web, or what offers the same
 * @returns {Promise<{config: Config, sessions: Record<string, object>}>}
 * @throws {UserError} a file is missing or damaged, or has another format
 */
export async function open(folder, ort) {
  const config = read(folder, new TextDecoder().decode(await content(folder, "config.yaml")));
  const sessions = {};
  for (const name of GRAPHS) {
    const graph = await content(folder, `${name}.onnx`);
    try {
      sessions[name] = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
    } catch (error) {
      throw new UserError(`${folder}: ${name}.onnx cannot be loaded (${oneLine(error)})`);
    }
  }
  return { config, sessions };
}

async function content(folder, name) {
  let response;
  try {
    response = await fetch(new URL(name, new URL(`${folder.replace(/\/*$/, "")}/`, globalThis.location?.href)));
  } catch (error) {
    throw new UserError(`${folder}: ${name} cannot be fetched (${oneLine(error)})`);
  }
  if (!response.ok) {
    throw new UserError(`${folder}: no artifact there, or it lacks ${name} (HTTP ${response.status})`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

function read(folder, text) {
  const config = parsed(text);
  if (Number.isInteger(config?.format_version) && config.format_version !== FORMAT_VERSION) {
    throw new UserError(
      `${folder}: artifact format ${config.format_version}, but this release reads ${FORMAT_VERSION}; export it again`,
    );
  }
  const wrong = mistake(config ?? {});
  if (wrong) throw new UserError(`${folder}: config.yaml is not an artifact's configuration (${wrong})`);
  return config;
}

/** What this page cannot honour, in words; undefined: it can honour everything. */
function mistake(config) {
  const { channels, identities, emotions, look_ahead: ahead, front_end: front, stream } = config;
  if (![channels, identities, emotions].every(isNames)) return "channels, identities and emotions: give names";
  if (config.fps !== FPS) return `fps is ${shown(config.fps)}; this release takes ${FPS} only`;
  if (config.sample_rate !== SAMPLE_RATE) return `sample_rate is ${shown(config.sample_rate)}; this release takes ${SAMPLE_RATE} only`;
  if (ahead !== null && !(Number.isInteger(ahead) && Math.abs(ahead) <= MAX_LOOK_AHEAD)) return `look_ahead is ${shown(ahead)}`;
  if ((ahead === null) !== (stream === null)) return "look_ahead and stream: either both are null or neither is";
  const blocks = { front_end: [front, FRONT_END], ...(stream === null ? {} : { stream: [stream, STREAM] }) };
  for (const [name, [block, ranges]] of Object.entries(blocks)) {
    for (const key of Object.keys(ranges)) {
      if (!isWithin(key, block?.[key])) {
        return `${name}.${key} is ${shown(block?.[key])}; must be from ${RANGES[key].join(" to ")}`;
      }
    }
  }
  const { lag_1: one, lag_2: two, gaze_threshold: threshold } = config.noise ?? {};
  const isLags = (lags) => isNumbers(lags, -0.99999, 0.99999) && lags.length === channels.length;
  if (![one, two].every(isLags)) return "noise: give lag_1 and lag_2, a number between -1 and 1 for each channel";
  if (two.some((lag, c) => lag <= 2 * one[c] ** 2 - 1)) return "noise: no process has these correlations";
  if (threshold !== null && !isNumbers([threshold], 0, 10)) return "noise.gaze_threshold: give null, or 0 to 10";
  if (threshold !== null && channels[GAZE.first] !== "eyeLookDownLeft") return "noise.gaze_threshold: the channels are in another order";
  const { shape } = config.blinks ?? {};
  if (!isNumbers(shape, 0, 1) || shape.length > FPS) return `blinks.shape: give at most ${FPS} numbers from 0 to 1`;
  if (!Number.isInteger(Math.log2(front.fft / 3))) return `front_end.fft is ${front.fft}; this page takes 3 * 2^n`;
  if (front.fft < front.window || front.stem < front.mel_per_frame) {
    return "front_end: fft is less than window, or stem less than mel_per_frame";
  }
  return undefined;
}

/** undefined: it is not YAML. */
function parsed(text) {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}
