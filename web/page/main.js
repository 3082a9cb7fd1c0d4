// The page: recordings and the microphone are animated; takes are played, compared and saved.
import { UserError } from "../errors.js";
import { open } from "./backend.js";
import { caption, named } from "./caption.js";
import { Channels } from "./channels.js";
import { Curves } from "./curves.js";
import * as examples from "./examples.js";
import { Face } from "./face.js";
import { csv, json, save } from "./files.js";
import { Live } from "./live.js";
import * as microphone from "./microphone.js";
import { Player } from "./player.js";
import { Recording } from "./recording.js";
import { isThere, keep } from "./remote.js";
import { Settings } from "./settings.js";
import { Stage } from "./stage.js";

/** Longest recording by the microphone, seconds. */
const MAX_SECONDS = 600;
const READY_AGAIN_MS = 2000;

/**
 * @typedef {object} Take an animation and how it was made
 * @property {Face} face
 * @property {import("./backend.js").Settings} settings
 * @property {string} caption
 * @property {boolean} live made by a stream; animating the recording gives other coefficients
 */

const element = (id) => document.getElementById(id);

/** @type {import("./backend.js").Kind} */
let kind = "page";
/** @type {import("./backend.js").Backend | null} */
let backend = null;
/** @type {Recording | null} */
let recording = null;
/** @type {Take | null} the newest; B, where there is an A */
let take = null;
/** @type {Take | null} */
let takeA = null;
/** @type {Live | null} */
let live = null;
/** Whether the microphone is being opened. */
let opening = false;
/** Number of calls of `reset`: asynchronous work that began before the last one is stale. */
let generation = 0;
/** Number of recordings, examples and microphones that were asked for: only the last one is played. */
let requested = 0;
/** Of the animation in progress. */
let animating = new AbortController();
let willDraw = false;
let drawnAt = 0;

const settings = new Settings(
  {
    model: element("model"),
    identity: element("identity"),
    identityWeights: element("identity-weights"),
    emotion: element("emotion"),
    emotionWeights: element("emotion-weights"),
    seed: element("seed"),
    another: element("another"),
    smooth: element("smooth"),
    smoothMs: element("smooth-ms"),
    mirror: element("mirror"),
  },
  () => attempt(applySettings),
  showProblem,
);
const stage = new Stage(
  {
    canvas: element("head"),
    note: element("note"),
    captions: element("captions"),
    headName: element("head-name"),
    credit: element("credit"),
  },
  draw,
);
const player = new Player(
  {
    audio: element("audio"),
    play: element("play"),
    scrubber: element("scrubber"),
    clock: element("clock"),
    speed: element("speed"),
  },
  draw,
  () => { element("problem").textContent = "Press play for the sound: this browser plays none without a click."; },
);
const channels = new Channels(element("channels"), draw);
const curves = new Curves(element("curves"), (seconds) => player.seek(seconds));

// The back end.

async function load() {
  requested += 1;
  await stopMicrophone();
  reset();
  backend = null;
  setStatus("Loading …");
  try {
    const opened = await open(kind, element("folder").value);
    await settings.offer(opened);
    backend = opened;
  } catch (error) {
    element("access").hidden = error.status !== 401;
    if (error.status === 503) setTimeout(() => attempt(load), READY_AGAIN_MS);
    throw error;
  } finally {
    draw();
  }
  element("access").hidden = true;
  element("about").textContent = backend.about;
  element("keeping").textContent = backend.keeping;
  setStatus(
    settings.model.streams
      ? "Ready: play an example, choose a recording, or use your voice."
      : "Ready: play an example, or choose a recording; this student cannot follow a microphone.",
  );
}

// Recordings.

/** @param {File} file */
async function receive(file) {
  if (/\.glb$/i.test(file.name)) {
    await stage.load(file, file.name);
    draw();
  } else if (!backend) {
    throw new UserError(`${file.name}: no student is loaded yet to animate it`);
  } else {
    const mine = ++requested;
    await stopMicrophone();
    if (mine !== requested) return;
    reset();
    await use(new Recording(file, file.name));
  }
}

/** @param {Recording} loaded is animated, and can be played */
async function use(loaded) {
  recording = loaded;
  player.load(recording.blob);
  await animate();
}

