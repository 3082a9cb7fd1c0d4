// The page: what is heard becomes a face, which is played, compared and saved.
import { UserError } from "../errors.js";
import { open } from "./backend.js";
import { Channels } from "./channels.js";
import { Curves } from "./curves.js";
import { Face } from "./face.js";
import { csv, json, save } from "./files.js";
import * as microphone from "./microphone.js";
import { Player } from "./player.js";
import { Recording, wav } from "./recording.js";
import { isThere, keep } from "./remote.js";
import { Settings } from "./settings.js";
import { Stage } from "./stage.js";

/** Seconds that may be spoken at a time. */
const MOST_SPOKEN = 600;
/** The head follows the newest frame by at most so many seconds, since frames come in handfuls. */
const BEHIND_SECONDS = 0.1;
const READY_AGAIN_MS = 2000;

/**
 * @typedef {object} Take a face and how it was made
 * @property {Face} face
 * @property {import("./backend.js").Settings} settings
 * @property {string} caption
 * @property {boolean} live made while somebody spoke; animating the recording gives another face
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
/** @type {Take | null} A */
let kept = null;
/** @type {{source: object, stream: import("./backend.js").Stream, take: Take, heard: Float32Array[], time: number} | null} */
let live = null;
/** Whether the microphone is being opened: once is enough. */
let opening = false;
/** How often all was forgotten: what waited meanwhile belongs to what is past. */
let turn = 0;
/** Of the animation under way. */
let making = new AbortController();
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
  },
  () => attempt(follow),
  complain,
);
const stage = new Stage(
  {
    canvas: element("head"),
    note: element("note"),
    captions: element("captions"),
    worn: element("worn"),
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
);
const channels = new Channels(element("channels"), draw);
const curves = new Curves(element("curves"), (seconds) => player.seek(seconds));

// Who makes the faces.

async function load() {
  await hush();
  forget();
  backend = null;
  tell("Loading …");
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
  tell(settings.model.streams ? "Ready: choose a recording, or speak." : "Ready: choose a recording.");
}

// Recordings.

/** @param {File} file */
async function receive(file) {
  if (/\.glb$/i.test(file.name)) {
    await stage.wear(file, file.name);
    draw();
  } else if (!backend) {
    throw new UserError(`${file.name}: no student is loaded yet to animate it`);
  } else {
    await hush();
    forget();
    recording = new Recording(file, file.name);
    player.load(recording.blob);
    await animate();
  }
}

/** Make a take of the recording, as things are set now. */
async function animate() {
  making.abort();
  making = new AbortController();
  const { signal } = making;
  const set = settings.value;
  tell(`Animating ${recording.name} …`);
  await new Promise((resolve) => setTimeout(resolve)); // the line is painted first
  const begun = performance.now();
  const made = await backend.animate(recording, set, signal);
  if (signal.aborted) return;
  const seconds = (performance.now() - begun) / 1000;
  const face = new Face(made.channels, made.fps);
  face.append(made.coefficients);
  take = { face, settings: set, caption: captioned(set, made), live: false };
  player.duration = face.seconds;
  draw();
  const { identity, emotion } = named(set, made);
  const done = `${identity}, ${emotion}; ${made.frames} frames in ${seconds.toFixed(2)} s`;
  tell([`${recording.name}: ${done}`, ...recording.notes, ...made.notes].join("; "));
  checkSound();
}

/** A face without its sound can still be seen, and sought through. */
function checkSound() {
  if (!take || !player.failed) return;
  element("problem").textContent = `${recording.name}: this browser cannot play it`;
}

/** Something was set anew: the stream goes on with it, the recording is animated again. */
async function follow() {
  if (live) live.stream.pin(settings.choices);
  else if (recording) await animate();
}

function forget() {
  turn += 1;
  making.abort();
  [recording, take, kept] = [null, null, null];
  player.load(null);
  draw();
}

// The microphone.

async function listen() {
  forget();
  const mine = turn;
  tell("Opening the microphone …");
  opening = true;
  try {
    const source = await microphone.open();
    await converse(source, () => mine !== turn).catch(async (error) => {
      await source.stop();
      throw error;
    });
  } finally {
    opening = false;
  }
}

/** `stale` tells whether something else has begun since. */
async function converse(source, stale) {
  const set = settings.value;
  let own = null;
  const stream = await backend.stream(source.rate, set, {
    heard: (coefficients, identity, emotion) => {
      own.face.append(coefficients);
      const made = { identity, emotion };
      own.caption = captioned(set, made);
      draw();
      if (live?.stream !== stream) return; // the last frames, after the end
      const late = Math.round(stream.lookAheadMs);
      const who = named(set, made); // nobody, until somebody speaks
      tell(`Listening: ${who.identity}, ${who.emotion}; ${own.face.frames} frames, ${late} ms behind the sound`);
      if (own.face.seconds >= MOST_SPOKEN) attempt(hush);
    },
    refused: complain,
    broken: (error) => attempt(async () => {
      if (live?.stream === stream) await hush();
      throw error;
    }),
  });
  if (stale()) {
    await Promise.all([source.stop(), stream.close()]);
    return draw();
  }
  own = { face: new Face(stream.channels, stream.fps), settings: set, caption: "", live: true };
  take = own;
  live = { source, stream, take, heard: [], time: 0 };
  source.port.onmessage = ({ data }) => {
    live.heard.push(data);
    stream.push(data);
  };
  draw();
}

/** Close the microphone, if it is open; what it heard is a recording from then on. */
async function hush() {
  if (!live) return;
  const { source, stream, take: own, heard } = live;
  live = null;
  source.port.onmessage = null;
  await source.stop();
  await stream.close();
  if (take !== own) return; // something else has begun
  if (take.face.frames) {
    recording = new Recording(wav(heard, source.rate), "microphone.wav");
    player.load(recording.blob);
    player.duration = take.face.seconds;
  }
  draw();
  tell(`Stopped: ${take.face.frames} frames`);
}

// Two takes of one recording.

function compare() {
  kept = kept ? null : take;
  element("view").elements.view.value = "both";
  draw();
}

/** @returns {(Take & {mark: string})[]} what is seen, B last */
function seen() {
  if (!take) return [];
  if (!kept) return [{ ...take, mark: "" }];
  const [a, b] = [{ ...kept, mark: "A" }, { ...take, mark: "B" }];
  return { a: [a], b: [b], both: [a, b] }[element("view").elements.view.value];
}

// Files.

async function download(format) {
  const shown = seen().at(-1);
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
  tell([done, ...recording.notes, ...made.notes].join("; "));
}

// What is seen.

/** Draw everything once, before the browser paints. */
function draw() {
  if (willDraw) return;
  willDraw = true;
  requestAnimationFrame(paint);
}

function paint(now) {
  willDraw = false;
  player.tick();
  const time = live ? liveTime((now - drawnAt) / 1000) : player.time;
  drawnAt = now;
  const shown = seen();
  stage.draw(shown, time);
  curves.draw(shown, channels.shown, time, Boolean(live));
  player.show();
  enable(shown.at(-1));
  if (player.playing || (live && time < newest())) draw();
}

/** Seconds: on by what has passed, and never far behind the newest frame. */
function liveTime(passed) {
  live.time = Math.min(Math.max(live.time + passed, newest() - BEHIND_SECONDS), newest());
  return live.time;
}

function newest() {
  return Math.max(take.face.frames - 1, 0) / take.face.fps;
}

/** Offer what can be done now. */
function enable(front) {
  element("controls").disabled = !backend;
  element("recording").disabled = !backend;
  settings.fixed = Boolean(live);
  const speak = element("speak");
  speak.disabled = !backend || opening || !settings.model.streams;
  speak.setAttribute("aria-pressed", Boolean(live));
  speak.textContent = live ? "Stop" : "Speak";
  element("compare").disabled = !recording || !take;
  element("compare").textContent = kept ? "Stop comparing" : "Keep as A and compare";
  element("view").hidden = !kept;
  document.body.dataset.comparing = Boolean(kept);
  element("save-identity").hidden = !backend?.savesIdentities;
  element("saving").disabled = !recording;
  for (const button of element("files").querySelectorAll("button")) {
    const served = !["json", "csv"].includes(button.value);
    button.hidden = served && !backend?.formats.includes(button.value);
    button.disabled = !recording || !front || (served && front.live);
  }
}

/** Names where the voice decided, shares where a blend was set. */
function named(set, made) {
  const words = (choice, name) => {
    if (name) return name;
    if (typeof choice === "string") return choice;
    const total = Object.values(choice).reduce((sum, weight) => sum + weight, 0);
    const share = ([other, weight]) => `${Math.round((100 * weight) / total)} % ${other}`;
    return Object.entries(choice).filter(([, weight]) => weight > 0).map(share).join(" + ");
  };
  return { identity: words(set.identity, made.identity), emotion: words(set.emotion, made.emotion) };
}

function captioned(set, made) {
  const { identity, emotion } = named(set, made);
  const steps = set.model.steps === null ? [] : [`${set.model.name}, ${set.model.steps} steps`];
  return [identity, emotion, `seed ${set.seed}`, ...steps].join(" · ");
}

function tell(text) {
  element("status").textContent = text;
}

function complain(error) {
  tell("");
  element("problem").textContent = error.message;
}

/** Do it, or say in one line why not. */
async function attempt(work) {
  element("problem").textContent = "";
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") return; // something newer is under way
    complain(error);
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
element("speak").addEventListener("click", () => attempt(live ? hush : listen));
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
attempt(() => stage.begin());

/** For tests and the curious: what the head does, as it was drawn last, and at which time. */
globalThis.page = {
  influence: (channel) => stage.influence(channel),
  get time() { return live ? live.time : player.time; },
  get frames() { return take?.face.frames ?? 0; },
};
