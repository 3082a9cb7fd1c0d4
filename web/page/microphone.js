// The microphone, whose samples arrive in chunks of about 20 ms.
import { UserError } from "../errors.js";

/**
 * Open the microphone. Its chunks are queued in `port` until a handler is set there.
 *
 * @returns {Promise<{rate: number, port: MessagePort, stop: () => Promise<void>}>}
 * @throws {UserError} there is none, or it may not be used
 */
export async function open() {
  if (!navigator.mediaDevices) {
    throw new UserError("microphone: browsers lend it only to pages from https or from localhost");
  }
  let sound;
  try {
    // The stream corrects the level itself.
    sound = await navigator.mediaDevices.getUserMedia({ audio: { autoGainControl: false } });
  } catch (error) {
    throw new UserError(`microphone: not to be had; allow it for this page (${error.message})`);
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
