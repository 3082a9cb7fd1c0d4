// Heads and player of a run's report. `npm run build` bundles this module with all that it imports into
// platform/diffusiontalker/report/face.bundle.js, which every report holds.
import { Face } from "./page/face.js";
import { Head } from "./page/head.js";
import { Player } from "./page/player.js";

const NO_WEBGL = "This browser offers no WebGL, so the head cannot be shown. Sound, tables and plots work without it.";

const element = (id) => document.getElementById(id);
/** @type {{fps: number, channels: string[], scale: number, head: string, faces: Record<string, string>}}
 *     coefficients are 16-bit steps of 1 / scale; they and the GLB in base64 */
const data = JSON.parse(element("face-data").textContent);
const faces = Object.fromEntries(Object.entries(data.faces).map(([name, text]) => [name, decoded(text)]));
/** @type {{head: Head, choice: HTMLSelectElement}[]} */
const views = [];
let willDraw = false;

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
player.duration = Math.max(faces.truth.frames - 1, 1) / data.fps;
for (const canvas of document.querySelectorAll("canvas.head")) show(canvas);
document.addEventListener("keydown", (event) => player.key(event, data.fps));
draw();

/** Set up a head on a canvas, or a message where the browser cannot draw it. */
async function show(canvas) {
  const choice = canvas.closest("figure").querySelector(".which");
  let head;
  try {
    head = new Head(canvas, () => turned(head));
  } catch {
    canvas.replaceWith(Object.assign(document.createElement("p"), { textContent: NO_WEBGL }));
    return;
  }
  views.push({ head, choice });
  choice.addEventListener("change", draw);
  new ResizeObserver(draw).observe(canvas);
  await head.load(new Blob([bytes(data.head)]), "head.glb", data.channels);
  draw();
}

/** All heads are turned as one. */
function turned(head) {
  for (const view of views) view.head.rotation.copy(head.rotation);
  draw();
}

/** Draw once, before the browser paints. */
function draw() {
  if (willDraw) return;
  willDraw = true;
  requestAnimationFrame(paint);
}

function paint() {
  willDraw = false;
  player.tick();
  player.show();
  for (const { head, choice } of views) {
    if (head.loaded) head.draw([{ channels: data.channels, weights: faces[choice.value].at(player.time) }]);
  }
  if (player.playing) draw();
}

/** @param {string} text base64 of little-endian 16-bit coefficients (frames * channels,) */
function decoded(text) {
  const face = new Face(data.channels, data.fps);
  face.append(Float32Array.from(new Int16Array(bytes(text).buffer), (value) => value / data.scale));
  return face;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
