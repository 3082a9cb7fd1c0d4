// The back end on the server that the page came from; addresses are relative to the page's.
import { UserError } from "../errors.js";
import { pcm16, wav } from "./recording.js";
import { SAMPLE_RATE } from "../audio.js";

const KEY = "diffusiontalker.key";
/** Formats that the server decodes. */
const DECODED = /\.(wav|flac|ogg|mp3)$/i;
const UNREACHABLE = "The server does not answer; is it still running?";
/** Of a stream that the server did not close. */
const CUT = `${UNREACHABLE} A proxy in front of it must pass WebSockets on.`;
/** Status codes of proxies in front of the server, whose answers have no detail. */
const PROXY_STATUS = {
  413: "Something in front of the server takes no recording of this size",
  429: "The server is asked too often",
  502: "Something in front of the server cannot reach it",
  503: "The server is not ready",
  504: "Something in front of the server waits for it no longer",
};
const CLOSED = {
  1008: "the server refused the stream",
  1009: "the server takes no messages of that size",
  1011: "the server failed",
  1012: "the server restarts; speak again in a moment",
  1013: "the server has no room for another stream; try again later",
};

/** The server's refusal; `status` is that of HTTP. */
export class Refusal extends UserError {
  /**
   * @param {string} detail
   * @param {number} status
   */
  constructor(detail, status) {
    super(detail);
    this.status = status;
  }
}

/** Whether the page came from a server that animates. */
export async function isThere() {
  const answer = await fetch(address("v1/models"), { headers: headers() }).catch(() => null);
  // A proxy may answer instead of a busy server; a server of plain files answers 404.
  return Boolean(answer?.headers.get("Content-Type")?.includes("json")) || answer?.status in PROXY_STATUS;
}

/** @param {string} key of the server; kept until this tab is closed */
export function keep(key) {
  sessionStorage.setItem(KEY, key);
}

/** @implements {import("./backend.js").Backend} */
export class Remote {
  about = "Recordings and microphone audio are sent to the server of this page.";
  formats = ["npz", "glb"];
  keeping = "Saved on the server.";

  /** @throws {Refusal} 401: a key is needed (`keep`); 503: it is not ready yet */
  static async open() {
    const remote = new Remote();
    const { default: first, models } = await json("v1/models");
    remote.models = models
      .map(({ name, steps, look_ahead_ms: ahead }) => ({ name, steps, streams: ahead !== null }))
      .sort((a, b) => Number(b.name === first) - Number(a.name === first)); // a stable sort
    return remote;
  }

  async names(model) {
    const [{ library, saved }, { emotions }] = await Promise.all(
      ["v1/identities", "v1/emotions"].map((path) => json(path, { model: model.name, steps: model.steps })),
    );
    return { identity: library, saved, emotion: emotions };
  }

  async animate(recording, settings, signal) {
    const answer = await this.#animated(recording, settings, "json", signal);
    const { names: channels, fps, frames, identity, emotion, notes } = await answer.json();
    const coefficients = new Float32Array(frames.length * channels.length);
    frames.forEach(({ weights }, i) => coefficients.set(weights, i * channels.length));
    return { channels, fps, coefficients, frames: frames.length, identity, emotion, notes };
  }

  async encoded(recording, settings, format) {
    return (await this.#animated(recording, settings, format)).blob();
  }

  async saveIdentity(recording, name) {
    const answer = await asked("v1/identities", { name }, { method: "POST", body: await body(recording) });
    return answer.json();
  }

  async stream(rate, settings, { frames, refused, broken }) {
    const url = address("v1/stream", { rate, encoding: "pcm16", ...query(settings) });
    url.protocol = url.protocol.replace("http", "ws");
    const key = sessionStorage.getItem(KEY);
    const socket = new WebSocket(url, key ? ["diffusiontalker.v1", `key.${key}`] : []);
    const [opened, ended] = [Promise.withResolvers(), Promise.withResolvers()];
    let reason = null;
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "ready") opened.resolve(message);
      else if (message.type === "frames") {
        frames(Float32Array.from(message.coefficients.flat()), message.identity, message.emotion);
      } else if (message.type === "problem" && message.closing) reason = message.detail;
      else if (message.type === "problem") refused(new UserError(message.detail));
    };
    socket.onclose = ({ code }) => {
      ended.resolve();
      if (code === 1000 && !reason) return;
      const error = new UserError(reason ?? CLOSED[code] ?? CUT);
      opened.reject(error);
      broken(error); // ignored after `opened` has failed
    };
    const { channels, fps, look_ahead_ms: lookAheadMs } = await opened.promise;
    const send = (message) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(message);
    };
    return {
      channels,
      fps,
      lookAheadMs,
      push: (samples) => send(pcm16(samples)),
      pin: (selections) => send(JSON.stringify({ type: "pin", ...selections })),
      close: () => {
        send(JSON.stringify({ type: "close" }));
        return ended.promise;
      },
    };
  }

  async #animated(recording, settings, format, signal) {
    return asked("v1/animate", { ...query(settings), format }, { method: "POST", body: await body(recording), signal });
  }
}

/** The file as it is, or as WAV if only the browser can decode it. */
async function body(recording) {
  return DECODED.test(recording.name) ? recording.blob : wav([await recording.samples()], SAMPLE_RATE);
}

function query({ model: { name, steps }, identity, emotion, seed, smoothMs, mirror }) {
  return { model: name, steps, identity: written(identity), emotion: written(emotion), seed, smooth_ms: smoothMs, mirror };
}

/** "auto", a name, or "anger:0.7,neutral:0.3". */
function written(selection) {
  if (typeof selection === "string") return selection;
  return Object.entries(selection).map(([name, weight]) => `${name}:${weight}`).join(",");
}

async function json(path, parameters) {
  return (await asked(path, parameters)).json();
}

/** @throws {Refusal} with the server's detail; @throws {UserError} it does not answer */
async function asked(path, parameters, options) {
  let answer;
  try {
    answer = await fetch(address(path, parameters), { ...options, headers: headers() });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new UserError(UNREACHABLE);
  }
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({}));
  const wait = answer.headers.get("Retry-After");
  const again = wait ? ` (try again in ${wait} s)` : "";
  throw new Refusal(`${detail ?? PROXY_STATUS[answer.status] ?? `The server answered HTTP ${answer.status}`}${again}`, answer.status);
}

function headers() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function address(path, parameters = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url;
}
