// The interface of a back end: the server that the page came from, or a student in the page.
import { UserError } from "../errors.js";
import { Remote } from "./remote.js";

/**
 * @typedef {string | Record<string, number>} Selection "auto", a name, or weights over names
 * @typedef {{name: string, steps: number | null, streams: boolean}} Model
 * @typedef {{model: Model, identity: Selection, emotion: Selection, seed: number, smoothMs: number,
 *     mirror: boolean}} Settings
 *
 * @typedef {object} Animation
 * @property {Float32Array} coefficients (frames * channels,), frame after frame
 * @property {number} frames
 * @property {number} fps
 * @property {string[]} channels
 * @property {string | null} library entry or saved voice that was used; null: weights were given, or
 *     there is no speech
 * @property {string | null} emotion likewise
 * @property {string[]} notes what is unusual about the recording
 *
 * @typedef {object} StreamEvents
 * @property {(coefficients: Float32Array, identity: string | null, emotion: string | null) => void}
 *     frames the next frames; null: there has been no speech yet
 * @property {(error: Error) => void} refused a mistake after which the stream goes on
 * @property {(error: Error) => void} broken the stream has ended by itself
 *
 * @typedef {object} Stream
 * @property {string[]} channels
 * @property {number} fps
 * @property {number} lookAheadMs
 * @property {(samples: Float32Array) => void} push
 * @property {(selections: {identity?: Selection, emotion?: Selection}) => void} pin
 * @property {() => Promise<void>} close fulfilled after the last frames
 *
 * @typedef {object} Backend all of it throws UserError
 * @property {string} about one line for users: where their sound goes
 * @property {Model[]} models the first is the default
 * @property {string[]} formats beside json and csv
 * @property {string} keeping one line for users: where saved voices are kept
 * @property {(model: Model) => Promise<{identity: string[], saved?: string[], emotion: string[]}>} names
 * @property {(recording: Recording, settings: Settings, signal: AbortSignal) => Promise<Animation>} animate
 * @property {(rate: number, settings: Settings, events: StreamEvents) => Promise<Stream>} stream
 * @property {(recording: Recording, settings: Settings, format: string) => Promise<Blob>} [encoded]
 * @property {(recording: Recording, name: string) => Promise<Saved>} saveIdentity
 *
 * @typedef {import("./recording.js").Recording} Recording
 * @typedef {{name: string, seconds: number, nearest: string, notes: string[]}} Saved
 */

/** @typedef {"page" | "server"} Kind */

/**
 * @param {Kind} kind
 * @param {string} folder of the student, for `"page"`
 * @returns {Promise<Backend>}
 */
export async function open(kind, folder) {
  if (kind === "server") return Remote.open();
  const { Local } = await import("./local.js").catch(() => { // which alone needs onnxruntime-web
    throw new UserError("The page is not complete: run npm ci in its folder.");
  });
  return Local.open(folder);
}
