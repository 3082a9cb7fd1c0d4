// The microphone, whose samples arrive in chunks of about 20 ms.
import { UserError } from "../errors.js";

/** By the name of `getUserMedia`'s error. */
const REFUSED = {
  NotAllowedError: "not allowed; allow it in this page's settings, beside its address, and click again",
  NotFoundError: "none is connected; connect one and click again, or choose a recording",
  NotReadableError: "it cannot be opened; close other programs that use it, and click again",
};

/**
 * Open the microphone. Its chunks are queued in `port` until a handler is set there.
 *
 * @returns {Promise<{rate: number, port: MessagePort, stop: () => Promise<void>}>}
 * @throws {UserError} there is none, or it may not be used
 */
export async function open() {
  if (!navigator.mediaDevices) {
    throw new UserError(
      "microphone: browsers give it to pages from https or localhost only; open this page there, or choose a recording",
    );
  }
  let sound;
  try {
    // The stream corrects the level itself.
    sound = await navigator.mediaDevices.getUserMedia({ audio: { autoGainControl: false } });
  } catch (error) {
    const why = REFUSED[error.name] ?? `${error.message}; choose a recording instead`;
    throw new UserError(`microphone: ${why}`);
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
  const node = new AudioWorkletNode(context, "microphone", {
    numberOfOutputs: 0,
    channelCount: 1,
    channelCountMode: "explicit",
  });
  context.createMediaStreamSource(sound).connect(node);
  const stop = () => {
    for (const track of sound.getTracks()) track.stop();
    return context.close();
  };
  return { rate: context.sampleRate, port: node.port, stop };
}