/** @param {examples.Example} example is animated and played */
async function playExample(example) {
  const mine = ++requested;
  setStatus(`Loading ${example.file} …`);
  try {
    const loaded = await examples.load(example); // if it fails, the take stays
    if (mine === requested) await stopMicrophone();
    if (mine !== requested) return;
    reset();
    await use(loaded);
  } catch (error) {
    if (mine === requested) throw error;
  }
  if (mine === requested && take && !player.playing) player.toggle();
}

/** Make a take of the recording by the present settings. */
async function animate() {
  animating.abort();
  animating = new AbortController();
  const { signal } = animating;
  const set = settings.value;
  setStatus(`Animating ${recording.name} …`);
  await new Promise((resolve) => setTimeout(resolve)); // so that the status is painted first
  const begun = performance.now();
  const made = await backend.animate(recording, set, signal);
  if (signal.aborted) return;
  const seconds = (performance.now() - begun) / 1000;
  const face = new Face(made.channels, made.fps);
  face.append(made.coefficients);
  take = { face, settings: set, caption: caption(set, made), live: false };
  player.duration = face.seconds;
  draw();
  const { identity, emotion } = named(set, made);
  const done = `${identity}, ${emotion}; ${made.frames} frames in ${seconds.toFixed(2)} s`;
  setStatus([`${recording.name}: ${done}`, ...recording.notes, ...made.notes].join("; "));
  checkSound();
}

/** A take whose sound cannot be played is played without it. */
function checkSound() {
  if (!take || !player.failed) return;
  element("problem").textContent = `${recording.name}: this browser cannot play its sound; the take plays without it`;
}

/** Settings have changed: the stream goes on with them, the recording is animated again. */
async function applySettings() {
  if (live) live.stream.pin(settings.selections);
  else if (recording) await animate();
}

function reset() {
  generation += 1;
  animating.abort();
  [recording, take, takeA] = [null, null, null];
  player.load(null);
  draw();
}

// The microphone.

async function openMicrophone() {
  requested += 1;
  player.pause();
  const before = generation;
  setStatus("Opening the microphone …; allow it if the browser asks");
  opening = true;
  try {
    const source = await microphone.open(); // if it fails, the take stays
    if (before !== generation) return await source.stop();
    reset();
    const mine = generation;
    await openStream(source, () => mine !== generation).catch(async (error) => {
      await source.stop();
      throw error;
    });
  } finally {
    opening = false;
  }
}

/** `stale`: whether there has been a `reset` since. */
async function openStream(source, stale) {
  const set = settings.value;
  let own = null;
  const stream = await backend.stream(source.rate, set, {
    frames: (coefficients, identity, emotion) => {
      own.face.append(coefficients);
      const made = { identity, emotion };
      own.caption = caption(set, made);
      draw();
      if (live?.stream !== stream) return; // the last frames, after the microphone was closed
      const late = Math.round(stream.lookAheadMs);
      const names = named(set, made);
      setStatus(`Listening: ${names.identity}, ${names.emotion}; ${own.face.frames} frames, ${late} ms behind the sound`);
      if (own.face.seconds >= MAX_SECONDS) attempt(stopMicrophone);
    },
    refused: showProblem,
    broken: (error) => attempt(async () => {
      if (live?.stream === stream) await stopMicrophone();
      throw error;
    }),
  });
  if (stale()) {
    await Promise.all([source.stop(), stream.close()]);
    return draw();
  }
  own = { face: new Face(stream.channels, stream.fps), settings: set, caption: "", live: true };
  take = own;
  live = new Live(source, stream, own.face);
  draw();
}

/** Close the microphone, if it is open; its samples become the recording. */
async function stopMicrophone() {
  if (!live) return;
  const ended = live;
  live = null;
  await ended.close();
  if (take?.face !== ended.face) return; // there has been a `reset`
  if (take.face.frames) {
    recording = ended.recording();
    player.load(recording.blob);
    player.duration = take.face.seconds;
  }
  draw();
  setStatus(`Stopped: ${take.face.frames} frames${take.face.frames ? " are kept; play or download them" : ""}`);
}

// Two takes of one recording.

function compare() {
  takeA = takeA ? null : take;
  element("view").elements.view.value = "both";
  draw();
}

