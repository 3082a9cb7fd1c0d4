// Files of coefficients, JSON and CSV: diffusiontalker/animation/beat.py and livelink.py.

const SIDE = ["EyeBlink", "EyeLookDown", "EyeLookIn", "EyeLookOut", "EyeLookUp", "EyeSquint", "EyeWide"];
const MIDDLE = `
JawForward JawRight JawLeft JawOpen MouthClose MouthFunnel MouthPucker MouthRight MouthLeft
MouthSmileLeft MouthSmileRight MouthFrownLeft MouthFrownRight MouthDimpleLeft MouthDimpleRight
MouthStretchLeft MouthStretchRight MouthRollLower MouthRollUpper MouthShrugLower MouthShrugUpper
MouthPressLeft MouthPressRight MouthLowerDownLeft MouthLowerDownRight MouthUpperUpLeft
MouthUpperUpRight BrowDownLeft BrowDownRight BrowInnerUp BrowOuterUpLeft BrowOuterUpRight CheekPuff
CheekSquintLeft CheekSquintRight NoseSneerLeft NoseSneerRight TongueOut`;
const CURVES = ["Left", "Right"].flatMap((side) => SIDE.map((name) => name + side)).concat(MIDDLE.trim().split(/\s+/));
const ROTATIONS = ["Head", "LeftEye", "RightEye"].flatMap((part) => [`${part}Yaw`, `${part}Pitch`, `${part}Roll`]);

/**
 * BEAT's layout: names once, then per frame its weights and time.
 *
 * @param {import("./face.js").Face} face
 * @returns {Blob}
 */
export function json(face) {
  const frames = Array.from({ length: face.frames }, (_, i) => ({
    weights: Array.from(face.weights(i), rounded),
    time: rounded(i / face.fps),
    rotation: [],
  }));
  return new Blob([JSON.stringify({ names: face.channels, fps: face.fps, frames })], { type: "application/json" });
}

/**
 * The CSV of Live Link Face: a row per frame, for Unreal, MetaHuman, Maya and Blender.
 *
 * @param {import("./face.js").Face} face
 * @returns {Blob}
 */
export function csv(face) {
  const order = CURVES.map((name) => face.channels.indexOf(name[0].toLowerCase() + name.slice(1)));
  const zeros = ROTATIONS.map(() => "0.000000");
  const rows = Array.from({ length: face.frames }, (_, i) => {
    const values = order.map((channel) => face.value(i, channel).toFixed(6));
    return [timecode(i / face.fps), CURVES.length + ROTATIONS.length, ...values, ...zeros];
  });
  const header = ["Timecode", "BlendShapeCount", ...CURVES, ...ROTATIONS];
  return new Blob([header, ...rows].map((row) => `${row.join(",")}\n`), { type: "text/csv" });
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href));
}

/** `HH:MM:SS:FF.mmm`, with FF in sixtieths of a second whatever the rate. */
function timecode(seconds) {
  const ticks = Math.round(seconds * 60_000);
  const [second, rest] = [Math.floor(ticks / 60_000), ticks % 60_000];
  const padded = (value, digits = 2) => String(Math.floor(value)).padStart(digits, "0");
  const clock = [second / 3600, (second / 60) % 60, second % 60, rest / 1000].map((part) => padded(part));
  return `${clock.join(":")}.${padded(rest % 1000, 3)}`;
}

const rounded = (value) => Math.round(value * 1e6) / 1e6;
