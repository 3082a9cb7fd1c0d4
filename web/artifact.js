// diffusiontalker/runtime/artifact.py: what an artifact holds, fetched and checked.
import { load as parse } from "js-yaml";

import { oneLine, UserError } from "./errors.js";

const FORMAT_VERSION = 3;
const GRAPHS = ["encoder", "personalizer", "modulation", "decoder"];

/**
 * @typedef {object} Config
 * @property {string[]} channels
 * @property {string[]} identities
 * @property {string[]} emotions
 * @property {number | null} look_ahead mel frames; null: it hears whole recordings alone
 */

/**
 * The configuration and the graphs of an artifact, but for the one that is for many streams at once.
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
  let answer;
  try {
    answer = await fetch(new URL(name, new URL(`${folder.replace(/\/*$/, "")}/`, globalThis.location?.href)));
  } catch (error) {
    throw new UserError(`${folder}: ${name} cannot be fetched (${oneLine(error)})`);
  }
  if (!answer.ok) {
    throw new UserError(`${folder}: no artifact there, or it lacks ${name} (HTTP ${answer.status})`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

function read(folder, text) {
  const config = parsed(text);
  if (Number.isInteger(config?.format_version) && config.format_version !== FORMAT_VERSION) {
    throw new UserError(
      `${folder}: artifact format ${config.format_version}, but this release reads ${FORMAT_VERSION}; export it again`,
    );
  }
  const { channels, identities, emotions, look_ahead: ahead } = config ?? {};
  const sound =
    [channels, identities, emotions].every(isNames) &&
    (ahead === null || (Number.isInteger(ahead) && Math.abs(ahead) <= 60));
  if (!sound) throw new UserError(`${folder}: config.yaml is not an artifact's configuration`);
  return config;
}

/** undefined: it is not YAML. */
function parsed(text) {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

const isNames = (values) =>
  Array.isArray(values) && values.length > 0 && values.every((name) => typeof name === "string");
