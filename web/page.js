import * as ort from "onnxruntime-web";

import { SAMPLE_RATE } from "./audio.js";
import { draw } from "./curves.js";
import { UserError } from "./errors.js";
import { Face } from "./face.js";
import { FPS } from "./log_mel.js";
import * as microphone from "./microphone.js";
import { Student } from "./student.js";

const SHOWN = ["jawOpen", "mouthClose", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "eyeBlinkLeft"];
const LIVE_FRAMES = 10 * FPS;
const MAX_BYTES = 2 ** 28;

const element = (id) => document.getElementById(id);
const [controls, speak, download] = ["controls", "speak", "download"].map(element);
const selects = { identity: element("identity"), emotion: element("emotion") };

/** @type {Student | null} */
let student = null;
/** @type {{name: string, samples: Float32Array} | null} at 16 kHz */
let recording = null;
/** @type {{source: object, stream: import("./stream.js").Stream} | null} */
let live = null;
/** @type {Face | null} */
let face = null;
let willDraw = false;

ort.env.wasm.numThreads = 1; // more would need a page that is isolated from other origins

async function load() {
  await hush();
  [student, recording, face] = [null, null, null];
  controls.disabled = true;
  element("recording").value = "";
  show();
  tell("Loading …");
  const loaded = await Student.load(element("folder").value, { ort });
  const names = { identity: loaded.identities, emotion: loaded.emotions };
  for (const [kind, select] of Object.entries(selects)) {
    select.replaceChildren(...["auto", ...names[kind]].map((name) => new Option(name)));
  }
  speak.disabled = loaded.lookAhead === null;
  controls.disabled = false;
  student = loaded;
  tell(speak.disabled ? "Ready: choose a recording." : "Ready: choose a recording, or speak.");
}

/** @param {File} file */
async function choose(file) {
  await hush();
  recording = null;
  tell("Reading …");
  recording = { name: file.name, samples: await decode(file) };
  await animate();
}

async function animate() {
  tell(`Animating ${recording.name} …`);
  await new Promise((resolve) => setTimeout(resolve)); // the line is painted first
  const begun = performance.now();
  const made = await student.animate(recording.samples, SAMPLE_RATE, choices());
  const seconds = (performance.now() - begun) / 1000;
  face = new Face(student.channels, FPS);
  face.append(made.coefficients);
  show();
  tell(`${recording.name}: ${made.identity}, ${made.emotion}; ${made.frames} frames in ${seconds.toFixed(2)} s`);
}

/** Mono samples at 16 kHz of what the browser can decode. */
async function decode(file) {
  if (file.size > MAX_BYTES) throw new UserError(`${file.name}: larger than 256 MB; cut it into parts`);
  const content = await file.arrayBuffer();
  let sound;
  try {
    // Such a context decodes to its own rate, and the browser's resampler is quick.
    sound = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(content);
  } catch {
    throw new UserError(`${file.name}: not a recording that this browser reads (wav, flac, ogg or mp3)`);
  }
  const mono = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    sound.getChannelData(channel).forEach((sample, i) => { mono[i] += sample / sound.numberOfChannels; });
  }
  return mono;
}

async function listen() {
  recording = null;
  tell("Opening the microphone …");
  speak.disabled = true; // once is enough
  const source = await microphone.open().finally(() => { speak.disabled = false; });
  const stream = student.stream(source.rate, choices());
  const heard = new Face(student.channels, FPS);
  live = { source, stream };
  face = heard;
  speak.setAttribute("aria-pressed", "true");
  speak.textContent = "Stop";
  const late = Math.round(stream.lookAheadMs);
  source.port.onmessage = ({ data }) =>
    attempt(async () => {
      heard.append(await stream.push(data));
      show();
      tell(`Listening: ${stream.identity}, ${stream.emotion}; ${heard.frames} frames, ${late} ms behind the sound`);
    });
}

/** Close the microphone, if it is open. */
async function hush() {
  if (!live) return;
  const { source, stream } = live;
  live = null;
  source.port.onmessage = null;
  speak.setAttribute("aria-pressed", "false");
  speak.textContent = "Speak";
  await source.stop();
  face.append(await stream.close());
  show();
  tell(`Stopped: ${face.frames} frames`);
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(face)], { type: "application/json" }));
  link.download = "coefficients.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href));
}

/** Do it, or say in one line why not. */
async function attempt(work) {
  element("problem").textContent = "";
  try {
    await work();
  } catch (error) {
    tell("");
    element("problem").textContent = error.message;
    if (!(error instanceof UserError)) throw error;
  }
}

function choices() {
  return { identity: selects.identity.value, emotion: selects.emotion.value };
}

function tell(text) {
  element("status").textContent = text;
}

/** Draw the curves once, before the browser paints. */
function show() {
  download.disabled = !face?.frames;
  if (willDraw) return;
  willDraw = true;
  requestAnimationFrame(() => {
    willDraw = false;
    const shown = face ?? new Face(SHOWN, FPS);
    const first = live ? Math.max(shown.frames - LIVE_FRAMES, 0) : 0;
    draw(element("curves"), shown, SHOWN, first, live ? LIVE_FRAMES : shown.frames);
  });
}

element("artifact").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(load);
});
element("recording").addEventListener("change", ({ target }) => {
  if (target.files.length) attempt(() => choose(target.files[0]));
});
for (const select of Object.values(selects)) {
  select.addEventListener("change", () => {
    if (live) live.stream.pin(choices());
    else if (recording) attempt(animate);
  });
}
speak.addEventListener("click", () => attempt(live ? hush : listen));
download.addEventListener("click", save);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file && student) attempt(() => choose(file));
});
new ResizeObserver(show).observe(element("curves"));
attempt(load);