/** @returns {(Take & {mark: string})[]} the takes in view, B last */
function inView() {
  if (!take) return [];
  if (!takeA) return [{ ...take, mark: "" }];
  const [a, b] = [{ ...takeA, mark: "A" }, { ...take, mark: "B" }];
  return { a: [a], b: [b], both: [a, b] }[element("view").elements.view.value];
}

// Files.

async function download(format) {
  const shown = inView().at(-1);
  const made = { json, csv }[format]?.(shown.face);
  const blob = made ?? (await backend.encoded(recording, shown.settings, format));
  save(blob, `${recording.stem}.${format}`);
}

async function saveIdentity() {
  const name = element("identity-name");
  const made = await backend.saveIdentity(recording, name.value);
  name.value = "";
  await settings.refresh();
  settings.chooseIdentity(made.name);
  const done = `Saved ${made.name}: ${made.seconds.toFixed(1)} s, nearest to ${made.nearest}`;
  setStatus([done, ...recording.notes, ...made.notes].join("; "));
}

// Drawing.

/** Draw once, before the browser paints. */
function draw() {
  if (willDraw) return;
  willDraw = true;
  requestAnimationFrame(paint);
}

function paint(now) {
  willDraw = false;
  player.tick();
  const time = live ? live.advance((now - drawnAt) / 1000) : player.time;
  drawnAt = now;
  const shown = inView();
  stage.draw(shown, time);
  curves.draw(shown, channels.shown, time, Boolean(live));
  player.show();
  enable(shown.at(-1));
  if (player.playing || (live && time < live.newest)) draw();
}

/** Enable and label the controls by what can be done now. */
function enable(front) {
  element("controls").disabled = !backend;
  element("recording").disabled = element("examples").disabled = !backend;
  settings.fixed = Boolean(live);
  const speak = element("speak");
  speak.disabled = !backend || opening || !settings.model.streams;
  speak.setAttribute("aria-pressed", Boolean(live));
  speak.textContent = live ? "Stop" : "Use your voice";
  element("compare").disabled = !recording || !take;
  element("compare").textContent = takeA ? "Stop comparing" : "Keep as A and compare";
  element("view").hidden = !takeA;
  document.body.dataset.comparing = Boolean(takeA);
  element("save-identity").hidden = !backend;
  element("saving").disabled = !recording;
  for (const button of element("files").querySelectorAll("button")) {
    const served = !["json", "csv"].includes(button.value);
    button.hidden = served && !backend?.formats.includes(button.value);
    button.disabled = !recording || !front || (served && front.live);
  }
}

function setStatus(text) {
  element("status").textContent = text;
}

function showProblem(error) {
  setStatus("");
  element("problem").textContent = error.message;
}

/** Do it, or show in one line why not. */
async function attempt(work) {
  element("problem").textContent = "";
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") return; // superseded by a newer animation
    showProblem(error);
    if (!(error instanceof UserError)) throw error;
  } finally {
    draw();
  }
}

function submitted(form, work) {
  element(form).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(work);
  });
}

submitted("artifact", load);
submitted("access", () => {
  keep(element("key").value);
  return load();
});
submitted("save-identity", saveIdentity);
for (const input of ["recording", "own-head"]) {
  element(input).addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = ""; // the same file can be chosen again
    if (file) attempt(() => receive(file));
  });
}
element("speak").addEventListener("click", () => attempt(live ? stopMicrophone : openMicrophone));
element("compare").addEventListener("click", compare);
element("view").addEventListener("change", draw);
element("files").addEventListener("click", ({ target }) => {
  if (target.value) attempt(() => download(target.value));
});
element("audio").addEventListener("error", checkSound);
document.addEventListener("keydown", (event) => player.key(event, take?.face.fps ?? 1));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) attempt(() => receive(file));
});
for (const canvas of ["head", "curves"]) new ResizeObserver(draw).observe(element(canvas));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

kind = (await isThere()) ? "server" : "page";
document.body.dataset.backend = kind;
attempt(load);
attempt(() => stage.loadDefault());
examples.offer(element("examples"), (example) => attempt(() => playExample(example)));

/** For tests: time and influences of the last drawn frame. */
globalThis.page = {
  influence: (channel) => stage.influence(channel),
  get time() { return live ? live.time : player.time; },
  get frames() { return take?.face.frames ?? 0; },
};
